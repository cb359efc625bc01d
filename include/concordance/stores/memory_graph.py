"""`GraphStore` in memory: what the graph promises, in the fewest words."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from concordance import ids
from concordance.model import (
    Anchor,
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
    Span,
    StoreCounts,
    StoredChunk,
    StoredContent,
)
from concordance.stores.checks import check_batch, connected_entities, is_itself


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
            stamp=document.stamp,
            content_digest=document.content_digest,
            links=document.links,
        )
        generation = GenerationKey(document.document_id, document.generation)
        self.live.difference_update(self.lower(generation))
        self.live.update(self.chunks_of.get(generation, ()))

    def sweep(self, generation: GenerationKey) -> int:
        swept = self.chunks_of.pop(generation, set())
        touched: set[str] = set()
        for chunk_id in swept:
            self.chunks.pop(chunk_id, None)
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

    def stored(self, row: ChunkRow) -> StoredChunk:
        anchor = self.anchors.get(row.document_id)
        return StoredChunk(
            row.chunk_id,
            row.document_id,
            row.generation,
            row.ordinal,
            ids.read_digest(row.text, row.text_digest),
            view_digest=ids.view_digest(
                tenant="" if anchor is None else anchor.tenant,
                heading_path=row.heading_path,
                live=row.chunk_id in self.live,
            ),
        )

    def content(self, key: GenerationKey) -> StoredContent:
        edges = self.edges_of.get(key, _Edges())
        chunk_ids = [each for each in self.chunks_of.get(key, ()) if each in self.chunks]
        mentions: Counter[str] = Counter()
        for chunk_id in chunk_ids:
            mentions.update(self.mentions.get(chunk_id, {}))
        ordinals = {self.chunks[each].ordinal for each in chunk_ids}
        return StoredContent(
            anchor=self.anchors.get(key.document_id),
            chunks=len(chunk_ids),
            live=len(self.live.intersection(chunk_ids)),
            next_edges=sum(ordinal + 1 in ordinals for ordinal in ordinals),
            mentions=dict(mentions),
            entities=frozenset((str(edge.role), edge.entity_key) for edge in edges.entities),
            relations=frozenset((str(each.kind), each.subject_key, each.object_key) for each in edges.relations),
            links=frozenset((str(link.kind), link.target_id) for link in edges.links),
        )

    def rewrite(self, batch: GraphBatch, settled: Sequence[DocumentRow]) -> None:
        links_to = [link for edges in self.edges_of.values() for link in edges.links]
        for document in batch.documents:
            self.sweep(GenerationKey(document.document_id, document.generation))
            self.anchors.pop(document.document_id, None)
        for chunk in batch.chunks:
            if self.chunks.pop(chunk.chunk_id, None) is not None:
                for chunk_ids in self.chunks_of.values():
                    chunk_ids.discard(chunk.chunk_id)
        for entity in batch.entities:
            self.entities.pop(entity.entity_key, None)
        self.write(batch)
        kept = {(link.document_id, link.generation) for link in batch.links}
        self.write_links([link for link in links_to if (link.document_id, link.generation) not in kept])
        for row in settled:
            self.settle(row)

    def loose(self) -> set[GenerationKey]:
        found = {
            GenerationKey(row.document_id, row.generation)
            for row in self.chunks.values()
            if row.document_id not in self.anchors
        }
        for key, edges in self.edges_of.items():
            has_edges = edges.entities or edges.relations or edges.links
            if has_edges and not any(each in self.chunks for each in self.chunks_of.get(key, ())):
                found.add(key)
        return found

    def drop_unused(self) -> int:
        entities = [key for key in self.entities if self.degree[key] <= 0]
        with_rows = {key.document_id for key, chunks in self.chunks_of.items() if chunks}
        with_rows.update(key.document_id for key, edges in self.edges_of.items() if edges.entities or edges.links)
        anchors = [document_id for document_id in self.anchors if document_id not in with_rows]
        for key in entities:
            self._drop_unused(key)
        for document_id in anchors:
            self._drop_anchor(document_id)
        return len(entities) + len(anchors)


class MemoryGraph:
    """`GraphStore` in memory."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._graphs: dict[int, _Graph] = defaultdict(_Graph)
        self._descriptions: dict[int, str] = {}
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
                graph.stored(graph.chunks[chunk_id])
                for generation in set(generations)
                if generation.document_id in graph.anchors
                for chunk_id in graph.chunks_of.get(generation, ())
                if chunk_id in graph.chunks
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

    def generations_of(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Mapping[GenerationKey, int]:
        with self._lock:
            graph = self._graphs[version.version]
            found: dict[GenerationKey, int] = {}
            for document_id in set(document_ids):
                if document_id in graph.anchors:
                    found[GenerationKey(document_id, 0)] = 1
                for number in graph.generations_of.get(document_id, ()):
                    key = GenerationKey(document_id, number)
                    edges = graph.edges_of.get(key, _Edges())
                    rows = len(graph.chunks_of.get(key, ())) + len(edges.entities) + len(edges.relations)
                    if rows := rows + len(edges.links):
                        found[key] = rows
            return found

    def chunks(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        with self._lock:
            graph = self._graphs[version.version]
            rows = sorted(graph.chunks.values(), key=lambda row: row.chunk_id)
            found = [row for row in rows if span is None or span.first <= row.chunk_id <= span.last]
            return iter([graph.stored(row) for row in found])

    def scan(self, version: IndexVersion) -> Iterator[StoredChunk]:
        return self.chunks(version)

    # --- reconcile

    def contents(
        self, version: IndexVersion, generations: Sequence[GenerationKey]
    ) -> Mapping[GenerationKey, StoredContent]:
        with self._lock:
            return {key: self._graphs[version.version].content(key) for key in generations}

    def chunk_rows(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> list[ChunkRow]:
        with self._lock:
            graph = self._graphs[version.version]
            found = [each for key in set(generations) for each in graph.chunks_of.get(key, ())]
            return [
                replace(graph.chunks[each], text_digest=ids.text_digest(graph.chunks[each].text))
                for each in found
                if each in graph.chunks
            ]

    def anchors(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Mapping[UUID, Anchor]:
        with self._lock:
            anchors = self._graphs[version.version].anchors
            return {each: anchors[each] for each in document_ids if each in anchors}

    def documents(self, version: IndexVersion) -> Iterator[Anchor]:
        with self._lock:
            return iter(list(self._graphs[version.version].anchors.values()))

    def altered_entities(self, version: IndexVersion) -> Iterator[str]:
        with self._lock:
            named = {
                ids.node_key(version.version, key): row for key, row in self._graphs[version.version].entities.items()
            }
        return (key for key, row in named.items() if not is_itself(version, key, row))

    def mentioning(self, version: IndexVersion, node_keys: Sequence[str]) -> set[GenerationKey]:
        wanted = set(node_keys)
        with self._lock:
            graph = self._graphs[version.version]
            keys = {key for key in graph.entities if ids.node_key(version.version, key) in wanted}
            found = {
                GenerationKey(graph.chunks[chunk_id].document_id, graph.chunks[chunk_id].generation)
                for chunk_id, mentions in graph.mentions.items()
                if chunk_id in graph.chunks and not keys.isdisjoint(mentions)
            }
            for key, edges in graph.edges_of.items():
                named = {edge.entity_key for edge in edges.entities}
                named.update(each for edge in edges.relations for each in (edge.subject_key, edge.object_key))
                if not keys.isdisjoint(named):
                    found.add(key)
            return found

    def loose(self, version: IndexVersion) -> set[GenerationKey]:
        with self._lock:
            return self._graphs[version.version].loose()

    def drop_unused(self, version: IndexVersion, *, timeout_seconds: float) -> int:
        with self._lock:
            return self._graphs[version.version].drop_unused()

    def rewrite(
        self, version: IndexVersion, batch: GraphBatch, settled: Sequence[DocumentRow], *, timeout_seconds: float
    ) -> None:
        check_batch(batch)
        with self._lock:
            self._graphs[version.version].rewrite(batch, settled)

    def remove(self, version: IndexVersion, chunk_ids: Sequence[UUID], *, timeout_seconds: float) -> None:
        with self._lock:
            graph = self._graphs[version.version]
            for chunk_id in chunk_ids:
                graph.chunks.pop(chunk_id, None)
                graph.live.discard(chunk_id)
                graph.degree.subtract(graph.mentions.pop(chunk_id, {}).keys())

    def schema_gaps(self) -> list[str]:
        return []

    def describe(self, version: IndexVersion, description: str) -> None:
        with self._lock:
            self._descriptions[version.version] = description

    def description(self, version: IndexVersion) -> str | None:
        with self._lock:
            return self._descriptions.get(version.version)

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
