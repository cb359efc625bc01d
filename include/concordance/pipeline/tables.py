"""The artefacts' shapes: Arrow schemas, and Parquet bytes to and from them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from concordance.model import Action, PlanEntry, Reason, Rejection

if TYPE_CHECKING:
    import pandas as pd

# Arrow's own pool keeps what it freed for its next use: one shard's in a task, beside what comes after.
pa.set_memory_pool(pa.system_memory_pool())

_GROUP_ROWS = 4096
_MODEL, _CANARIES = b"concordance.model", b"concordance.canaries"

PLAN = pa.schema(
    [
        ("document_id", pa.string()),
        ("uri", pa.string()),
        ("action", pa.string()),
        ("base", pa.int64()),
        ("stamp", pa.string()),
        ("size_bytes", pa.int64()),
        ("shard", pa.int32()),
        ("made_from", pa.int64()),
        ("is_carried", pa.bool_()),
    ]
)
# Entities, relations and links are JSON texts: nested lists of fixed shape, read by one stage only.
DOCUMENTS = pa.schema(
    [
        ("document_id", pa.string()),
        ("uri", pa.string()),
        ("base", pa.int64()),
        ("title", pa.string()),
        ("fingerprint", pa.string()),
        ("stamp", pa.string()),
        ("access", pa.list_(pa.string())),
        ("source", pa.string()),
        ("size_bytes", pa.int64()),
        ("text_characters", pa.int64()),
        ("chunk_count", pa.int32()),
        ("entities", pa.string()),
        ("relations", pa.string()),
        ("links", pa.string()),
        ("damaged_characters", pa.int64()),
        ("language", pa.string()),
        ("language_probability", pa.float64()),
        ("said_characters", pa.int64()),
        ("said_digest", pa.string()),
        ("source_digest", pa.string()),
        # Of a build: the index version and generation that it was made from, whether its rows were copied from there
        # (and have passed the gates before), and whether they are older than what the source has.
        ("made_from_version", pa.int32()),
        ("made_from", pa.int64()),
        ("is_copied", pa.bool_()),
        ("is_stale", pa.bool_()),
    ]
)
CHUNKS = pa.schema(
    [
        ("document_id", pa.string()),
        ("ordinal", pa.int32()),
        ("text", pa.string()),
        ("text_digest", pa.string()),
        ("token_count", pa.int32()),
        ("heading_path", pa.list_(pa.string())),
        ("mentions", pa.string()),
    ]
)
REJECTIONS = pa.schema(
    [(name, pa.string()) for name in ("document_id", "stage", "reason", "detail", "stamp", "artefact")]
)
EVIDENCE = pa.schema(
    [
        ("document_id", pa.string()),
        ("generation", pa.int64()),
        ("chunks_expected", pa.int32()),
        ("chunks_in_graph", pa.int32()),
        ("points_in_vectors", pa.int32()),
        ("digests_agree", pa.bool_()),
    ]
)


def to_parquet(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> bytes:
    """Parquet bytes of the rows; the same rows give the same bytes."""
    return table_to_parquet(pa.Table.from_pylist(list(rows), schema=schema))


def table_to_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    # Groups, so that neither who writes nor who reads a slice at a time holds a large artefact twice. Numbers that
    # hardly repeat make a dictionary that costs memory and gains nothing.
    repeats = [name for name in table.column_names if name != "vector"]
    pq.write_table(table, sink, compression="zstd", row_group_size=_GROUP_ROWS, use_dictionary=repeats)
    return sink.getvalue()


def from_parquet(content: bytes, *, filters: Any = None, columns: list[str] | None = None) -> pa.Table:
    return pq.read_table(io.BytesIO(content), filters=filters, columns=columns)


def batches(content: bytes, *, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The artefact's rows in order, at most `rows` at once."""
    yield from pq.ParquetFile(io.BytesIO(content)).iter_batches(batch_size=rows, columns=columns)


def frames(content: bytes, *, rows: int, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """The artefact's rows in order, at most `rows` at once."""
    for batch in batches(content, rows=rows, columns=columns):
        yield batch.to_pandas()


def whole_documents(slices: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The same rows, cut so that no document, whose rows follow each other, is spread over two slices."""
    import pandas as pd

    held: pd.DataFrame | None = None
    for frame in slices:
        held = frame if held is None else pd.concat([held, frame], ignore_index=True)
        is_last = held["document_id"] == held["document_id"].iloc[-1]
        if not is_last.all():
            yield held[~is_last]
            held = held[is_last]
    if held is not None:
        yield held


def plan_table(entries: Sequence[PlanEntry]) -> pa.Table:
    """The plan's rows, made a column at a time: a dict for each entry would be most of the memory of a large plan."""
    texts = ("document_id", "action")

    def column(name: str) -> list[Any]:
        values = [getattr(entry, name) for entry in entries]
        return [str(value) for value in values] if name in texts else values

    return pa.table([pa.array(column(field.name), type=field.type) for field in PLAN], schema=PLAN)


def plan_entries(content: bytes, *, shard: int) -> list[PlanEntry]:
    """The documents of one shard, in the plan's order."""
    table = from_parquet(content, filters=[("shard", "=", shard)])
    return [
        PlanEntry(**{**row, "document_id": UUID(row["document_id"]), "action": Action(row["action"])})
        for row in table.to_pylist()
    ]


def rejection_rows(rejections: Sequence[Rejection]) -> list[dict[str, Any]]:
    return [{**asdict(one), "document_id": str(one.document_id)} for one in rejections]


def rejection(row: dict[str, Any]) -> Rejection:
    """A row of a rejections artefact as the value that it was."""
    return Rejection(**{**row, "document_id": UUID(row["document_id"]), "reason": Reason(row["reason"])})


def vectors_table(
    text_digests: Sequence[str],
    vectors: npt.NDArray[np.float32],
    *,
    model: str,
    canaries: npt.NDArray[np.float32] | None,
) -> pa.Table:
    """One row a distinct text: its digest and its vector, shape (texts, dimension); with them the digest of the model's
    fingerprint and, where it encoded anything, its vectors of the version's canary texts."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1), type=pa.float32())
    table = pa.table(
        {
            "text_digest": pa.array(list(text_digests), type=pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )
    said = {_MODEL: model.encode()}
    if canaries is not None:
        said[_CANARIES] = json.dumps(canaries.astype(float).tolist()).encode()
    return table.replace_schema_metadata(said)


def made_by(content: bytes) -> tuple[str, npt.NDArray[np.float32] | None]:
    """The model and the canaries' vectors of a vectors artefact, as `vectors_table` took them."""
    said = pq.read_schema(io.BytesIO(content)).metadata or {}
    canaries = said.get(_CANARIES)
    return said.get(_MODEL, b"").decode(), None if canaries is None else np.array(json.loads(canaries), np.float32)


def vectors_by_digest(content: bytes) -> dict[str, npt.NDArray[np.float32]]:
    table = from_parquet(content, columns=["text_digest", "vector"])
    column = table.column("vector").combine_chunks()
    matrix = np.asarray(column.flatten(), dtype=np.float32).reshape(len(table), column.type.list_size)
    return dict(zip(table.column("text_digest").to_pylist(), matrix, strict=True))
