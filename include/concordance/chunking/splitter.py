"""Markdown to chunks: token-exact, with heading path and context header, and boundaries that survive edits.

A chunk never spans two headings' sections. A section that fits is one chunk; a longer one is cut by `boundaries`, whose
pieces weigh about `chunk_min_tokens` on average and never more than `chunk_max_tokens`. There is no overlap: it would
make every edit change one more chunk, and the context header carries what a chunk's beginning lacks. Chunks of small
sections are not joined: their heading is what people search for.

The body keeps its words and line structure; white space between sentences and blank lines is made regular. Time and
memory are linear in the text, whatever it holds; every text is tokenised once more as it is embedded and must fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

from tokenizers import Tokenizer

from concordance import ids
from concordance.chunking import boundaries
from concordance.chunking.sections import Block, Section, sections
from concordance.chunking.tokens import TokenCounter, exact_counts
from concordance.errors import Misconfigured, PoisonDocument
from concordance.model import Chunk, IndexSettings, Reason

# Raised whenever the same Markdown may give other chunks or BM25 terms: it is frozen with the index version.
CHUNKER_REVISION = 1

HEADER_SEPARATOR = " > "
_MIN_BODY_TOKENS = 16
# White space and marks that the model drops weigh nothing in tokens: characters bound a chunk as well.
_CHARACTERS_A_TOKEN = 10
_MAX_TITLE_CHARACTERS = 300
_MAX_WORD_CHARACTERS = 100
_MAX_RUN_WORDS = 12

# What no store takes: NUL, other control characters and lone surrogates. Line ends of other systems become "\n".
_UNWANTED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_EMPTY_LINES = re.compile(r"\n{3,}")
_LINE_END = re.compile(r"\r\n?|\x85|\u2028|\u2029")

# A sentence ends at its mark when white space and no small letter follow ("e.g. this" goes on), or at a CJK full stop.
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]*_`]*+\s++(?![a-z])|[。！？]\s*+")
_OWN_LINE = re.compile(r"[ \t]*(?:[-*+][ \t]|\d{1,9}[.)][ \t]|[|>])")
# A word without end is cut after a sign inside it where there is one, so that its cuts find back into step too.
_PIECE = re.compile(r"(?s).{24,99}?[/+_.,;&=%|0-9-]|.{1,100}")
_SAYS_SOMETHING = re.compile(r"[^\W_]")

_BLOCK, _LINE, _SENTENCE, _WORD, _INSIDE = range(5)
_JOINED_BY = ("\n\n", "\n", " ", " ", "")


@dataclass(frozen=True, slots=True)
class _Atom:
    """What is not cut any further. `level` is the structure that begins with it; `weight` is in tokens."""

    text: str
    level: int
    weight: int = 0


@dataclass(frozen=True, slots=True)
class _Piece:
    """One chunk to be: a section's header and some of its atoms."""

    section: Section
    header: str
    atoms: tuple[_Atom, ...]

    @property
    def text(self) -> str:
        joined = "".join(
            part
            for number, atom in enumerate(self.atoms)
            for part in (_JOINED_BY[atom.level] if number else "", atom.text)
        )
        return f"{self.header}\n\n{joined.strip()}"


class Chunker:
    """Cuts documents for one index version. Keeps a cache of word weights, and no other state."""

    def __init__(self, settings: IndexSettings, tokenizer: Tokenizer) -> None:
        """Raises `Misconfigured` when the header leaves too little of the model's window."""
        special = tokenizer.num_special_tokens_to_add(is_pair=False)
        room = settings.model.window_tokens - special - settings.header_max_tokens
        if min(room, settings.chunk_max_tokens) < _MIN_BODY_TOKENS:
            raise Misconfigured(
                f"the model's window of {settings.model.window_tokens} tokens leaves {room} for a chunk's body beside "
                f"a header of {settings.header_max_tokens}, but {_MIN_BODY_TOKENS} are needed: lower header_max_tokens"
            )
        self._tokenizer = tokenizer
        self._counter = TokenCounter(tokenizer)
        self._window = settings.model.window_tokens
        self._header_max = settings.header_max_tokens
        self._limit = min(settings.chunk_max_tokens, room)
        self._radius = max(1, min(settings.chunk_min_tokens // 2, self._limit // 3))

    def chunks(self, markdown: str, *, title: str | None, max_chunks: int) -> list[Chunk]:
        """The document's chunks in order; none when it has nothing to say.

        Raises `PoisonDocument` (`too_many_chunks`). Equal arguments give equal chunks.
        """
        title = header_title(title)
        # Many empty lines say no more than one, but would each be looked at.
        found = _with_relative_paths(sections(_EMPTY_LINES.sub("\n\n", _clean(markdown))), title)
        pieces: list[_Piece] = []
        for group in _grouped(found):
            pieces.extend(self._pieces(group, title, max_chunks))
            if len(pieces) > max_chunks:
                raise _too_many(max_chunks)
        chunks = [
            Chunk(ordinal=ordinal, text=text, heading_path=piece.section.heading_path, token_count=count)
            for ordinal, (piece, text, count) in enumerate(self._fitting(pieces))
        ]
        if len(chunks) > max_chunks:
            raise _too_many(max_chunks)
        assert all(chunk.token_count <= self._window for chunk in chunks)
        return chunks

    def _pieces(self, group: list[Section], title: str, max_chunks: int) -> list[_Piece]:
        """The pieces of some sections; their atoms are weighed together, because small calls are slow."""
        rows = self._weighed([list(self._atoms(section)) for section in group])
        if sum(atom.weight for row in rows for atom in row) > max_chunks * self._limit:
            raise _too_many(max_chunks)
        pieces: list[_Piece] = []
        for section, row in zip(group, rows, strict=True):
            header = self._header(title, section.heading_path)
            pieces.extend(_Piece(section, header, atoms) for atoms in self._cut(row))
        return pieces

    def _cut(self, row: list[_Atom]) -> Iterator[tuple[_Atom, ...]]:
        weights = [atom.weight for atom in row]
        if sum(weights) <= self._limit:
            yield tuple(row)
            return
        ranks = [(atom.level, crc32(atom.text.encode())) for atom in row]
        cuts = boundaries.cut_points(weights, ranks, radius=self._radius, limit=self._limit)
        for start, end in pairwise(cuts):
            yield tuple(row[start:end])

    # --- atoms

    def _atoms(self, section: Section) -> Iterator[_Atom]:
        most_characters = self._limit * _CHARACTERS_A_TOKEN
        for block in section.blocks:
            for atom in _code_atoms(block) if block.is_code else _text_atoms(block):
                if len(atom.text) > most_characters:
                    yield from self._runs(atom)
                else:
                    yield atom

    def _weighed(self, rows: list[list[_Atom]]) -> list[list[_Atom]]:
        """The rows with each atom's weight, atoms above the limit cut into runs of words."""
        weighed = self._with_weights(rows)
        if all(atom.weight <= self._limit for row in weighed for atom in row):
            return weighed
        return self._with_weights(
            [
                [part for atom in row for part in (self._runs(atom) if atom.weight > self._limit else (atom,))]
                for row in weighed
            ]
        )

    def _with_weights(self, rows: list[list[_Atom]]) -> list[list[_Atom]]:
        counts = iter(self._counter.counts([atom.text for row in rows for atom in row]))
        return [
            [_Atom(atom.text, atom.level, max(1, next(counts), len(atom.text) // _CHARACTERS_A_TOKEN)) for atom in row]
            for row in rows
        ]

    def _runs(self, atom: _Atom) -> Iterator[_Atom]:
        """A few words each, ended by a hash of a word, so that runs find back into step after an edit."""
        most_words = max(1, min(_MAX_RUN_WORDS, self._limit // 8))
        most_characters = min(_MAX_WORD_CHARACTERS, 2 * self._limit)
        words: list[str] = []
        level, length = atom.level, 0
        for match in re.finditer(r"\S+", atom.text):
            word = match[0]
            if len(word) > most_characters:
                if words:
                    yield _Atom(" ".join(words), level)
                    level, words, length = _WORD, [], 0
                for piece in _PIECE.finditer(word):
                    yield _Atom(piece[0], level)
                    level = _INSIDE
                level = _WORD
                continue
            words.append(word)
            length += len(word)
            if crc32(word.encode()) & 3 == 0 or len(words) >= most_words or length >= most_characters:
                yield _Atom(" ".join(words), level)
                level, words, length = _WORD, [], 0
        if words:
            yield _Atom(" ".join(words), level)

    # --- headers

    def _header(self, title: str, path: tuple[str, ...]) -> str:
        """`title > heading > heading`, within the header's tokens: outer headings go first, then words at the end."""
        parts = [title, *path] if title else list(path)
        least = 2 if title else 1
        while True:
            header = HEADER_SEPARATOR.join(parts)
            if self._counter.count(header) <= self._header_max:
                return header
            if len(parts) <= least:
                break
            del parts[1 if title else 0]
        # Title and heading share what there is; neither may crowd out the other.
        first = self._counter.prefix(parts[0], self._header_max // len(parts))
        header = HEADER_SEPARATOR.join(part for part in (first, *parts[1:]) if part)
        return self._counter.prefix(header, self._header_max).rstrip(" >")

    # --- the last check

    def _fitting(self, pieces: list[_Piece]) -> Iterator[tuple[_Piece, str, int]]:
        """Each piece with its text and exact token count. A piece that weighed less than it counts is cut in two."""
        texts = [piece.text for piece in pieces]
        for piece, text, count in zip(pieces, texts, exact_counts(self._tokenizer, texts), strict=True):
            if count > self._window:
                yield from self._halved(piece)
            elif _SAYS_SOMETHING.search(text, len(piece.header)):
                yield piece, text, count

    def _halved(self, piece: _Piece) -> Iterator[tuple[_Piece, str, int]]:
        waiting = [piece]
        while waiting:
            piece = waiting.pop()
            text = piece.text
            (count,) = exact_counts(self._tokenizer, [text])
            if count > self._window:
                waiting.extend(reversed(_halves(piece)))
            elif _SAYS_SOMETHING.search(text, len(piece.header)):
                yield piece, text, count


def _halves(piece: _Piece) -> list[_Piece]:
    atoms = piece.atoms
    if len(atoms) == 1:
        text, level = atoms[0].text, atoms[0].level
        middle = len(text) // 2
        if not middle:
            if not piece.header:
                raise PoisonDocument("a single character outgrows the model's window", reason=Reason.BAD_CHUNK)
            # The header alone outgrew the window (a tokenizer that counts joined words otherwise): the body matters.
            return [_Piece(piece.section, "", atoms)]
        atoms = (_Atom(text[:middle], level), _Atom(text[middle:], _INSIDE))
    middle = len(atoms) // 2
    return [_Piece(piece.section, piece.header, half) for half in (atoms[:middle], atoms[middle:])]


def _text_atoms(block: Block) -> Iterator[_Atom]:
    level = _BLOCK
    for item in _items(block.lines):
        start = 0
        for end in [*(match.end() for match in _SENTENCE_END.finditer(item)), len(item)]:
            # The indentation of a line says how deep a list item lies; inside a line there is none.
            sentence = item[start:end].rstrip() if level <= _LINE else item[start:end].strip()
            start = end
            if sentence:
                yield _Atom(sentence, level)
                level = _SENTENCE
        level = _LINE


def _items(lines: Iterable[str]) -> Iterator[str]:
    """List items, table rows and quotes are lines of their own; other lines of a block continue the one before."""
    item: list[str] = []
    for line in lines:
        if item and _OWN_LINE.match(line):
            yield "\n".join(item)
            item = []
        item.append(line.rstrip())
    yield "\n".join(item)


def _code_atoms(block: Block) -> Iterator[_Atom]:
    level = _BLOCK
    for line in block.lines:
        if line.strip():
            yield _Atom(line.rstrip(), level)
            level = _LINE


def _grouped(found: Iterable[Section]) -> Iterator[list[Section]]:
    """Sections in groups of about 64 kB."""
    group: list[Section] = []
    size = 0
    for section in found:
        group.append(section)
        size += sum(len(line) for block in section.blocks for line in block.lines)
        if size > 65_536:
            yield group
            group, size = [], 0
    if group:
        yield group


def _with_relative_paths(found: Iterable[Section], title: str) -> Iterator[Section]:
    """Heading paths without the document's title, which most documents repeat as their first heading."""
    name = ids.normalise_name(title)
    for section in found:
        path = section.heading_path
        yield Section(path[1:], section.blocks) if path and ids.normalise_name(path[0]) == name else section


def header_title(title: str | None) -> str:
    """A document's title as the header of its chunks has it, where it is not too long for it."""
    return " ".join(_clean(title or "").split())[:_MAX_TITLE_CHARACTERS].rstrip()


def _clean(text: str) -> str:
    return _UNWANTED.sub("\N{REPLACEMENT CHARACTER}", _LINE_END.sub("\n", text))


def _too_many(max_chunks: int) -> PoisonDocument:
    return PoisonDocument(
        f"the document makes more than {max_chunks} chunks: split it, or raise max_chunks_per_document",
        reason=Reason.TOO_MANY_CHUNKS,
    )
