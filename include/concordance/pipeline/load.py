"""Load: one shard, batch by batch, into the graph and the vectors, by the commit protocol.

A batch: begin in the ledger (lease, token, generations) - graph - vectors - read both back - verified in the ledger.
Rows are written once and carry their generation in their ids; nothing of it is visible before publish. A process that
dies anywhere in here leaves rubbish that nobody sees, and the next attempt writes the same rows again.

With two lanes (`load_lanes`) a batch goes through these steps in the same order under its own lease and token, only
the next one begins and is written into the graph meanwhile, as another task's might. When a batch fails, the one that
was begun behind it gives its lease back as well.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import UUID, uuid4

import tenacity

from concordance import fault_points, ids
from concordance.errors import ConcordanceError, Leased, PoisonDocument, Unavailable
from concordance.ledger.batches import Begun
from concordance.model import GenerationKey, GraphBatch, IndexVersion, Reason, Rejection, StoredChunk, Vector
from concordance.operations import telemetry
from concordance.pipeline import index, tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.batching import batches, prepared
from concordance.pipeline.counted import count_work
from concordance.pipeline.forecast import timed
from concordance.pipeline.isolation import Refusal, write_isolating
from concordance.pipeline.lanes import in_lanes
from concordance.pipeline.lease import run_lease
from concordance.pipeline.plan import rejected_under
from concordance.pipeline.read_back import compare_stores, expected_of
from concordance.pipeline.references import PlanReference, ShardReference
from concordance.pipeline.rejected import tell_rejected
from concordance.pipeline.rows import NamedDocument, PreparedDocument, graph_rows, merge, name
from concordance.pipeline.version import version_of
from concordance.resilience import Store
from concordance.settings import Settings

# A request may begin as the time of its call ends, and the vector store's client counts in whole seconds.
_LAST_SECONDS = 1.0


@timed
def load(plan: PlanReference, shard: ShardReference, *, adapters: Adapters, settings: Settings) -> ShardReference:
    """Load every batch of the shard; one that an earlier attempt finished is only read back.

    Returns the shard with its evidence: per document what both stores gave back. Raises `Conflict` when a newer plan
    or another attempt was first, `Misconfigured` for vectors of another model than the version's, `Unavailable`,
    `OutcomeUnknown` or `Leased` when another attempt may succeed.
    """
    version = version_of(plan, adapters=adapters, settings=settings)
    tenant = adapters.declarations[plan.source].tenant
    rejected = set(adapters.ledger.plans.rejected(plan.plan_id))
    lease = run_lease(plan.run_id, plan.source, adapters=adapters, settings=settings)
    loading = _Loading(plan, version, adapters, settings, holder=uuid4().hex, chunks=shard.chunks.path)
    evidence: list[dict[str, Any]] = []
    written: Counter[str] = Counter()
    assert shard.vectors is not None
    content = adapters.staging.read(shard.vectors)
    index.require_vectors_of(version, tables.made_by(content)[0])
    vectors = tables.vectors_by_digest(content)
    documents = prepared(shard, rejected, adapters, tenant=tenant, source=plan.source)

    def begin(batch: tuple[int, Sequence[PreparedDocument]]) -> _InGraph:
        ordinal, documents = batch
        lease.renew_when_due()
        batch_id = ids.batch_id(plan_id=plan.plan_id, shard=shard.shard, ordinal=ordinal)
        return _await_lease(loading.into_graph, settings)(batch_id, documents, vectors)

    # A batch may wait for another attempt's lease and then take its own time: together longer than a source's lease.
    with lease.kept():
        loads = in_lanes(
            enumerate(batches(documents, settings.batch_chunks)),
            begin,
            loading.to_the_end,
            lanes=settings.load_lanes,
            abandon=loading.abandon,
        )
    for loaded in loads:
        evidence += loaded.evidence
        written.update(loaded.written)
    content = tables.to_parquet(sorted(evidence, key=lambda row: str(row["document_id"])), tables.EVIDENCE)
    artefact = adapters.staging.put(
        "evidence",
        [str(plan.plan_id), shard.shard, ids.bytes_digest(content)],
        content,
        rows=len(evidence),
        suffix=".parquet",
    )
    done = replace(shard, evidence=artefact, counts={**shard.counts, "loaded": len(evidence), **written})
    count_work(plan, [done], adapters=adapters)
    return done


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What became of a batch: its evidence, and how many rows of each kind the documents in it have."""

    evidence: list[dict[str, Any]]
    written: Counter[str]

    @classmethod
    def of(cls, evidence: list[dict[str, Any]], graphs: Mapping[UUID, GraphBatch]) -> Self:
        """`graphs`: the rows of each document, by its id. What is not in the evidence was erased meanwhile."""
        written: Counter[str] = Counter()
        for row in evidence:
            graph = graphs[UUID(row["document_id"])]
            written.update(
                written=len(graph.chunks),
                entities=len(graph.entities),
                relations=len(graph.relations),
                mentions=len(graph.mentions),
                links=len(graph.links),
            )
        return cls(evidence, written)


@dataclass(frozen=True, slots=True)
class _InGraph:
    """A batch in the graph, or, where `begun` says so, verified by an earlier attempt. No request goes on after `until`
    (monotonic seconds)."""

    batch_id: UUID
    begun: Begun
    documents: Sequence[PreparedDocument]
    named: list[NamedDocument]
    until: float


@dataclass(frozen=True, slots=True)
class _Loading:
    """What all batches of one attempt share. `holder` names the attempt to the ledger's leases, `chunks` the artefact
    that is loaded."""

    plan: PlanReference
    version: IndexVersion
    adapters: Adapters
    settings: Settings
    holder: str
    chunks: str

    def into_graph(self, batch_id: UUID, documents: Sequence[PreparedDocument], vectors: dict[str, Vector]) -> _InGraph:
        """The first half of a batch: its lease, its generations, and its rows in the graph."""
        until = time.monotonic() + self.settings.lease_seconds
        manifests = [document.manifest() for document in documents]
        with fault_points.around("batch.begin"):
            begun = self.adapters.ledger.batches.begin(
                batch_id, plan_id=self.plan.plan_id, manifests=manifests, holder=self.holder
            )
        if begun.is_verified:
            return _InGraph(batch_id, begun, documents, [], until)
        with self._releasing(batch_id, begun):
            named = [
                self._name(document, begun, vectors)
                for document in documents
                if document.document_id in begun.generations
            ]
            return _InGraph(batch_id, begun, documents, self._write_graph(batch_id, begun, named, until), until)

    def to_the_end(self, batch: _InGraph) -> _Loaded:
        """The second half: its points, both stores read back, verified."""
        batch_id, begun = batch.batch_id, batch.begun
        if begun.is_verified:
            return self._loaded_before(batch.documents)
        with self._releasing(batch_id, begun):
            named = self._write_vectors(batch_id, begun, batch.named, batch.until)
            evidence = self._read_back(named)
            with fault_points.around("batch.verified"):
                self.adapters.ledger.batches.verified(batch_id, begun.token)
        return _Loaded.of(evidence, {document.row.document_id: document.graph for document in named})

    def abandon(self, batch: _InGraph, error: BaseException) -> None:
        """The batch before it failed with `error`: the next attempt need not wait for this one's lease either."""
        if isinstance(error, ConcordanceError) and not batch.begun.is_verified:
            self._release(batch.batch_id, batch.begun)

    @contextmanager
    def _releasing(self, batch_id: UUID, begun: Begun) -> Iterator[None]:
        try:
            yield
        except ConcordanceError:
            self._release(batch_id, begun)
            raise

    def _release(self, batch_id: UUID, begun: Begun) -> None:
        with fault_points.around("batch.release"):
            self.adapters.ledger.batches.release(batch_id, begun.token)

    def _name(self, document: PreparedDocument, begun: Begun, vectors: dict[str, Vector]) -> NamedDocument:
        return name(
            document,
            begun.generations[document.document_id],
            vectors,
            index_version=self.version.version,
            settings=self.version.settings,
        )

    def _write_graph(
        self, batch_id: UUID, begun: Begun, documents: Sequence[NamedDocument], until: float
    ) -> list[NamedDocument]:
        def write(some: Sequence[NamedDocument]) -> None:
            batch = merge(some)
            with _writing(Store.GRAPH, batch.row_count), fault_points.around("graph.write"):
                self.adapters.graph.write(self.version, batch, timeout_seconds=self._left(until))

        written = self._isolating(batch_id, begun, documents, write)
        # Only now, with the batch's own nodes in place: a link that another batch could not write because its target
        # was not there yet is in this list, and one that is not in it found the target.
        waiting = self.adapters.ledger.batches.links_to(
            self.plan.plan_id, [document.row.document_id for document in written]
        )
        if waiting:
            with _writing(Store.GRAPH, len(waiting)), fault_points.around("graph.links"):
                self.adapters.graph.write_links(self.version, waiting, timeout_seconds=self._left(until))
        return written

    def _write_vectors(
        self, batch_id: UUID, begun: Begun, documents: Sequence[NamedDocument], until: float
    ) -> list[NamedDocument]:
        def write(some: Sequence[NamedDocument]) -> None:
            points = [point for document in some for point in document.points]
            with _writing(Store.VECTORS, len(points)), fault_points.around("vectors.upsert"):
                self.adapters.vectors.upsert(self.version, points, timeout_seconds=self._left(until))

        return self._isolating(batch_id, begun, documents, write)

    def _isolating(
        self,
        batch_id: UUID,
        begun: Begun,
        documents: Sequence[NamedDocument],
        write: Callable[[Sequence[NamedDocument]], None],
    ) -> list[NamedDocument]:
        """Write what the store takes and return it; what it refuses goes to quarantine, and the others go on."""
        return write_isolating(documents, write, lambda document, error: self._reject(batch_id, begun, document, error))

    def _reject(self, batch_id: UUID, begun: Begun, document: NamedDocument, error: Refusal) -> None:
        reason = Reason(error.reason) if isinstance(error, PoisonDocument) else Reason.STORE_REFUSED
        rejection = Rejection(document.row.document_id, "load", reason, str(error), document.stamp, self.chunks)
        declaration = self.adapters.declarations[self.plan.source]
        with fault_points.around("batch.reject"):
            self.adapters.ledger.batches.reject(
                batch_id,
                begun.token,
                rejection,
                rejected_under=rejected_under(self.version, self.settings, declaration),
            )
        tell_rejected([rejection], source=self.plan.source)

    def _read_back(self, documents: Sequence[NamedDocument]) -> list[dict[str, Any]]:
        """Read both stores against the manifest. Raises `Unavailable` when a row that was just written is not there."""
        expected = {
            GenerationKey(document.row.document_id, document.row.generation): [
                StoredChunk(point.chunk_id, point.document_id, point.generation, point.ordinal, point.text_digest)
                for point in document.points
            ]
            for document in documents
        }
        evidence = compare_stores(self.version, expected, adapters=self.adapters, lanes=self.settings.load_lanes)
        missing = [row for row in evidence if not row["digests_agree"]]
        # What was erased while it was written is cleared away at once: it drops out, the others go on.
        erased = self.adapters.ledger.erased([UUID(row["document_id"]) for row in missing]) if missing else set()
        missing = [row for row in missing if UUID(row["document_id"]) not in erased]
        if missing:
            raise Unavailable(
                f"{len(missing)} documents of a batch read back differently from what was written, first "
                f"{missing[0]['document_id']}: the batch is tried again"
            )
        return [row for row in evidence if UUID(row["document_id"]) not in erased]

    def _loaded_before(self, documents: Sequence[PreparedDocument]) -> _Loaded:
        """A batch that an earlier attempt verified: the ledger's rows against both stores."""
        wanted = {document.document_id: document for document in documents}
        with self.adapters.ledger.snapshot() as snapshot:
            loaded = snapshot.loaded_of(self.plan.plan_id, wanted)
            expected = expected_of(snapshot, self.version, loaded)
        evidence = compare_stores(self.version, expected, adapters=self.adapters, lanes=self.settings.load_lanes)
        version = self.version.version
        graphs = {
            key.document_id: graph_rows(wanted[key.document_id], key.generation, index_version=version)[1]
            for key in loaded
        }
        return _Loaded.of(evidence, graphs)

    def _left(self, until: float) -> float:
        """Seconds that a call may take with all its attempts: none outlasts the lease."""
        left = until - time.monotonic() - _LAST_SECONDS
        if left <= 0:
            raise Unavailable(
                "The lease of a batch ran out while it was written: the batch is tried again. If this happens often, "
                "raise AIRFLOW__CONCORDANCE__LEASE_SECONDS or lower AIRFLOW__CONCORDANCE__BATCH_CHUNKS"
            )
        return min(left, self.settings.call_timeout_seconds)


@contextmanager
def _writing(store: Store, rows: int) -> Iterator[None]:
    """Report one write: how long it took, and what the store has taken."""
    with telemetry.timer("store.write", store=store):
        yield
    telemetry.count("store.batches", store=store)
    telemetry.count("store.rows", rows, store=store)


def _await_lease(work: Callable[..., _InGraph], settings: Settings) -> Callable[..., _InGraph]:
    """Wait for another attempt's lease, for at most two leases: the one of a worker that died ends by itself."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Leased),
        wait=lambda state: max(
            0.1, getattr(state.outcome.exception() if state.outcome else None, "retry_after_seconds", 1)
        ),
        stop=tenacity.stop_after_delay(2 * settings.lease_seconds),
        reraise=True,
    ).wraps(work)
