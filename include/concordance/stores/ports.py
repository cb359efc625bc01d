"""The two ports. `tests/contract` is their specification: every adapter, and `memory.py` first, passes it.

Common promises: every write is idempotent (the same rows again change nothing); a write that returned is durable and
seen by every later read; ids are written once and never change their content, but for the flag `live` of the raw view.
Every call ends within `timeout_seconds`. Errors: `Unavailable` (not applied, or the store is gone), `OutcomeUnknown`
(may have been applied), `BatchTooLarge`, `Misconfigured` (refused password, missing database), `PoisonDocument` (the
store refuses one of the rows for its content). No error holds document text or a secret.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from concordance.model import (
    Anchor,
    ChunkRow,
    DocumentRow,
    GenerationKey,
    GraphBatch,
    IndexState,
    IndexVersion,
    LinkRow,
    Neighbourhood,
    Point,
    ScoredPoint,
    Span,
    SparseVector,
    StoreCounts,
    StoredChunk,
    StoredContent,
    Vector,
    VectorFault,
)


class GraphStore(Protocol):
    """Documents, chunks, entities and their edges, by index version (the README's graph model)."""

    def ping(self) -> str:
        """The server's name and version. Raises `Unavailable` or `Misconfigured` with what to do."""

    def prepare(self) -> None:
        """Constraints and indexes present and online. Idempotent."""

    def write(self, version: IndexVersion, batch: GraphBatch, *, timeout_seconds: float) -> None:
        """One transaction: all of the batch or nothing. A link is written only if its target's node is there."""

    def write_links(self, version: IndexVersion, links: Sequence[LinkRow], *, timeout_seconds: float) -> None:
        """One transaction: the links whose two nodes are there; the others are left out silently."""

    def read_back(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> list[StoredChunk]:
        """The chunks of these generations that hang on their document's node, in no particular order: their places and
        text digests, not what else reconcile compares."""

    def settle(self, version: IndexVersion, documents: Sequence[DocumentRow], *, timeout_seconds: float) -> None:
        """Show `documents` to raw readers, each whole in one transaction: properties on the anchor node, only forward
        (never over a higher generation) and only on a node that is there; `live` on this generation's chunks and off
        all lower ones'. Called with up to a few hundred documents: in as few transactions as the store takes in its
        time, not one a document. After an error some of them are shown."""

    def hide(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        """Take `live` off these and all lower generations' chunks of their documents."""

    def sweep(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> int:
        """Delete what these generations wrote: its chunks and edges, the entities that they leave without any edge, and
        the Document node with its last chunk. Each generation in one transaction under locks, so that a concurrent
        batch that mentions an entity again, or brings the document back, loses nothing. Returns the number of chunks
        deleted; after an error some of the generations are gone."""

    def generations_of(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Mapping[GenerationKey, int]:
        """Every generation of these documents that has a row here, with the number of its chunks and edges, whatever
        the ledger knows of it. A Document node counts as 1 under generation 0: it belongs to none. Empty when nothing
        is left; `sweep` of what this names leaves nothing."""

    def chunks(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        """The chunks of the version (of the span, if one is given), streamed, ordered by chunk id."""

    def scan(self, version: IndexVersion) -> Iterator[StoredChunk]:
        """All chunks of the version, streamed, in whatever order is cheapest."""

    def contents(
        self, version: IndexVersion, generations: Sequence[GenerationKey]
    ) -> Mapping[GenerationKey, StoredContent]:
        """What is here of each of these generations beside its texts (I3); one for each, also where nothing is."""

    def chunk_rows(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> list[ChunkRow]:
        """Whole chunks of these generations, texts included; one that is not readable as a chunk is left out."""

    def anchors(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Mapping[UUID, Anchor]:
        """The Document nodes of these documents that are there."""

    def documents(self, version: IndexVersion) -> Iterator[Anchor]:
        """All Document nodes of the version, streamed."""

    def altered_entities(self, version: IndexVersion) -> Iterator[str]:
        """Node keys of entities that are not what their keys name: tenant, type or name was changed."""

    def mentioning(self, version: IndexVersion, node_keys: Sequence[str]) -> Collection[GenerationKey]:
        """Some of the generations that hang on the entities with these node keys."""

    def loose(self, version: IndexVersion) -> Collection[GenerationKey]:
        """Generations of rows that hang on nothing: chunks without document, edges without a chunk."""

    def drop_unused(self, version: IndexVersion, *, timeout_seconds: float) -> int:
        """Delete a page of entities without any edge and of Document nodes without anything, under locks. Returns how
        many were looked at: 0 when there are none."""

    def rewrite(
        self, version: IndexVersion, batch: GraphBatch, settled: Sequence[DocumentRow], *, timeout_seconds: float
    ) -> None:
        """For repairs: in one transaction all that these generations wrote goes and comes again as the batch has it,
        altered properties included; `settled` of them are shown as `settle` shows them. Other rows stay."""

    def remove(self, version: IndexVersion, chunk_ids: Sequence[UUID], *, timeout_seconds: float) -> None:
        """For repairs: delete the chunks with these ids, whatever their other properties say."""

    def schema_gaps(self) -> Sequence[str]:
        """Constraints and indexes that are missing or not online, in words; empty when all are there (I2)."""

    def describe(self, version: IndexVersion, description: str) -> None:
        """Keep the version's description (what is frozen with it) beside its rows."""

    def description(self, version: IndexVersion) -> str | None:
        """The version's description, None when there is none."""

    def neighbourhoods(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Neighbourhood]:
        """Entities mentioned in each chunk and documents that the chunk's document links to, for these chunk ids.
        Chunks that are not there are absent."""

    def orphans(self, version: IndexVersion) -> Mapping[str, int]:
        """Counts of rows that hang on nothing (I4): chunks without document, entities without any edge, ..."""

    def point_to(self, version: IndexVersion) -> None:
        """Make the pointer node name this version, for raw Cypher readers."""

    def pointer(self) -> int | None:
        """The version that the pointer node names."""

    def kept(self) -> Collection[int]:
        """Versions that have a description, a Document or an Entity here, whatever the ledger knows of them."""

    def drop(self, version: IndexVersion, *, limit: int, timeout_seconds: float) -> int:
        """One small step towards a graph without the version: one transaction deletes about `limit` nodes at most
        (fewer, where the server has no memory for so many), chunks before documents and entities, the description when
        nothing else is left. Returns how many nodes went; 0 when nothing is there any more. To be called until then,
        also after a call that died. Other versions' rows and the pointer stay. Raises `Conflict` while the pointer
        names the version."""

    def counts(self, version: IndexVersion, only: Collection[str] = ()) -> StoreCounts:
        """`documents, chunks, entities, mentions, document_entities, relations, links`, or `only` those named: nodes
        are counted by an index, edges one by one."""

    def counts_of(self, version: IndexVersion, source: str) -> StoreCounts:
        """`documents` of the source and the `chunks` that hang on them, of all generations."""

    def close(self) -> None: ...


class VectorStore(Protocol):
    """One collection an index version, behind one alias."""

    def ping(self) -> str:
        """The server's name and version. Raises `Unavailable` or `Misconfigured` with what to do."""

    def prepare(self, version: IndexVersion) -> None:
        """The version's collection with its vectors (dense: Dot, the model's dimension; bm25: sparse, IDF) and payload
        indexes. Idempotent; a collection of another shape raises `Misconfigured`."""

    def upsert(self, version: IndexVersion, points: Sequence[Point], *, timeout_seconds: float) -> None:
        """Write the points, waiting until they are applied; `live` starts false. Split by count and bytes below the
        limits of one request. A dense vector that is not finite, of unit norm and of the version's dimension raises
        `PoisonDocument` (reason `bad_vector`) before anything of the call is written."""

    def read_back(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> list[StoredChunk]:
        """The points among these ids that are there: their places and text digests, as the graph's `read_back`."""

    def vectors(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Vector]:
        """The dense vectors of the points among these ids that are there, bit-equal to what was written."""

    def settle(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        """`live` on these generations' points and off all lower ones' of their documents. Few requests, not several a
        document."""

    def hide(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        """Take `live` off these and all lower generations' points of their documents."""

    def sweep(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        """Delete these generations' points."""

    def generations_of(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Mapping[GenerationKey, int]:
        """Every generation of these documents that has a point here, with the number of its points, whatever the ledger
        knows of it. Empty when nothing is left."""

    def rewrite(self, version: IndexVersion, points: Sequence[Point], *, timeout_seconds: float) -> None:
        """For repairs: write these points over what stands under their ids; `live` starts false. Checked like an
        upsert."""

    def remove(self, version: IndexVersion, chunk_ids: Sequence[UUID], *, timeout_seconds: float) -> None:
        """For repairs: delete the points with these ids, whatever their payload says."""

    def places(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Anchor]:
        """Tenant, source and uri that these points name, by the document id that they name."""

    def schema_gaps(self, version: IndexVersion) -> Sequence[str]:
        """What of the version's collection is missing or of another shape, in words; empty when all is there (I2)."""

    def checked_vectors(self, version: IndexVersion, span: Span | None = None) -> Iterator[VectorFault | None]:
        """One for each point (of the span): None when its vectors are finite, of unit norm and the ones that were
        written, by the digest that was written beside them; else what is wrong. Reads every number: slow."""

    def points(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        """The points of the version (of the span, if one is given), streamed, ordered by chunk id."""

    def search(
        self,
        version: IndexVersion,
        query: Vector | SparseVector,
        *,
        tenant: str,
        access: Sequence[str],
        limit: int,
        timeout_seconds: float,
        exact: bool = False,
    ) -> list[ScoredPoint]:
        """The best `limit` points of the tenant that carry one of the access labels, best first. A dense query scores
        by dot product, a sparse one by BM25 (the store adds the IDF). Points of all generations are found: which of
        them are current is for the reader to say, from the ledger."""

    def point_to(self, version: IndexVersion) -> None:
        """Make the alias name this version's collection, in one step."""

    def pointer(self) -> int | None:
        """The version that the alias names."""

    def kept(self) -> Collection[int]:
        """Versions that have a collection here, whatever the ledger knows of them."""

    def drop(self, version: IndexVersion, *, timeout_seconds: float) -> None:
        """Delete the version's collection with all that is in it; one that is not there is done. Raises `Conflict`
        while the alias names the version."""

    def index_state(self, version: IndexVersion) -> IndexState:
        """What is in the HNSW of the version. `indexed` is the server's own count, without the sparse vectors; deleted
        points stay in it until the server clears them out."""

    def defer_indexing(self, version: IndexVersion) -> None:
        """Index no vector until `build_hnsw`: while a version is built nobody searches it. Idempotent."""

    def build_hnsw(self, version: IndexVersion, *, timeout_seconds: float) -> None:
        """Have every dense vector in the HNSW, and wait for it: from then on a dense search goes by the HNSW, unless it
        is `exact`. What stays out is what the server never indexes: less than 1 kB of vectors in one of its segments.
        Done at once where it is so already. Raises `Unavailable` with the counts when the time is over; the server goes
        on meanwhile, and the next call waits for the rest."""

    def counts(self, version: IndexVersion) -> StoreCounts:
        """`points`."""

    def counts_of(self, version: IndexVersion, source: str) -> StoreCounts:
        """`points` of the source, of all generations."""

    def close(self) -> None: ...
