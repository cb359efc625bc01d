"""A shard's artefacts as batches of documents: the same batches, in the same order, whenever they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import ShardReference
from concordance.pipeline.rows import PreparedDocument


def prepared(
    shard: ShardReference, rejected: set[UUID], adapters: Adapters, *, tenant: str, source: str
) -> Iterator[PreparedDocument]:
    """The shard's documents with their chunks, but for the rejected ones."""
    chunks: dict[str, list[dict[str, Any]]] = {}
    for chunk in tables.from_parquet(adapters.staging.read(shard.chunks)).to_pylist():
        chunks.setdefault(chunk["document_id"], []).append(chunk)
    for fields in tables.from_parquet(adapters.staging.read(shard.documents)).to_pylist():
        document_id = UUID(fields["document_id"])
        if document_id not in rejected:
            ordered = sorted(chunks.get(fields["document_id"], ()), key=lambda chunk: chunk["ordinal"])
            yield PreparedDocument(document_id, tenant, source, fields, ordered)


def batches(documents: Iterator[PreparedDocument], batch_chunks: int) -> Iterator[list[PreparedDocument]]:
    """Whole documents, about `batch_chunks` chunks a batch; a larger document is a batch of its own."""
    batch: list[PreparedDocument] = []
    size = 0
    for document in documents:
        if batch and size + len(document.chunks) > batch_chunks:
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document.chunks)
    if batch:
        yield batch
