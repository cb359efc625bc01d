"""Known-item queries, made of an index's own documents: whoever asks for a title, a heading or a rare phrase wants the
document that it is from (L. Azzopardi, M. de Rijke, K. Balog, "Building simulated queries for known-item topics",
SIGIR 2007). Pure: same seed and same documents, in whatever order they come, give the same queries.

A title or heading that several of the sampled documents of one tenant have names none of them, and is no query. A
phrase is the window of a passage whose words are rarest by document frequency over the sample; only words of letters
count, else every phrase were a checksum that words alone find.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from uuid import UUID

from concordance.chunking.words import STOP_WORDS
from concordance.model import ChunkRow, DocumentRow
from concordance.quality.relevance.queries import Query
from concordance.retrieval.snippet import plain

KINDS = ("title", "heading", "phrase")
_WORD = re.compile(r"\w+(?:['.\-]\w+)*")
_PHRASE_WORDS = 8
_MIN_PASSAGE_WORDS = 20  # a shorter one says little that is its own
_LETTERS = range(3, 21)  # of a word that makes a phrase rare
_MAX_CHARACTERS = 200  # of a query
_MAX_PASSAGE_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class CurrentDocument:
    """A document that a query may be made of, and how many chunks its texts are."""

    row: DocumentRow
    chunks: int


def sample(documents: Iterable[CurrentDocument], *, seed: int, at_most: int) -> list[CurrentDocument]:
    """At most `at_most` of the documents, drawn by seeded hashes, in turn from each tenant and source: a small source
    is represented as well as a large one. Documents that no reader may see are left out. Holds `at_most` rows for each
    source at once, however many there are."""
    strata: dict[tuple[str, str], list[tuple[int, UUID, CurrentDocument]]] = defaultdict(list)
    for document in documents:
        if document.row.access:
            _keep_first(strata[document.row.tenant, document.row.source], document, seed, at_most)
    ordered = [[document for *_, document in sorted(strata[name], reverse=True)] for name in sorted(strata)]
    return [each for turn in zip_longest(*ordered) for each in turn if each is not None][:at_most]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """`text` is what is asked; of a phrase, the passage that it is chosen from."""

    kind: str
    row: DocumentRow
    ordinal: int | None
    text: str

    @property
    def name(self) -> tuple[str, str]:
        return self.row.tenant, self.text.casefold()


class KnownItems:
    """Takes the sampled documents one after the other, and keeps one title, one heading and one passage of each."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._documents: list[list[_Candidate]] = []
        self._frequency: Counter[str] = Counter()

    def read(self, row: DocumentRow, chunks: Sequence[ChunkRow]) -> None:
        """Take a document of the sample with its chunks' texts."""
        self._frequency.update({word for chunk in chunks for word in _rarity_words(_body(chunk))})
        drawn = sorted(chunks, key=lambda chunk: (_drawn(self._seed, row.document_id, chunk.ordinal), chunk.ordinal))
        title = _Candidate("title", row, None, _line(row.title or ""))
        headings = (_Candidate("heading", row, chunk.ordinal, _heading(chunk)) for chunk in drawn)
        passages = (
            _Candidate("phrase", row, chunk.ordinal, passage)
            for chunk in drawn
            if len(_WORD.findall(passage := plain(_body(chunk)))) >= _MIN_PASSAGE_WORDS
        )
        heading = next((found for found in headings if found.text and found.name != title.name), None)
        found = (title if len(title.text) >= min(_LETTERS) else None, heading, next(passages, None))
        self._documents.append([candidate for candidate in found if candidate is not None])

    def queries(self, *, at_most: int) -> list[Query]:
        """At most so many: one of each document first, their kinds in turn, then a second and a third."""
        named = Counter(each.name for candidates in self._documents for each in candidates if each.kind != "phrase")
        turns = []
        for number, candidates in enumerate(self._documents):
            asked = [each for each in candidates if each.kind == "phrase" or named[each.name] == 1]
            first = number % max(1, len(asked))
            turns.append(asked[first:] + asked[:first])
        chosen = [each for turn in zip_longest(*turns) for each in turn if each is not None][:at_most]
        return [self._query(each) for each in chosen]

    def _query(self, candidate: _Candidate) -> Query:
        row = candidate.row
        place = "" if candidate.ordinal is None else f" {candidate.ordinal}"
        return Query(
            identity=f"{candidate.kind} {row.document_id}{place}",
            kind=candidate.kind,
            tenant=row.tenant,
            access=row.access,
            relevant=frozenset({row.document_id}),
            text=self._phrase(candidate.text) if candidate.kind == "phrase" else candidate.text,
        )

    def _phrase(self, passage: str) -> str:
        """The window whose words are rarest together; the first of those that are equally rare."""
        words = _WORD.findall(passage)
        sums = list(accumulate((self._rarity(word) for word in words), initial=0.0))
        starts = range(len(words) - _PHRASE_WORDS + 1)
        best = max(starts, key=lambda first: (sums[first + _PHRASE_WORDS] - sums[first], -first))
        return _line(" ".join(words[best : best + _PHRASE_WORDS]))

    def _rarity(self, word: str) -> float:
        frequency = self._frequency.get(word.casefold())
        return math.log((1 + len(self._documents)) / frequency) if frequency else 0.0


def _rarity_words(text: str) -> set[str]:
    words = {word.casefold() for word in _WORD.findall(text) if word.isalpha() and len(word) in _LETTERS}
    return words - STOP_WORDS


def _body(chunk: ChunkRow) -> str:
    """What the chunk says below its context header."""
    return chunk.text[:_MAX_PASSAGE_CHARACTERS].partition("\n\n")[2]


def _heading(chunk: ChunkRow) -> str:
    return _line(" ".join(dict.fromkeys(chunk.heading_path)))


def _line(text: str) -> str:
    """On one line, without marks, cut between words at `_MAX_CHARACTERS`."""
    shown = plain(text[: 10 * _MAX_CHARACTERS])
    return shown if len(shown) <= _MAX_CHARACTERS else shown[:_MAX_CHARACTERS].rpartition(" ")[0]


def _drawn(seed: int, document_id: UUID, ordinal: int | None = None) -> int:
    named = f"{seed} {document_id} {ordinal}".encode()
    return int.from_bytes(hashlib.blake2b(named, digest_size=8).digest(), "big")


def _keep_first(
    kept: list[tuple[int, UUID, CurrentDocument]], document: CurrentDocument, seed: int, at_most: int
) -> None:
    """Keep the documents with the smallest numbers: negated, the largest of them is the heap's first."""
    document_id = document.row.document_id
    entry = (-_drawn(seed, document_id), document_id, document)
    if len(kept) < at_most:
        heapq.heappush(kept, entry)
    elif entry[0] > kept[0][0]:
        heapq.heapreplace(kept, entry)
