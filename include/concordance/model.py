"""The vocabulary: the values that walk through the rooms. No I/O, imported by all.

A document is read (`RawDocument`), parsed (`ParsedDocument`), cut into `Chunk`s with `Mention`s of `Entity`s, embedded
and written as the rows of one generation (`GraphBatch`, `Point`). Closed sets are enums: labels and relation types in
the stores come from here and from nowhere else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from concordance import ids

Vector = npt.NDArray[np.float32]


# --- what a source gives ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a source's listing. `stamp` changes whenever the content may have: an etag, or size and mtime."""

    uri: str
    stamp: str
    size_bytes: int


class EntityType(StrEnum):
    PACKAGE = "package"
    PERSON = "person"
    LICENCE = "licence"
    KEYWORD = "keyword"
    TERM = "term"


class EntityRole(StrEnum):
    """What an entity from a document's metadata is to that document."""

    SUBJECT = "subject"
    AUTHOR = "author"
    LICENCE = "licence"
    KEYWORD = "keyword"


class RelationKind(StrEnum):
    """Typed edges between two entities."""

    REQUIRES = "requires"
    WRITTEN_BY = "written_by"
    LICENSED_UNDER = "licensed_under"


class LinkKind(StrEnum):
    """Typed edges between two documents."""

    REQUIRES = "requires"
    REFERENCES = "references"


@dataclass(frozen=True, slots=True, order=True)
class Entity:
    """A named thing; its identity is (tenant, type, normalised name), its `name` one spelling of it."""

    type: EntityType
    name: str

    def key(self, tenant: str) -> str:
        return ids.entity_key(tenant=tenant, type=self.type, name=self.name)


@dataclass(frozen=True, slots=True, order=True)
class DocumentEntity:
    """An entity from a document's metadata."""

    role: EntityRole
    entity: Entity


@dataclass(frozen=True, slots=True, order=True)
class Relation:
    """A typed edge between two entities, stated by one document."""

    kind: RelationKind
    subject: Entity
    object: Entity


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """A typed edge from a document to another of the same source, named by its uri (which need not be there yet)."""

    kind: LinkKind
    target_uri: str


@dataclass(frozen=True, slots=True)
class RawDocument:
    """What a source read: the bytes and the metadata that is indexed with them.

    `stamp` is the one that a listing would give for exactly this content, None where the source cannot tell: between a
    listing and the reading a document may change, and change back later.
    """

    uri: str
    content: bytes
    media_type: str | None = None
    title: str | None = None
    entities: tuple[DocumentEntity, ...] = ()
    relations: tuple[Relation, ...] = ()
    links: tuple[Link, ...] = ()
    stamp: str | None = None


# --- what parsing and chunking make of it -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """Markdown with its headings; `title` from the content or the metadata, None when there is none.

    `targets` are the link targets found in the text, as written there.
    """

    markdown: str
    title: str | None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity and how often it occurs in one chunk."""

    entity: Entity
    count: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit that is embedded. `text` is the exact string that the model sees: header, blank line, body.

    The header may be empty; the text then starts with the blank line, so that `text.partition("\\n\\n")` always
    gives header and body.
    """

    ordinal: int
    text: str
    heading_path: tuple[str, ...]
    token_count: int
    mentions: tuple[Mention, ...] = ()

    @property
    def text_digest(self) -> str:
        return ids.text_digest(self.text)


class Reason(StrEnum):
    """Why a document is in quarantine: a closed list, each with its section in the runbook."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    UNKNOWN_FORMAT = "unknown_format"
    PARSER_FAILED = "parser_failed"
    PARSER_KILLED = "parser_killed"
    PARSER_TIMEOUT = "parser_timeout"
    NO_TEXT = "no_text"
    BAD_ENCODING = "bad_encoding"
    TOO_MANY_CHUNKS = "too_many_chunks"
    BAD_CHUNK = "bad_chunk"
    BAD_VECTOR = "bad_vector"
    STORE_REFUSED = "store_refused"
    GATE_DOCUMENTS = "gate_documents"
    GATE_CHUNKS = "gate_chunks"


# --- what is frozen with an index version -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelFingerprint:
    """Everything that decides the vectors of a text: the files' digests, revision, dimension, precision, backend."""

    name: str
    revision: str
    files_digest: str
    dimension: int
    window_tokens: int
    precision: str
    backend: str

    @property
    def digest(self) -> str:
        return ids.digest(asdict(self))


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What belongs to an index version and is frozen with it: an ingest uses these, only a re-index adopts new ones."""

    chunk_min_tokens: int
    chunk_max_tokens: int
    header_max_tokens: int
    chunker_revision: int
    parser_revision: int
    entities_revision: int
    bm25_k1: float
    bm25_b: float
    bm25_average_tokens: float
    gazetteer_digest: str
    model: ModelFingerprint
    boilerplate_digest: str = ""

    @property
    def digest(self) -> str:
        return ids.digest(asdict(self))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> IndexSettings:
        return cls(**{**stored, "model": ModelFingerprint(**stored["model"])})


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """One complete graph + vector index; `collection` is its Qdrant collection."""

    version: int
    state: str
    settings: IndexSettings
    epoch: int = 0

    @property
    def collection(self) -> str:
        return f"concordance_v{self.version:06d}"


# --- what the stores hold -----------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True, order=True)
class GenerationKey:
    """Names one generation inside an index version."""

    document_id: UUID
    generation: int


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """What a store holds of one chunk, as read back.

    `text_digest` is computed from the text that was read (`ids.read_digest`): a store's own word is not taken for it.
    The last two say what the row holds besides, where the reading store knows it: `document_digest` of tenant, source,
    uri, title and access labels (ledger and vectors), `view_digest` of tenant, heading path and `live` (both stores).
    """

    chunk_id: UUID
    document_id: UUID
    generation: int
    ordinal: int
    text_digest: str
    document_digest: bytes | None = field(default=None, compare=False)
    view_digest: bytes | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The chunk ids from `first` to `last`, both included."""

    first: UUID
    last: UUID


@dataclass(frozen=True, slots=True)
class Content:
    """What a document says, without ids and generation: its digest is equal in ledger, graph and a clean rebuild (I3).

    `mentions` are counts by entity key, `entities` (role, key), `relations` (kind, subject key, object key), `links`
    (kind, target's document id): all of them, whether the target is there or not.
    """

    text_digests: tuple[str, ...]
    mentions: dict[str, int]
    entities: frozenset[tuple[str, str]]
    relations: frozenset[tuple[str, str, str]]
    links: frozenset[tuple[str, UUID]]
    title: str | None
    access: tuple[str, ...]
    fingerprint: str

    @property
    def digest(self) -> str:
        return ids.digest(
            [
                list(self.text_digests),
                sorted(self.mentions.items()),
                sorted(self.entities),
                sorted(self.relations),
                sorted([kind, str(target)] for kind, target in self.links),
                self.title,
                sorted(self.access),
                self.fingerprint,
            ]
        )


@dataclass(frozen=True, slots=True)
class Anchor:
    """A Document node as it stands in the graph; what follows at settle is None before it."""

    document_id: UUID
    tenant: str
    source: str
    uri: str
    generation: int | None = None
    title: str | None = None
    fingerprint: str | None = None
    access: tuple[str, ...] | None = None
    stamp: str | None = None
    content_digest: str | None = None
    links: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What the graph holds of one generation beside its chunks' texts. `chunks`, `live` and `next_edges` are counts."""

    anchor: Anchor | None
    chunks: int
    live: int
    next_edges: int
    mentions: dict[str, int]
    entities: frozenset[tuple[str, str]]
    relations: frozenset[tuple[str, str, str]]
    links: frozenset[tuple[str, UUID]]


@dataclass(frozen=True, slots=True)
class VectorFault:
    """A point whose vectors are not what was written: `what` says how, without a number of them."""

    chunk_id: UUID
    what: str


@dataclass(frozen=True, slots=True)
class ScoredPoint:
    """One hit of a vector search: the payload is what the load wrote."""

    score: float
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
    access: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What the graph knows around one chunk."""

    entities: tuple[EntityRow, ...] = ()
    linked_documents: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """Rows by kind in one index version of one store; a kind that the store does not have is absent."""

    rows: dict[str, int] = field(default_factory=dict)


# --- the run ------------------------------------------------------------------------------------------------------


class Action(StrEnum):
    """What a plan does to one document."""

    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"


class Outcome(StrEnum):
    """How one document of a plan ended; each has exactly one."""

    COMMITTED = "committed"
    DELETED = "deleted"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One document that a plan touches. `base` is the generation that was current when it was planned."""

    document_id: UUID
    uri: str
    action: Action
    base: int | None
    stamp: str
    size_bytes: int
    shard: int | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one document left a run: where, the reason's code, and a detail without any of its text."""

    document_id: UUID
    stage: str
    reason: Reason
    detail: str
    stamp: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one generation will write, fixed before anything is written: digests in order, links, content digest."""

    document_id: UUID
    uri: str
    base: int | None
    title: str | None
    fingerprint: str
    stamp: str
    access: tuple[str, ...]
    content_digest: str
    text_digests: tuple[str, ...]
    links: tuple[tuple[UUID, str], ...]

    def as_json(self) -> list[Any]:
        return [
            str(self.document_id),
            self.uri,
            self.base,
            self.title,
            self.fingerprint,
            self.stamp,
            list(self.access),
            self.content_digest,
            list(self.text_digests),
            [[str(target), kind] for target, kind in self.links],
        ]
