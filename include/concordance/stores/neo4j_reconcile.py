"""Reconcile's reads and writes of the graph, inside one transaction each: the adapter opens it and translates errors.

A node that somebody edited by hand may lack any property or hold any value in it: nothing here may fail for that, the
row that comes out simply equals no row that was ever written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import neo4j

from concordance import ids
from concordance.model import (
    Anchor,
    ChunkRow,
    DocumentRow,
    EntityRow,
    GenerationKey,
    GraphBatch,
    IndexVersion,
    Span,
    StoredChunk,
    StoredContent,
)
from concordance.stores import cypher
from concordance.stores import cypher_reconcile as reading
from concordance.stores.graph_rows import Rows, generation_rows, listed, settle_rows, write_queries
from concordance.stores.neo4j_settling import delete_edges, entities_of

_NOBODY = UUID(int=0)
_MOST_LOOSE = 10_000


def stored_chunk(row: Sequence[Any], version: IndexVersion) -> StoredChunk:
    """A Chunk node as read, its digest computed from its text; one under a foreign key equals nothing.

    A row that was only read back ends with its text digest, and says nothing about the view.
    """
    chunk_id, key, document_id, generation, index, text, text_digest, *view = row
    found = as_uuid(chunk_id)
    digest = ids.read_digest(text, text_digest)
    return StoredChunk(
        chunk_id=found,
        document_id=as_uuid(document_id),
        generation=generation if isinstance(generation, int) else -1,
        ordinal=index if isinstance(index, int) else -1,
        text_digest=digest if key == ids.node_key(version.version, found) else f"foreign key {digest}"[:160],
        view_digest=ids.read_view_digest(*view) if view else None,
    )


def scanned(transaction: neo4j.Transaction, version: IndexVersion) -> Iterator[StoredChunk]:
    """All chunks of the version, in no order, as they arrive."""
    for record in transaction.run(reading.SCAN_CHUNKS, version=version.version):
        yield stored_chunk(record, version)


def page_of_span(
    transaction: neo4j.Transaction, version: IndexVersion, *, after: str, last: str, limit: int
) -> list[StoredChunk]:
    """Chunks with ids above `after`, up to `last`, in their order."""
    result = transaction.run(reading.CHUNKS_OF_SPAN, version=version.version, after=after, last=last, limit=limit)
    return [stored_chunk(row, version) for row in result.values()]


EVERYTHING = Span(UUID(int=0), UUID(int=2**128 - 1))


def just_before(span: Span) -> str:
    """The text below which no id of the span lies."""
    return str(UUID(int=span.first.int - 1)) if span.first.int else ""


def chunk_rows(transaction: neo4j.Transaction, rows: Rows) -> list[ChunkRow]:
    """Whole chunks of these generations, texts included; broken ones are left out."""
    found = []
    for record in transaction.run(reading.CHUNKS_OF_GENERATIONS, rows=rows):
        chunk_id, _, document_id, generation, index, text, _, _, heading, _ = record
        if isinstance(text, str) and isinstance(heading, list):
            named = as_uuid(chunk_id), as_uuid(document_id)
            found.append(ChunkRow(*named, generation, index, text, ids.text_digest(text), tuple(heading)))
    return found


def contents(
    transaction: neo4j.Transaction, version: IndexVersion, generations: Sequence[GenerationKey]
) -> dict[GenerationKey, StoredContent]:
    """What the graph holds of each generation beside its texts."""
    rows = generation_rows(version, generations)
    anchors = {each.document_id: each for each in anchors_of(transaction, rows)}
    built = {key: _Building() for key in generations}
    given = {"rows": rows, "version": version.version, **listed(rows)}

    def each(query: str) -> Iterator[tuple[_Building, list[Any]]]:
        for document_id, generation, *found in transaction.run(query, given).values():
            yield built[GenerationKey(UUID(document_id), generation)], found

    for building, (chunks, live) in each(reading.CHUNK_COUNTS):
        building.chunks, building.live = chunks, live
    for building, (edges,) in each(reading.NEXT_COUNTS):
        building.next_edges = edges
    for building, (mentions,) in each(reading.MENTIONS):
        building.mentions = {str(entity): int(count or 0) for entity, count in mentions}
    for building, (entities,) in each(reading.DOCUMENT_ENTITIES):
        building.entities = {(str(role), str(entity)) for role, entity in entities}
    for building, (relations,) in each(reading.RELATIONS):
        building.relations = {(str(kind), str(subject), str(target)) for kind, subject, target in relations}
    for building, (links,) in each(reading.LINKS):
        building.links = {(str(kind), as_uuid(linked)) for kind, linked in links}
    return {key: building.content(anchors.get(key.document_id)) for key, building in built.items()}


class _Building:
    def __init__(self) -> None:
        self.chunks = self.live = self.next_edges = 0
        self.mentions: dict[str, int] = {}
        self.entities: set[tuple[str, str]] = set()
        self.relations: set[tuple[str, str, str]] = set()
        self.links: set[tuple[str, UUID]] = set()

    def content(self, anchor: Anchor | None) -> StoredContent:
        return StoredContent(
            anchor=anchor,
            chunks=self.chunks,
            live=self.live,
            next_edges=self.next_edges,
            mentions=self.mentions,
            entities=frozenset(self.entities),
            relations=frozenset(self.relations),
            links=frozenset(self.links),
        )


def anchors_of(transaction: neo4j.Transaction, rows: Rows) -> list[Anchor]:
    """The Document nodes of these rows that are there."""
    return [anchor(row) for row in transaction.run(reading.ANCHORS, rows=rows).values()]


def anchor(row: Sequence[Any]) -> Anchor:
    document_id, tenant, source, uri, generation, title, fingerprint, access, stamp, content_digest, links = row
    return Anchor(
        document_id=as_uuid(document_id),
        tenant=str(tenant),
        source=str(source),
        uri=str(uri),
        generation=generation if isinstance(generation, int) else None,
        title=title,
        fingerprint=fingerprint,
        access=tuple(map(str, access)) if isinstance(access, list) else None,
        stamp=stamp,
        content_digest=content_digest,
        links=tuple(map(str, links)) if isinstance(links, list) else None,
    )


def scanned_documents(transaction: neo4j.Transaction, version: IndexVersion) -> Iterator[Anchor]:
    """All Document nodes of the version, in no order, as they arrive."""
    for record in transaction.run(reading.SCAN_DOCUMENTS, version=version.version):
        yield anchor(record)


def scanned_entities(transaction: neo4j.Transaction, version: IndexVersion) -> Iterator[tuple[str, EntityRow]]:
    """All entities of the version with their node keys, in no order, as they arrive."""
    for key, *row in transaction.run(reading.SCAN_ENTITIES, version=version.version):
        yield str(key), EntityRow(*map(str, row))


def mentioning(transaction: neo4j.Transaction, keys: Sequence[str]) -> set[GenerationKey]:
    """Some generations that hang on the entities with these node keys."""
    queries = (
        reading.DOCUMENTS_OF_ENTITIES,
        reading.DOCUMENTS_WITH_ENTITIES,
        reading.DOCUMENTS_RELATING_ENTITIES,
    )
    return {
        GenerationKey(as_uuid(document_id), generation)
        for query in queries
        for document_id, generation in transaction.run(query, keys=list(keys)).values()
        if isinstance(generation, int)
    }


def loose(transaction: neo4j.Transaction, version: IndexVersion) -> set[GenerationKey]:
    """Generations of rows that hang on nothing, at most some thousand."""
    return {
        GenerationKey(as_uuid(document_id), generation)
        for query in reading.LOOSE
        for document_id, generation in transaction.run(query, version=version.version, limit=_MOST_LOOSE).values()
        if isinstance(generation, int)
    }


def drop_unused(transaction: neo4j.Transaction, version: IndexVersion, *, limit: int) -> int:
    """Delete entities without any edge and Document nodes without anything: look, lock, look again, delete."""
    number = version.version
    documents = sorted(transaction.run(reading.EMPTY_DOCUMENTS, version=number, limit=limit).value())
    entities = sorted(transaction.run(reading.UNUSED_ENTITIES, version=number, limit=limit).value())
    if documents:
        transaction.run(cypher.LOCK_DOCUMENTS, keys=documents, version=number).consume()
    if entities:
        transaction.run(cypher.LOCK_ENTITIES, keys=entities, version=number).consume()
        transaction.run(cypher.DELETE_UNUSED_ENTITIES, keys=entities).consume()
    if documents:
        transaction.run(cypher.DELETE_EMPTY_DOCUMENTS, keys=documents).consume()
    return len(documents) + len(entities)


def rewrite(
    transaction: neo4j.Transaction, version: IndexVersion, batch: GraphBatch, settled: Sequence[DocumentRow]
) -> None:
    """Everything that these generations wrote goes and comes again as the batch has it, in one transaction.

    The Document nodes stay, for the links that point to them.
    """
    number = version.version
    generations = [GenerationKey(row.document_id, row.generation) for row in batch.documents]
    rows = generation_rows(version, generations)
    queries = list(write_queries(version, batch))
    documents, entities = queries[0][1], queries[1][1]
    transaction.run(cypher.MERGE_DOCUMENTS, rows=documents, version=number).consume()
    touched = sorted({row["key"] for row in entities} | entities_of(transaction, version, rows))
    transaction.run(cypher.LOCK_ENTITIES, keys=touched, version=number).consume()
    transaction.run(cypher.DELETE_CHUNKS, rows=rows, version=number).consume()
    keys = [ids.node_key(number, chunk.chunk_id) for chunk in batch.chunks]
    transaction.run(reading.DELETE_CHUNKS_BY_KEY, keys=keys).consume()
    transaction.run(
        reading.DELETE_CHUNKS_BY_ID, ids=[str(chunk.chunk_id) for chunk in batch.chunks], version=number
    ).consume()
    delete_edges(transaction, version, rows)
    for query, part in queries:
        if part:
            transaction.run(query, rows=part, version=number).consume()
    transaction.run(reading.RESET_DOCUMENTS, rows=documents).consume()
    transaction.run(reading.RESET_ENTITIES, rows=entities).consume()
    transaction.run(cypher.DELETE_UNUSED_ENTITIES, keys=touched).consume()
    shown = settle_rows(version, settled)
    transaction.run(reading.RESET_DOCUMENTS, rows=shown).consume()
    transaction.run(cypher.SETTLE_CHUNKS, rows=shown).consume()


def node_of(version: IndexVersion) -> str:
    """The name of the node that carries a version's description."""
    return f"{cypher.POINTER_NAME}_v{version.version:06d}"


def as_uuid(value: object) -> UUID:
    try:
        return UUID(value) if isinstance(value, str) else _NOBODY
    except ValueError:
        return _NOBODY


def document_keys(version: IndexVersion, document_ids: Sequence[UUID]) -> Rows:
    return [{"key": ids.node_key(version.version, each)} for each in document_ids]


SCHEMA_NAMES: Mapping[str, str] = {
    **{f"concordance_{label.lower()}_key": f"the constraint on {label}.key" for label in cypher.NODE_LABELS},
    "concordance_index_name": "the constraint on Index.name",
    "concordance_document_version": "the index on Document.index_version",
    "concordance_entity_version": "the index on Entity.index_version",
    "concordance_chunk_order": "the index on Chunk.index_version and Chunk.id",
    "concordance_chunk_id": "the index on Chunk.id",
    "concordance_chunk_document": "the index on Chunk.document_id",
    "concordance_relation_document": "the index on RELATED_TO.document_id",
}


def schema_gaps(transaction: neo4j.Transaction) -> list[str]:
    """Constraints and indexes that are missing or not online."""
    constraints = set(transaction.run(cypher.SHOW_CONSTRAINTS).value())
    states: dict[str, str] = dict(transaction.run(cypher.SHOW_INDEXES).values())
    gaps = [f"{SCHEMA_NAMES[name]} is missing" for name in sorted(cypher.CONSTRAINTS - constraints)]
    for name, what in SCHEMA_NAMES.items():
        if name not in cypher.CONSTRAINTS and name not in states:
            gaps.append(f"{what} is missing")
        elif states.get(name, "ONLINE") != "ONLINE":
            gaps.append(f"{what} is {states[name].lower()}")
    return gaps
