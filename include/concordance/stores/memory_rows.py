"""One index version of the memory graph: its nodes and edges, and what a write, a settle or a sweep does to them.

No locks and no versions here: `memory_graph` has both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
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
    LinkRow,
    RelationRow,
    StoredChunk,
    StoredContent,
)
from concordance.stores.checks import connected_entities


@dataclass(slots=True)
class Edges:
    """What one generation wrote beside its chunks."""

    entities: set[DocumentEntityRow] = field(default_factory=set)
    relations: set[RelationRow] = field(default_factory=set)
    links: set[LinkRow] = field(default_factory=set)


@dataclass(slots=True)
class VersionGraph:
    """The nodes and edges of one index version. `degree` counts the edges of each entity."""

    anchors: dict[UUID, Anchor] = field(default_factory=dict)
    chunks: dict[UUID, ChunkRow] = field(default_factory=dict)
    chunks_of: dict[GenerationKey, set[UUID]] = field(default_factory=dict)
    live: set[UUID] = field(default_factory=set)
    entities: dict[str, EntityRow] = field(default_factory=dict)
    mentions: dict[UUID, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    edges_of: dict[GenerationKey, Edges] = field(default_factory=dict)
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

    def _edges(self, row: DocumentEntityRow | RelationRow | LinkRow) -> Edges:
        self.generations_of[row.document_id].add(row.generation)
        return self.edges_of.setdefault(GenerationKey(row.document_id, row.generation), Edges())

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
        edges = self.edges_of.pop(generation, Edges())
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
        edges = self.edges_of.get(key, Edges())
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

    @property
    def is_empty(self) -> bool:
        return not (self.chunks or self.anchors or self.entities)

    def drop(self, limit: int) -> int:
        """Delete up to `limit` nodes with their edges, chunks before documents before entities; how many went."""
        chunks = list(self.chunks)[:limit]
        for chunk_id in chunks:
            row = self.chunks.pop(chunk_id)
            self.chunks_of.get(GenerationKey(row.document_id, row.generation), set()).discard(chunk_id)
            self.live.discard(chunk_id)
            self.degree.subtract(self.mentions.pop(chunk_id, {}).keys())
        nodes = [*self.anchors, *self.entities][: limit - len(chunks)]
        gone = set(nodes)
        for key, edges in self.edges_of.items():
            if key.document_id in gone:
                edges.entities.clear()
            edges.links = {each for each in edges.links if gone.isdisjoint((each.document_id, each.target_id))}
            edges.relations = {each for each in edges.relations if gone.isdisjoint((each.subject_key, each.object_key))}
        self.anchors = {key: row for key, row in self.anchors.items() if key not in gone}
        self.entities = {key: row for key, row in self.entities.items() if key not in gone}
        return len(chunks) + len(nodes)
