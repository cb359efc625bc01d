"""What the stores hold, as it is read back, searched and compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from concordance import ids
from concordance.model.rows import EntityRow


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
class IndexState:
    """How many points an index version has, and for how many the HNSW has their dense vector: searches read the others
    one by one."""

    points: int
    indexed: int


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
