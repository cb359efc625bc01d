"""What the gate of documents expects, computed for whole columns: one truth a row. Nothing here decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from concordance import ids
from concordance.model import EntityRole, EntityType, LinkKind, RelationKind
from concordance.quality.texts import UNKNOWN_LANGUAGES
from concordance.settings import Settings

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

_TYPES, _ROLES = frozenset(map(str, EntityType)), frozenset(map(str, EntityRole))
_RELATIONS, _LINKS = frozenset(map(str, RelationKind)), frozenset(map(str, LinkKind))


@dataclass(frozen=True, slots=True)
class Origin:
    """What every document of a run has from its source. `languages` empty: any."""

    tenant: str
    source: str
    access: tuple[str, ...]
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WholeRun:
    """What only all documents together tell: ids that occur twice, and for each text that more than the allowed number
    of documents say, the first of them by uri. `equal` counts documents that say what an earlier one says."""

    repeated_ids: frozenset[str] = frozenset()
    first_of: dict[str, str] | None = None
    equal: int = 0


def whole_run(frames: Iterable[pd.DataFrame], *, max_equal_documents: int) -> WholeRun:
    """Read all documents once, or twice where some text is said too often; keeps 68 bytes a document.

    `frames` can be walked through again and again.
    """
    document_ids, texts = _columns(frames)
    texts, counts = np.unique(texts, return_counts=True)
    twice, occurrences = np.unique(document_ids, return_counts=True)
    frequent = {text.decode() for text in texts[counts > max_equal_documents]}
    return WholeRun(
        repeated_ids=frozenset(one.decode() for one in twice[occurrences > 1]),
        first_of=_first_of(frames, frequent) if frequent else {},
        equal=int(counts.sum() - len(counts)),
    )


def _columns(frames: Iterable[pd.DataFrame]) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.bytes_]]:
    document_ids, texts = [np.empty(0, "S36")], [np.empty(0, "S32")]
    for frame in frames:
        document_ids.append(np.array([str(one) for one in frame["document_id"]], "S36"))
        texts.append(np.array([str(one) for one in frame["said_digest"]], "S32"))
    return np.concatenate(document_ids), np.concatenate(texts)


def _first_of(frames: Iterable[pd.DataFrame], texts: set[str]) -> dict[str, str]:
    first: dict[str, tuple[str, str]] = {}
    for frame in frames:
        for text, uri, document_id in zip(frame["said_digest"], frame["uri"], frame["document_id"], strict=True):
            if text in texts:
                first[text] = min(first.get(text, (str(uri), str(document_id))), (str(uri), str(document_id)))
    return {text: document_id for text, (_, document_id) in first.items()}


def with_document_truths(frame: pd.DataFrame, origin: Origin, run: WholeRun, settings: Settings) -> pd.DataFrame:
    """One row a document with one boolean column for each truth, and without whatever a suite need not see."""
    document_ids = [str(one) for one in frame["document_id"]]
    first_of = run.first_of or {}
    longest = settings.max_name_characters
    return frame[["document_id", "uri", "fingerprint", "stamp", "size_bytes", "text_characters", "chunk_count"]].assign(
        id_is_of_uri=[_id_of(uri, origin) == one for uri, one in zip(frame["uri"], document_ids, strict=True)],
        id_is_unique=[one not in run.repeated_ids for one in document_ids],
        source_is_the_plans=[source == origin.source for source in frame["source"]],
        access_is_the_sources=[_labels(labels) == sorted(origin.access) for labels in frame["access"]],
        text_is_undamaged=_undamaged(frame, settings),
        language_is_declared=_declared(frame, origin, settings),
        content_is_no_duplicate=[
            first_of.get(text, one) == one for text, one in zip(frame["said_digest"], document_ids, strict=True)
        ],
        entities_are_sound=_each(frame["entities"], lambda row: _is_entity(row, longest)),
        relations_are_sound=_each(frame["relations"], lambda row: _is_relation(row, longest)),
        links_are_sound=_each(frame["links"], _is_link),
    )


def is_name(type_: object, name: object, longest: int) -> bool:
    """Whether this is an entity: a type of the closed list, and a name that is there and not longer than allowed."""
    return (
        isinstance(type_, str)
        and type_ in _TYPES
        and isinstance(name, str)
        and bool(name.strip())
        and len(name) <= longest
    )


def rows_of(cell: object) -> list[Any] | None:
    """The rows of a cell that holds a list as JSON, None when it does not."""
    try:
        rows = json.loads(cell) if isinstance(cell, str) else None
    except ValueError:
        return None
    return rows if isinstance(rows, list) else None


def each_sound(cell: object, is_sound: Callable[[Any], bool]) -> bool:
    """Whether a cell holds a list of rows as JSON, and each of them is sound."""
    rows = rows_of(cell)
    return rows is not None and all(isinstance(row, list) and is_sound(row) for row in rows)


def _each(cells: Iterable[object], is_sound: Callable[[Any], bool]) -> list[bool]:
    return [each_sound(cell, is_sound) for cell in cells]


def _is_entity(row: list[Any], longest: int) -> bool:
    return len(row) == 3 and str(row[0]) in _ROLES and is_name(row[1], row[2], longest)


def _is_relation(row: list[Any], longest: int) -> bool:
    ends = row[1:]
    return (
        len(ends) == 2
        and str(row[0]) in _RELATIONS
        and all(isinstance(end, list) and len(end) == 2 and is_name(end[0], end[1], longest) for end in ends)
    )


def _is_link(row: list[Any]) -> bool:
    return len(row) == 2 and str(row[0]) in _LINKS and isinstance(row[1], str) and bool(row[1])


def _id_of(uri: object, origin: Origin) -> str:
    return str(ids.document_id(tenant=origin.tenant, source=origin.source, uri=uri)) if isinstance(uri, str) else ""


def _labels(cell: Any) -> list[str]:
    return [] if cell is None else sorted(map(str, cell))


def _undamaged(frame: pd.DataFrame, settings: Settings) -> npt.NDArray[np.bool_]:
    damaged = frame["damaged_characters"].to_numpy(dtype=float)
    allowed = settings.max_damaged_fraction * frame["text_characters"].fillna(0).to_numpy(dtype=float)
    return np.asarray(damaged <= np.maximum(allowed, settings.tolerated_damaged_characters), dtype=bool)


def _declared(frame: pd.DataFrame, origin: Origin, settings: Settings) -> npt.NDArray[np.bool_]:
    # A text that is too short to tell, or without a language, is no text in a wrong one.
    if not origin.languages:
        return np.ones(len(frame), dtype=bool)
    cannot_tell = frame["language"].isin(UNKNOWN_LANGUAGES).to_numpy()
    likely = frame["language_probability"].to_numpy(dtype=float) >= settings.min_language_probability
    return np.asarray(cannot_tell | likely, dtype=bool)
