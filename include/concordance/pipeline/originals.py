"""What a generation wrote, made again from the artefacts that it was loaded from, or from the graph's own chunks.

Everything that comes out was compared with the ledger's digests: what is not exactly what was written is not given out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from concordance.errors import Corrupt
from concordance.ledger.reading import Promise
from concordance.model import ChunkRow, DocumentRow, GenerationKey, GraphBatch, IndexVersion, Point, Vector
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import PlanReference
from concordance.pipeline.rows import PreparedDocument, graph_rows, point_of
from concordance.pipeline.staged import find_staged, inputs_of
from concordance.staging import Artefact

_ENCODED_AT_ONCE = 256


def from_artefacts(
    version: IndexVersion, promises: Sequence[Promise], adapters: Adapters
) -> dict[GenerationKey, GraphBatch]:
    """The graph rows of those of the generations whose artefacts are still there and say what the ledger says."""
    return {
        key: graph_rows(prepared, key.generation, index_version=version.version)[1]
        for key, prepared in prepared_from_artefacts(version, promises, adapters)
    }


def prepared_from_artefacts(
    version: IndexVersion, promises: Sequence[Promise], adapters: Adapters
) -> Iterator[tuple[GenerationKey, PreparedDocument]]:
    """The artefacts' rows of those of the generations whose artefacts are still there and say what the ledger says."""
    wanted: dict[UUID, dict[UUID, Promise]] = {}
    plans = adapters.ledger.repairing.plans_of(version, [promise.key for promise in promises])
    for promise in promises:
        if promise.key in plans:
            wanted.setdefault(plans[promise.key], {})[promise.row.document_id] = promise
    for plan_id, documents in wanted.items():
        for prepared in _prepared(plan_id, documents, version, adapters):
            promise = documents[prepared.document_id]
            digests = tuple(chunk["text_digest"] for chunk in prepared.chunks)
            if digests == promise.text_digests and prepared.content().digest == promise.row.content_digest:
                yield promise.key, prepared


def _prepared(
    plan_id: UUID, documents: Mapping[UUID, Promise], version: IndexVersion, adapters: Adapters
) -> Iterator[PreparedDocument]:
    stored = adapters.ledger.repairing.plan_reference(plan_id)
    plan = PlanReference.from_json(stored) if stored is not None else None
    if plan is None or plan.plan_id != plan_id:
        return
    for shard in range(plan.shards):
        with suppress(Corrupt):
            found = find_staged(inputs_of(plan, shard, version.settings), adapters.staging)
            if found is None:
                continue
            fields = _rows(found[0], adapters, documents)
            chunks: dict[str, list[dict[str, object]]] = {}
            for chunk in _rows(found[1], adapters, documents) if fields else ():
                chunks.setdefault(str(chunk["document_id"]), []).append(chunk)
            for row in fields:
                promise = documents[UUID(str(row["document_id"]))]
                ordered = sorted(chunks.get(str(row["document_id"]), ()), key=lambda chunk: int(str(chunk["ordinal"])))
                yield PreparedDocument(promise.row.document_id, promise.row.tenant, promise.row.source, row, ordered)


def _rows(artefact: Artefact, adapters: Adapters, documents: Mapping[UUID, Promise]) -> list[dict[str, object]]:
    names = [str(document_id) for document_id in documents]
    content = adapters.staging.read(artefact)
    return list(tables.from_parquet(content, filters=[("document_id", "in", names)]).to_pylist())


def whole_chunks(promise: Promise, chunks: Sequence[ChunkRow]) -> list[ChunkRow] | None:
    """A generation's chunks in order, if they are exactly the ones that the ledger names by their texts' digests."""
    ordered = sorted(
        (
            row
            for row in chunks
            if (row.document_id, row.generation) == (promise.key.document_id, promise.key.generation)
        ),
        key=lambda row: row.ordinal,
    )
    is_whole = [row.ordinal for row in ordered] == list(range(promise.chunk_count))
    return ordered if is_whole and tuple(row.text_digest for row in ordered) == promise.text_digests else None


def points_of(
    row: DocumentRow, chunks: Sequence[ChunkRow], vectors: Mapping[str, Vector], version: IndexVersion
) -> list[Point]:
    """The generation's points: text and place from the chunks, metadata from the ledger's row, `vectors` by digest."""
    return [point_of(row, chunk, vectors[chunk.text_digest], version.settings) for chunk in chunks]


def embedded(version: IndexVersion, chunks: Sequence[ChunkRow], adapters: Adapters) -> dict[str, Vector]:
    """Vectors of the chunks' texts by digest, encoded anew with the version's frozen model.

    What stands in the index is not copied: a repair does not know which of those vectors were altered. Raises
    `Misconfigured` when no model here is the version's.
    """
    embedder = adapters.embedder_of(version)
    texts = {chunk.text_digest: chunk.text for chunk in chunks}
    digests = sorted(texts, key=lambda digest: (-len(texts[digest]), digest))
    found: dict[str, Vector] = {}
    for start in range(0, len(digests), _ENCODED_AT_ONCE):
        part = digests[start : start + _ENCODED_AT_ONCE]
        matrix = embedder.encode([texts[digest] for digest in part])
        found.update(zip(part, matrix, strict=True))
    return found
