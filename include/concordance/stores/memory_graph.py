"""`GraphStore` in memory: what the graph promises, in the fewest words."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from concordance import ids
from concordance.errors import Conflict
from concordance.model import (
    Anchor,
    ChunkRow,
    DocumentRow,
    GenerationKey,
    GraphBatch,
    IndexVersion,
    LinkRow,
    Neighbourhood,
    Span,
    StoreCounts,
    StoredChunk,
    StoredContent,
)
from concordance.stores.checks import check_batch, is_itself
from concordance.stores.memory_rows import Edges, VersionGraph


class MemoryGraph:
    """`GraphStore` in memory."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._graphs: dict[int, VersionGraph] = defaultdict(VersionGraph)
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
                    edges = graph.edges_of.get(key, Edges())
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
    def _around(graph: VersionGraph, chunk_id: UUID) -> Neighbourhood:
        chunk, mentions = graph.chunks[chunk_id], graph.mentions.get(chunk_id, {})
        edges = graph.edges_of.get(GenerationKey(chunk.document_id, chunk.generation), Edges())
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

    def kept(self) -> set[int]:
        with self._lock:
            return {*self._descriptions, *(number for number, graph in self._graphs.items() if not graph.is_empty)}

    def drop(self, version: IndexVersion, *, limit: int, timeout_seconds: float) -> int:
        with self._lock:
            if self._pointer == version.version:
                raise Conflict(f"the pointer names index version {version.version}: let it name another one first")
            graph = self._graphs[version.version]
            dropped = graph.drop(limit)
            if dropped < limit and graph.is_empty:
                del self._graphs[version.version]
                dropped += self._descriptions.pop(version.version, None) is not None
            return dropped

    def counts(self, version: IndexVersion, only: Collection[str] = ()) -> StoreCounts:
        with self._lock:
            graph = self._graphs[version.version]
            edges = graph.edges_of.values()
            rows = {
                "documents": len(graph.anchors),
                "chunks": len(graph.chunks),
                "entities": len(graph.entities),
                "mentions": sum(map(len, graph.mentions.values())),
                "document_entities": sum(len(each.entities) for each in edges),
                "relations": sum(len(each.relations) for each in edges),
                "links": sum(len(each.links) for each in edges),
            }
            return StoreCounts({name: number for name, number in rows.items() if not only or name in only})

    def counts_of(self, version: IndexVersion, source: str) -> StoreCounts:
        with self._lock:
            graph = self._graphs[version.version]
            documents = {each.document_id for each in graph.anchors.values() if each.source == source}
            chunks = sum(row.document_id in documents for row in graph.chunks.values())
            return StoreCounts({"documents": len(documents), "chunks": chunks})

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
