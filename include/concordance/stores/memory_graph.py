"""`GraphStore` in memory: what the graph promises, in the fewest words."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from concordance.model import (
    ChunkRow,
    DocumentEntityRow,
    DocumentRow,
    EntityRow,
    GenerationKey,
    GraphBatch,
    IndexVersion,
    LinkRow,
    Neighbourhood,
    RelationRow,
    StoreCounts,
    StoredChunk,
)
from concordance.stores.checks import check_batch, connected_entities


@dataclass(frozen=True, slots=True)
class Anchor:
    """A Document node: the last four are None until a generation is settled."""

    document_id: UUID
    tenant: str
    source: str
    uri: str
    generation: int | None = None
    title: str | None = None
    fingerprint: str | None = None
    access: tuple[str, ...] | None = None


@dataclass(slots=True)
class _Edges:
    """What one generation wrote beside its chunks."""

    entities: set[DocumentEntityRow] = field(default_factory=set)
    relations: set[RelationRow] = field(default_factory=set)
    links: set[LinkRow] = field(default_factory=set)


@dataclass(slots=True)
class _Graph:
    """The nodes and edges of one index version. `degree` counts the edges of each entity."""

    anchors: dict[UUID, Anchor] = field(default_factory=dict)
    chunks: dict[UUID, ChunkRow] = field(default_factory=dict)
    chunks_of: dict[GenerationKey, set[UUID]] = field(default_factory=dict)
    live: set[UUID] = field(default_factory=set)
    entities: dict[str, EntityRow] = field(default_factory=dict)
    mentions: dict[UUID, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    edges_of: dict[GenerationKey, _Edges] = field(default_factory=dict)
    generations_of: dict[UUID, set[int]] = field(default_factory=lambda: defaultdict(set))
    degree: Counter[str] = field(default_factory=Counter)

    def write(self, batch: GraphBatch) -> None:
        for document in batch.documents:
            self.anchors.setdefault(
                document.document_id,
                Anchor(document.document_id, document.tenant, document.source, document.uri),
            )
        for entity in connected_entities(batch):
            self.entities.setdefault(entity.entity_key, entity)
        for chunk in batch.chunks:
            if chunk.chunk_id not in self.chunks:
                generation = GenerationKey(chunk.document_id, chunk.generation)
                self.chunks[chunk.chunk_id] = chunk
                self.chunks_of.setdefault(generation, set()).add(chunk.chunk_id)
                self.generations_of[chunk.document_id].add(chunk.generation)
        for mention in batch.mentions:
            if mention.entity_key not in self.mentions[mention.chunk_id]:
                self.mentions[mention.chunk_id][mention.entity_key] = mention.count
                self.degree[mention.entity_key] += 1
        for edge in batch.document_entities:
            edges = self._edges(edge).entities
            if edge not in edges:
                edges.add(edge)
                self.degree[edge.entity_key] += 1
        for relation in batch.relations:
            relations = self._edges(relation).relations
            if relation not in relations:
                relations.add(relation)
                self.degree.update((relation.subject_key, relation.object_key))
        self.write_links(batch.links)

    def write_links(self, links: Sequence[LinkRow]) -> None:
        for link in links:
            if link.document_id in self.anchors and link.target_id in self.anchors:
                self._edges(link).links.add(link)

    def _edges(self, row: DocumentEntityRow | RelationRow | LinkRow) -> _Edges:
        self.generations_of[row.document_id].add(row.generation)
        return self.edges_of.setdefault(GenerationKey(row.document_id, row.generation), _Edges())

    def lower(self, generation: GenerationKey) -> Iterator[UUID]:
        """The chunks of the document's generations below this one."""
        for number in self.generations_of.get(generation.document_id, ()):
            if number < generation.generation:
                yield from self.chunks_of.get(GenerationKey(generation.document_id, number), ())

    def settle(self, document: DocumentRow) -> None:
        anchor = self.anchors.get(document.document_id)
        if anchor is None or (anchor.generation is not None and anchor.generation > document.generation):
            return
        self.anchors[document.document_id] = replace(
            anchor,
            generation=document.generation,
            title=document.title,
            fingerprint=document.fingerprint,
            access=document.access,
        )
        generation = GenerationKey(document.document_id, document.generation)
        self.live.difference_update(self.lower(generation))
        self.live.update(self.chunks_of.get(generation, ()))

    def sweep(self, generation: GenerationKey) -> int:
        swept = self.chunks_of.pop(generation, set())
        touched: set[str] = set()
        for chunk_id in swept:
            del self.chunks[chunk_id]
            self.live.discard(chunk_id)
            mentioned = self.mentions.pop(chunk_id, {})
            self.degree.subtract(mentioned.keys())
            touched.update(mentioned)
        edges = self.edges_of.pop(generation, _Edges())
        for edge in edges.entities:
            self.degree[edge.entity_key] -= 1
            touched.add(edge.entity_key)
        for relation in edges.relations:
            self.degree.subtract((relation.subject_key, relation.object_key))
            touched.update((relation.subject_key, relation.object_key))
        for entity_key in touched:
            self._drop_unused(entity_key)
        remaining = self.generations_of[generation.document_id]
        remaining.discard(generation.generation)
        if not remaining:
            del self.generations_of[generation.document_id]
            self._drop_anchor(generation.document_id)
        return len(swept)

    def _drop_unused(self, entity_key: str) -> None:
        if self.degree[entity_key] <= 0:
            self.entities.pop(entity_key, None)
            del self.degree[entity_key]

    def _drop_anchor(self, document_id: UUID) -> None:
        """The node goes with the edges that point to it."""
        if self.anchors.pop(document_id, None) is not None:
            for edges in self.edges_of.values():
                edges.links = {link for link in edges.links if link.target_id != document_id}


def _stored(row: ChunkRow) -> StoredChunk:
    return StoredChunk(row.chunk_id, row.document_id, row.generation, row.ordinal, row.text_digest)


class MemoryGraph:
    """`GraphStore` in memory."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._graphs: dict[int, _Graph] = defaultdict(_Graph)
        self._pointer: int | None = None

    def ping(self) -> str:
        return "memory graph"

    def prepare(self) -> None:
        return None

    def write(self, version: IndexVersion, batch: GraphBatch, *, timeout_seconds: float) -> None:
        check_batch(batch)
        with self._lock:
            self._graphs[version.version].write(batch)

    def write_links(self, version: IndexVersion, links: Sequence[LinkRow], *, timeout_seconds: float) -> None:
        with self._lock:
            self._graphs[version.version].write_links(links)

    def read_back(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> list[StoredChunk]:
        with self._lock:
            graph = self._graphs[version.version]
            return [
                _stored(graph.chunks[chunk_id])
                for generation in set(generations)
                if generation.document_id in graph.anchors
                for chunk_id in graph.chunks_of.get(generation, ())
            ]

    def settle(self, version: IndexVersion, documents: Sequence[DocumentRow], *, timeout_seconds: float) -> None:
        with self._lock:
            for document in documents:
                self._graphs[version.version].settle(document)

    def hide(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        with self._lock:
            graph = self._graphs[version.version]
            for generation in generations:
                graph.live.difference_update(graph.lower(generation))
                graph.live.difference_update(graph.chunks_of.get(generation, ()))

    def sweep(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> int:
        with self._lock:
            return sum(map(self._graphs[version.version].sweep, generations))

    def chunks(self, version: IndexVersion) -> Iterator[StoredChunk]:
        with self._lock:
            rows = sorted(self._graphs[version.version].chunks.values(), key=lambda row: row.chunk_id)
        return map(_stored, rows)

    def neighbourhoods(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Neighbourhood]:
        with self._lock:
            graph = self._graphs[version.version]
            return {chunk_id: self._around(graph, chunk_id) for chunk_id in chunk_ids if chunk_id in graph.chunks}

    @staticmethod
    def _around(graph: _Graph, chunk_id: UUID) -> Neighbourhood:
        chunk, mentions = graph.chunks[chunk_id], graph.mentions.get(chunk_id, {})
        edges = graph.edges_of.get(GenerationKey(chunk.document_id, chunk.generation), _Edges())
        return Neighbourhood(
            entities=tuple(graph.entities[key] for key in sorted(mentions, key=lambda key: (-mentions[key], key))),
            linked_documents=tuple(sorted({link.target_id for link in edges.links})),
        )

    def orphans(self, version: IndexVersion) -> Mapping[str, int]:
        with self._lock:
            graph = self._graphs[version.version]
            with_chunks = {generation.document_id for generation, chunks in graph.chunks_of.items() if chunks}
            return {
                "chunks_without_document": sum(row.document_id not in graph.anchors for row in graph.chunks.values()),
                "documents_without_chunk": len(graph.anchors.keys() - with_chunks),
                "entities_without_edge": sum(graph.degree[key] <= 0 for key in graph.entities),
                "relations_without_chunk": sum(
                    len(edges.relations) for key, edges in graph.edges_of.items() if not graph.chunks_of.get(key)
                ),
            }

    def point_to(self, version: IndexVersion) -> None:
        with self._lock:
            self._pointer = version.version

    def pointer(self) -> int | None:
        with self._lock:
            return self._pointer

    def counts(self, version: IndexVersion) -> StoreCounts:
        with self._lock:
            graph = self._graphs[version.version]
            edges = graph.edges_of.values()
            return StoreCounts(
                {
                    "documents": len(graph.anchors),
                    "chunks": len(graph.chunks),
                    "entities": len(graph.entities),
                    "mentions": sum(map(len, graph.mentions.values())),
                    "document_entities": sum(len(each.entities) for each in edges),
                    "relations": sum(len(each.relations) for each in edges),
                    "links": sum(len(each.links) for each in edges),
                }
            )

    def close(self) -> None:
        return None

    # what raw readers see: no part of the port, read by tests and the simulator

    def anchor(self, version: IndexVersion, document_id: UUID) -> Anchor | None:
        """The Document node, None when it is not there."""
        with self._lock:
            return self._graphs[version.version].anchors.get(document_id)

    def live_chunks(self, version: IndexVersion) -> frozenset[UUID]:
        """The chunks that carry the flag `live`."""
        with self._lock:
            return frozenset(self._graphs[version.version].live)
