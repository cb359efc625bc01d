"""The comparison of sets, I1 and I2: which chunks the ledger, the graph and the vectors hold of one index version.

Each store is streamed in whatever order is cheap for it and folded into digests of some thousand ranges of chunk ids;
only ranges that differ are read again, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

from concordance.consistency import invariants
from concordance.consistency.buckets import Buckets, Fold, differing
from concordance.consistency.confirm import current_of
from concordance.consistency.invariants import SetComparison, Store
from concordance.consistency.ports import AuditLedger
from concordance.consistency.scope import Scope
from concordance.model import IndexVersion
from concordance.operations.correlation import Threads
from concordance.stores.ports import GraphStore, VectorStore


@dataclass(frozen=True, slots=True)
class Sets:
    """Of one index version, in as many ranges as `scope` says."""

    ledger: AuditLedger
    graph: GraphStore
    vectors: VectorStore
    scope: Scope

    def compared(self, version: IndexVersion) -> tuple[SetComparison, int, dict[str, int]]:
        """What was seen, how many ranges differed only for a moment, and how much was covered."""
        with self.ledger.snapshot() as snapshot:
            buckets = Buckets(snapshot.counts(version)["chunks"])
        seen = SetComparison()
        if self.scope.sampled is not None:
            chosen = sorted(self.scope.rng.sample(range(buckets.count), min(self.scope.sampled, buckets.count)))
            for bucket in chosen:
                self._read_rows(version, buckets, bucket, seen)
            return seen, 0, {"ranges": len(chosen), "of_ranges": buckets.count}
        suspicious = self._fold(version, buckets, seen)
        rows, recovered = dict(seen.rows), dict(seen.recovered)
        moved = sum(not self._read_rows(version, buckets, bucket, seen) for bucket in suspicious)
        # What was read again was counted before.
        seen.rows, seen.recovered = rows, recovered
        return seen, moved, {"ranges": buckets.count, "of_ranges": buckets.count}

    def _fold(self, version: IndexVersion, buckets: Buckets, seen: SetComparison) -> list[int]:
        """The ranges in which the three differ at first sight. All three are read at once."""
        with self.ledger.snapshot() as snapshot, Threads(2, thread_name_prefix="fold") as pool:
            moving = frozenset(snapshot.in_flight(version))
            # What is current belongs to the comparison, also while it waits to be settled.
            left_out = moving - current_of(snapshot, version, moving)
            of_graph = pool.submit(lambda: Fold(buckets).take(self.graph.scan(version), leave_out=left_out))
            of_vectors = pool.submit(lambda: Fold(buckets).take(self.vectors.points(version), leave_out=left_out))
            ledger = Fold(buckets).take(snapshot.committed(version))
            folds = {Store.LEDGER: ledger, Store.GRAPH: of_graph.result(), Store.VECTORS: of_vectors.result()}
        for store, fold in folds.items():
            seen.rows[store] = fold.rows
            seen.recovered[store] = fold.in_flight
        return differing(folds[Store.LEDGER], folds[Store.GRAPH], folds[Store.VECTORS])

    def _read_rows(self, version: IndexVersion, buckets: Buckets, bucket: int, seen: SetComparison) -> bool:
        """Compare the rows of one range one by one; whether any of them is suspect."""
        span, before = buckets.span(bucket), seen.suspected
        with self.ledger.snapshot() as snapshot:
            moving = frozenset(snapshot.in_flight(version))
            rows = {
                Store.LEDGER: list(snapshot.committed(version, span)),
                Store.GRAPH: list(self.graph.chunks(version, span)),
                Store.VECTORS: list(self.vectors.points(version, span)),
            }
            seen.fresh.clear()
            invariants.compare_rows(
                seen,
                version=version,
                ledger=rows[Store.LEDGER],
                graph=rows[Store.GRAPH],
                vectors=rows[Store.VECTORS],
                in_flight=moving,
            )
            # By the same snapshot: what was not yet current in it may have been published since.
            seen.was_current |= current_of(snapshot, version, seen.fresh)
        for store, found in rows.items():
            seen.rows[store] += len(found)
        return seen.suspected > before
