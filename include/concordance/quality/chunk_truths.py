"""What the gate of chunks expects, computed for whole columns: one truth a row, so that thousands of rows stay fast.

Pure NumPy and pandas over the frames of the gates; nothing here decides, the suites do.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from concordance import ids
from concordance.chunking.sections import MAX_HEADING_CHARACTERS
from concordance.chunking.splitter import HEADER_SEPARATOR, header_title
from concordance.quality import texts
from concordance.quality.document_truths import each_sound, is_name, rows_of
from concordance.quality.vector_truths import key_of
from concordance.settings import Settings

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

MAX_HEADINGS = 6
# Lines of an underlined heading are joined by a space each.
_MAX_HEADING_CHARACTERS = MAX_HEADING_CHARACTERS + 8


@dataclass(frozen=True, slots=True)
class Found:
    """What the chunks of one document add up to."""

    chunks: int = 0
    said_characters: int = 0

    def __add__(self, other: Found) -> Found:
        return Found(self.chunks + other.chunks, self.said_characters + other.said_characters)


@dataclass(slots=True)
class RunTexts:
    """What only all chunks of a run together tell; 32 bytes a chunk.

    `texts` and `vectors` side by side: a text, spellings that a model may not tell apart (case, accents, spaces) taken
    as one, and its vector. `bodies` and `documents` side by side: a chunk's body, and the document that says it.
    """

    texts: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    vectors: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    bodies: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    documents: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    characters: int = 0
    mentions: int = 0

    @property
    def chunks(self) -> int:
        return sum(map(len, self.bodies))

    def take(self, chunks: pd.DataFrame, truths: pd.DataFrame) -> None:
        given = _strings(chunks["text"])
        keys = truths.reindex(chunks["text_digest"])["vector_key"].fillna(0).to_numpy(dtype=np.uint64)
        fits = keys != 0
        self.texts.append(_keys([_folded(text) for text, fit in zip(given, fits, strict=True) if fit]))
        self.vectors.append(keys[fits])
        self.bodies.append(_keys([texts.same(_body(text)) for text in given]))
        self.documents.append(_keys(list(map(str, chunks["document_id"]))))
        self.characters += sum(map(len, given))
        self.mentions += sum(len(rows_of(cell) or ()) for cell in chunks["mentions"])

    def distinct_vector_fraction(self) -> float:
        """Different vectors among different texts, 0 to 1; 1 where there are none."""
        folded, first = np.unique(_together(self.texts), return_index=True)
        return len(np.unique(_together(self.vectors)[first])) / len(folded) if len(folded) else 1.0

    def repeated(self, *, documents: int, settings: Settings) -> tuple[int, int]:
        """How many bodies recur in many of the run's documents, and how many chunks have such a body."""
        bodies, owners = _together(self.bodies), _together(self.documents)
        said_once = np.unique(np.stack([bodies, owners]), axis=1)[0]
        different, counts = np.unique(said_once, return_counts=True)
        least = max(settings.min_repeated_documents, settings.repeated_fraction * documents)
        recurring = different[counts >= least]
        return len(recurring), int(np.isin(bodies, recurring).sum())


def with_chunk_truths(
    chunks: pd.DataFrame, truths: pd.DataFrame, titles: Mapping[str, str | None], *, settings: Settings
) -> pd.DataFrame:
    """The chunks with one boolean column for each truth, and without their text, which no suite needs to see.

    `truths` as `vector_truths` gives them, `titles` by document id. A chunk without a vector lacks only
    `vector_is_there`.
    """
    of_vector = truths.drop(columns="vector_key").reindex(chunks["text_digest"]).reset_index(drop=True)
    is_there = of_vector["vector_has_dimension"].notna().to_numpy()
    given, digests = _strings(chunks["text"]), chunks["text_digest"].tolist()
    documents = list(map(str, chunks["document_id"]))
    paths = [_path(cell) for cell in chunks["heading_path"]]
    longest = settings.max_name_characters
    return chunks[["document_id", "ordinal", "text_digest", "token_count"]].assign(
        document_is_known=[document in titles for document in documents],
        body_is_present=[bool(_body(text).strip()) for text in given],
        text_digest_is_of_text=[_digest(text) == digest for text, digest in zip(given, digests, strict=True)],
        ordinals_are_complete=_ordinals_are_complete(chunks),
        heading_path_is_sound=[path is not None for path in paths],
        header_is_of_path=[
            path is None or _is_header(text.partition("\n\n")[0], titles.get(document), path)
            for text, path, document in zip(given, paths, documents, strict=True)
        ],
        mentions_are_sound=[each_sound(cell, lambda row: _is_mention(row, longest)) for cell in chunks["mentions"]],
        vector_is_there=is_there,
        **{column: of_vector[column].fillna(True).to_numpy(dtype=bool) for column in of_vector.columns},
    )


def found_in(chunks: pd.DataFrame) -> dict[str, Found]:
    """What the chunks of a slice add up to, by document id."""
    found: dict[str, Found] = {}
    for document, text in zip(map(str, chunks["document_id"]), _strings(chunks["text"]), strict=True):
        found[document] = found.get(document, Found()) + Found(1, texts.said(_body(text)))
    return found


def with_coverage(documents: pd.DataFrame, found: Mapping[str, Found], *, settings: Settings) -> pd.DataFrame:
    """One row a document: the chunks that it was cut into and that are there, and whether they say what it says."""
    there = [found.get(str(document), Found()) for document in documents["document_id"]]
    said = documents["said_characters"].to_numpy(dtype=float)
    lost = said - np.array([one.said_characters for one in there], dtype=float)
    allowed = np.maximum((1 - settings.min_coverage_fraction) * said, settings.tolerated_lost_characters)
    return documents[["document_id", "chunk_count"]].assign(
        chunks_found=[one.chunks for one in there], text_is_covered=lost <= allowed
    )


def _strings(cells: pd.Series[Any]) -> list[str]:
    # Lists, not columns: a column of strings refuses a lone surrogate with an exception, a truth is wanted instead.
    return [cell if isinstance(cell, str) else "" for cell in cells.tolist()]


def _body(text: str) -> str:
    return text.partition("\n\n")[2]


def _path(cell: Any) -> list[str] | None:
    """The headings, None when they are no heading path."""
    if not isinstance(cell, list | tuple | np.ndarray) or len(cell) > MAX_HEADINGS:
        return None
    headings = [heading for heading in cell if isinstance(heading, str) and 0 < len(heading) <= _MAX_HEADING_CHARACTERS]
    return headings if len(headings) == len(cell) else None


def _is_header(header: str, title: str | None, path: Sequence[str]) -> bool:
    """Whether the header is what the chunker makes of title and path: `title > heading > heading`, without the outer
    headings that were too much, or both cut after a word. None at all where even that outgrew the model."""
    first = header_title(title)
    full = [[first, *path[start:]] if first else list(path[start:]) for start in range(len(path) + 1)]
    if not header or any(header == HEADER_SEPARATOR.join(parts) for parts in full):
        return True
    last = path[-1] if path else ""
    cuts = [match.span() for match in re.finditer(HEADER_SEPARATOR, header)]
    return (
        first.startswith(header)
        or last.startswith(header)
        or any(first.startswith(header[:start]) and last.startswith(header[end:]) for start, end in cuts)
    )


def _is_mention(row: list[Any], longest: int) -> bool:
    return len(row) == 3 and is_name(row[0], row[1], longest) and isinstance(row[2], int) and row[2] > 0


def _ordinals_are_complete(chunks: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether the document of each chunk has the ordinals 0..n-1, each once."""
    ordinals = chunks.groupby("document_id", sort=False, dropna=False)["ordinal"]
    count, low, high = (ordinals.transform(name).to_numpy() for name in ("size", "min", "max"))
    different = ordinals.transform("nunique").to_numpy()
    return np.asarray((low == 0) & (high == count - 1) & (different == count), dtype=bool)


def _digest(text: str) -> str:
    try:
        return ids.text_digest(text)
    except UnicodeEncodeError:
        return ""  # a lone surrogate: no store takes it, and no digest is of it


def _folded(text: str) -> str:
    """The text without case, accents and runs of spaces."""
    normalised = ids.normalise_name(text)
    if normalised.isascii():
        return normalised
    decomposed = unicodedata.normalize("NFKD", normalised)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _keys(values: Sequence[str]) -> npt.NDArray[np.uint64]:
    return np.array([key_of(value.encode("utf-8", "surrogatepass")) for value in values], dtype=np.uint64)


def _together(parts: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)
