"""A shard's documents as the rows that a generation writes: everything is named here, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.chunking.bm25 import document_vector
from concordance.model import (
    ChunkRow,
    Content,
    DocumentEntityRow,
    DocumentRow,
    Entity,
    EntityRow,
    EntityType,
    GraphBatch,
    IndexSettings,
    LinkRow,
    Manifest,
    MentionRow,
    Point,
    RelationRow,
    Vector,
)


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """One extracted document, ready to be named: its row of the documents artefact and its rows of the chunks."""

    document_id: UUID
    tenant: str
    source: str
    fields: Mapping[str, Any]
    chunks: Sequence[Mapping[str, Any]]

    def manifest(self) -> Manifest:
        fields = self.fields
        return Manifest(
            document_id=self.document_id,
            uri=fields["uri"],
            base=fields["base"],
            title=fields["title"],
            fingerprint=fields["fingerprint"],
            stamp=fields["stamp"],
            access=tuple(fields["access"]),
            content_digest=self.content().digest,
            text_digests=tuple(chunk["text_digest"] for chunk in self.chunks),
            links=self.links(),
            # Artefacts of older releases lack these.
            source_digest=fields.get("source_digest"),
            made_from=self._made_from(),
            is_stale=bool(fields.get("is_stale")),
        )

    def _made_from(self) -> tuple[int, int] | None:
        generation = self.fields.get("made_from")
        return None if generation is None else (self.fields["made_from_version"], generation)

    def links(self) -> tuple[tuple[UUID, str], ...]:
        """(target, kind) of every link, each once, sorted."""
        return tuple(sorted({(self._target(uri), kind) for kind, uri in json.loads(self.fields["links"])}))

    def content(self) -> Content:
        """What the document says: its digest goes into the manifest and is compared with the graph (I3)."""
        mentions: dict[str, int] = {}
        for chunk in self.chunks:
            for type_, name, count in json.loads(chunk["mentions"]):
                key = _key(self.tenant, type_, name)
                mentions[key] = mentions.get(key, 0) + count
        return Content(
            text_digests=tuple(chunk["text_digest"] for chunk in self.chunks),
            mentions=mentions,
            entities=frozenset(
                (role, _key(self.tenant, type_, name)) for role, type_, name in json.loads(self.fields["entities"])
            ),
            relations=frozenset(
                (kind, _key(self.tenant, *subject), _key(self.tenant, *target))
                for kind, subject, target in json.loads(self.fields["relations"])
            ),
            links=frozenset((kind, target) for target, kind in self.links()),
            title=self.fields["title"],
            access=tuple(self.fields["access"]),
            fingerprint=self.fields["fingerprint"],
        )

    def _target(self, uri: str) -> UUID:
        return ids.document_id(tenant=self.tenant, source=self.source, uri=uri)


@dataclass(frozen=True, slots=True)
class NamedDocument:
    """A prepared document under the generation that the ledger allotted: all its rows, with their ids."""

    row: DocumentRow
    stamp: str
    graph: GraphBatch
    points: tuple[Point, ...]


def name(
    document: PreparedDocument,
    generation: int,
    vectors: Mapping[str, Vector],
    *,
    index_version: int,
    settings: IndexSettings,
) -> NamedDocument:
    """The rows of one generation. `vectors` by text digest."""
    row, graph = graph_rows(document, generation, index_version=index_version)
    return NamedDocument(
        row=row,
        stamp=document.fields["stamp"],
        graph=graph,
        points=tuple(point_of(row, chunk, vectors[chunk.text_digest], settings) for chunk in graph.chunks),
    )


def graph_rows(document: PreparedDocument, generation: int, *, index_version: int) -> tuple[DocumentRow, GraphBatch]:
    """What one generation writes into the graph."""
    fields = document.fields
    row = DocumentRow(
        document_id=document.document_id,
        tenant=document.tenant,
        source=document.source,
        uri=fields["uri"],
        generation=generation,
        title=fields["title"],
        fingerprint=fields["fingerprint"],
        access=tuple(fields["access"]),
    )
    return row, _graph_rows(document, row, tuple(_chunk_rows(document, generation, index_version)))


def merge(documents: Sequence[NamedDocument]) -> GraphBatch:
    """The graph rows of several documents as one batch; an entity that several mention stands there once."""
    graphs = [document.graph for document in documents]
    entities = {entity.entity_key: entity for graph in graphs for entity in graph.entities}
    return GraphBatch(
        documents=tuple(row for graph in graphs for row in graph.documents),
        chunks=tuple(row for graph in graphs for row in graph.chunks),
        entities=tuple(entities.values()),
        mentions=tuple(row for graph in graphs for row in graph.mentions),
        document_entities=tuple(row for graph in graphs for row in graph.document_entities),
        relations=tuple(row for graph in graphs for row in graph.relations),
        links=tuple(row for graph in graphs for row in graph.links),
    )


def _chunk_rows(document: PreparedDocument, generation: int, index_version: int) -> Iterator[ChunkRow]:
    for ordinal, chunk in enumerate(document.chunks):
        yield ChunkRow(
            chunk_id=ids.chunk_id(
                index_version=index_version, document_id=document.document_id, generation=generation, ordinal=ordinal
            ),
            document_id=document.document_id,
            generation=generation,
            ordinal=ordinal,
            text=chunk["text"],
            text_digest=chunk["text_digest"],
            heading_path=tuple(chunk["heading_path"]),
        )


def _graph_rows(document: PreparedDocument, row: DocumentRow, chunks: Sequence[ChunkRow]) -> GraphBatch:
    tenant, generation = document.tenant, row.generation
    entities: dict[str, EntityRow] = {}

    def key_of(type_: str, spelling: str) -> str:
        key = _key(tenant, type_, spelling)
        entities.setdefault(key, EntityRow(key, tenant, type_, spelling))
        return key

    mentions = tuple(
        MentionRow(key_of(type_, spelling), chunk.chunk_id, count)
        for chunk, stored in zip(chunks, document.chunks, strict=True)
        for type_, spelling, count in json.loads(stored["mentions"])
    )
    document_entities = {
        DocumentEntityRow(row.document_id, key_of(type_, spelling), role, generation)
        for role, type_, spelling in json.loads(document.fields["entities"])
    }
    relations = {
        RelationRow(key_of(*subject), key_of(*target), kind, row.document_id, generation)
        for kind, subject, target in json.loads(document.fields["relations"])
    }
    links = tuple(LinkRow(row.document_id, target, kind, generation) for target, kind in document.links())
    return GraphBatch(
        documents=(row,),
        chunks=tuple(chunks),
        entities=tuple(entities.values()),
        mentions=mentions,
        document_entities=tuple(sorted(document_entities, key=lambda edge: (edge.role, edge.entity_key))),
        relations=tuple(sorted(relations, key=lambda edge: (edge.kind, edge.subject_key, edge.object_key))),
        links=links,
    )


def point_of(row: DocumentRow, chunk: ChunkRow, dense: Vector, settings: IndexSettings) -> Point:
    """The chunk as a point: its sparse part is computed from the text."""
    return Point(
        chunk_id=chunk.chunk_id,
        document_id=row.document_id,
        generation=row.generation,
        ordinal=chunk.ordinal,
        tenant=row.tenant,
        source=row.source,
        uri=row.uri,
        title=row.title,
        heading_path=chunk.heading_path,
        text=chunk.text,
        text_digest=chunk.text_digest,
        access=row.access,
        dense=dense,
        sparse=document_vector(chunk.text, settings),
    )


@lru_cache(maxsize=100_000)
def _key(tenant: str, type_: str, spelling: str) -> str:
    return Entity(EntityType(type_), spelling).key(tenant)
