"""Frames as the gates see them: sound ones, and the same with some cells altered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from concordance import ids
from concordance.embedding.canaries import Canaries
from concordance.quality import Encoding, GateResult, Origin, ShardFrames, check_chunks, check_documents
from concordance.quality.texts import said
from concordance.settings import Settings
from support.index_rows import index_version

DIMENSION = 8
# Twice as many as may be rejected, so that two of forty are five in a hundred.
DOCUMENTS = 40
SETTINGS = Settings(max_quarantined_fraction=0.2)
ORIGIN = Origin("acme", "notes", ("public", "staff"))
_SETTINGS = index_version(0, dimension=DIMENSION).settings
MODEL = replace(_SETTINGS.model, window_tokens=64)
VERSION_SETTINGS = replace(_SETTINGS, chunk_max_tokens=48, model=MODEL)
CANARIES = Canaries(("one", "two"), np.eye(2, DIMENSION, dtype=np.float32))


def uri(number: int) -> str:
    return f"notes/{number:03}.md"


def document(number: int) -> UUID:
    return ids.document_id(tenant=ORIGIN.tenant, source=ORIGIN.source, uri=uri(number))


def documents(count: int = DOCUMENTS, *, first: int = 0) -> pd.DataFrame:
    """`count` documents, numbered from `first` on."""
    numbers = range(first, first + count)
    return pd.DataFrame(
        {
            "document_id": [str(document(number)) for number in numbers],
            "uri": [uri(number) for number in numbers],
            "title": [title(number) for number in numbers],
            "fingerprint": [ids.digest(number) for number in numbers],
            "stamp": [f"stamp {number}" for number in numbers],
            "source": [ORIGIN.source] * count,
            "access": [list(ORIGIN.access)] * count,
            "size_bytes": [1000 + number for number in numbers],
            "text_characters": [900 + number for number in numbers],
            "chunk_count": [2] * count,
            "damaged_characters": [0] * count,
            "language": ["en"] * count,
            "language_probability": [0.99] * count,
            "said_characters": [2 * said(body(number)) for number in numbers],
            "said_digest": [ids.digest(f"text {number}")[:32] for number in numbers],
            "entities": [json.dumps([["author", "person", "Ada"]])] * count,
            "relations": [json.dumps([["requires", ["package", "alpha"], ["package", "beta"]]])] * count,
            "links": [json.dumps([["references", "notes/elsewhere.md"]])] * count,
        }
    )


def title(number: int) -> str | None:
    return f"Note {number}" if number % 2 else None


def header(number: int) -> str:
    return f"Note {number} > Heading" if number % 2 else "Heading"


def body(number: int, part: int = 0) -> str:
    return f"Sentence {part} of note {number:03}, which says what no other one says."


def chunks(count: int = DOCUMENTS, *, first: int = 0) -> pd.DataFrame:
    """Two chunks of each of `count` documents, numbered from `first` on."""
    numbers = range(first, first + count)
    texts = [f"{header(number)}\n\n{body(number, part)}" for number in numbers for part in range(2)]
    return pd.DataFrame(
        {
            "document_id": [str(document(number)) for number in numbers for _ in range(2)],
            "ordinal": [0, 1] * count,
            "text": texts,
            "text_digest": [ids.text_digest(text) for text in texts],
            "token_count": [20] * len(texts),
            "heading_path": [["Heading"]] * len(texts),
            "mentions": [json.dumps([["package", "alpha", 2]])] * len(texts),
        }
    )


def vectors(frame: pd.DataFrame, *, dimension: int = DIMENSION, seed: int = 7) -> pd.DataFrame:
    """A random unit vector for each chunk."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(len(frame), dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return pd.DataFrame({"text_digest": frame["text_digest"], "vector": list(rows)})


def evidence(count: int = DOCUMENTS) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "document_id": [str(document(number)) for number in range(count)],
            "generation": [1] * count,
            "chunks_expected": [3] * count,
            "chunks_in_graph": [3] * count,
            "points_in_vectors": [3] * count,
            "digests_agree": [True] * count,
        }
    )


def counts(found: int = 100, expected: int = 100) -> pd.DataFrame:
    return pd.DataFrame(
        {"store": ["graph", "vectors"], "rows_found": [found, 100], "rows_expected": [expected, expected]}
    )


def with_cells(frame: pd.DataFrame, rows: Iterable[int], column: str, value: Any) -> pd.DataFrame:
    """The frame with this value in the column of these rows."""
    cells = frame[column].tolist()
    for row in rows:
        cells[row] = value
    return frame.assign(**{column: pd.Series(cells, dtype=object)})


def with_text(frame: pd.DataFrame, row: int, text: str) -> pd.DataFrame:
    """The chunks with another text in one of them, under its own digest."""
    return with_cells(with_cells(frame, [row], "text", text), [row], "text_digest", ids.text_digest(text))


def judge_documents(*frames: pd.DataFrame, settings: Settings = SETTINGS, **given: Any) -> GateResult:
    return check_documents(frames, origin=given.pop("origin", ORIGIN), settings=settings, **given)


def judge_chunks(
    chunks_frame: pd.DataFrame,
    vectors_frame: pd.DataFrame | None = None,
    *,
    documents_frame: pd.DataFrame | None = None,
    encoding: Encoding | None = None,
    settings: Settings = SETTINGS,
    canaries: Canaries | None = CANARIES,
    earlier: Sequence[dict[str, float]] = (),
    taken_over: Iterable[str] = (),
) -> GateResult:
    """The gate over one shard; what is not given is sound and fits."""
    count = len(chunks_frame) // 2
    shard = ShardFrames(
        documents=documents(count) if documents_frame is None else documents_frame,
        chunks=[chunks_frame],
        vectors=[vectors(chunks_frame) if vectors_frame is None else vectors_frame],
        encoding=encoding or Encoding(MODEL.digest, 1, CANARIES.vectors),
        taken_over=frozenset(taken_over),
    )
    return check_chunks(
        [shard], canaries=canaries, version_settings=VERSION_SETTINGS, settings=settings, earlier=earlier
    )
