"""What the load writes: the rows of generations in the graph, and the points."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from uuid import UUID

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One generation of a document. The anchor node carries the first five fields from the load on, the others from
    the settle on.

    The last three are for the settle alone (elsewhere they are empty): with them on the node, a lost ledger can be
    rebuilt. `links` are all links of the generation, `<kind> <target id>` each, also those whose target is not there.
    """

    document_id: UUID
    tenant: str
    source: str
    uri: str
    generation: int
    title: str | None
    fingerprint: str
    access: tuple[str, ...]
    stamp: str = field(default="", compare=False)
    content_digest: str = field(default="", compare=False)
    links: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ChunkRow:
    chunk_id: UUID
    document_id: UUID
    generation: int
    ordinal: int
    text: str
    text_digest: str
    heading_path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EntityRow:
    entity_key: str
    tenant: str
    type: str
    name: str


@dataclass(frozen=True, slots=True)
class MentionRow:
    """`(:Entity)-[:FROM_CHUNK {count}]->(:Chunk)`."""

    entity_key: str
    chunk_id: UUID
    count: int


@dataclass(frozen=True, slots=True)
class DocumentEntityRow:
    """`(:Document)-[:HAS_ENTITY {role, generation}]->(:Entity)`."""

    document_id: UUID
    entity_key: str
    role: str
    generation: int


@dataclass(frozen=True, slots=True)
class RelationRow:
    """`(:Entity)-[:RELATED_TO {kind, document_id, generation}]->(:Entity)`."""

    subject_key: str
    object_key: str
    kind: str
    document_id: UUID
    generation: int


@dataclass(frozen=True, slots=True)
class LinkRow:
    """`(:Document)-[:LINKS_TO {kind, generation}]->(:Document)`; it belongs to the generation of its first document."""

    document_id: UUID
    target_id: UUID
    kind: str
    generation: int


@dataclass(frozen=True, slots=True)
class GraphBatch:
    """The graph rows that one transaction writes; sorted by the adapter."""

    documents: tuple[DocumentRow, ...]
    chunks: tuple[ChunkRow, ...]
    entities: tuple[EntityRow, ...] = ()
    mentions: tuple[MentionRow, ...] = ()
    document_entities: tuple[DocumentEntityRow, ...] = ()
    relations: tuple[RelationRow, ...] = ()
    links: tuple[LinkRow, ...] = ()

    @property
    def row_count(self) -> int:
        """Nodes and relationships together."""
        return sum(len(getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term ids (sorted, distinct, below 2^32) and their weights."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One chunk in the vector store: float32 unit vector of the version's dimension, BM25 weights, payload."""

    chunk_id: UUID
    document_id: UUID
    generation: int
    ordinal: int
    tenant: str
    source: str
    uri: str
    title: str | None
    heading_path: tuple[str, ...]
    text: str
    text_digest: str
    access: tuple[str, ...]
    dense: Vector
    sparse: SparseVector
