"""The comparison of contents, I3: what documents and entities say in the graph, and the numbers of the vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from concordance.consistency import contents, invariants
from concordance.consistency.buckets import Buckets
from concordance.consistency.confirm import current_of
from concordance.consistency.contents import Damage
from concordance.consistency.invariants import Finding, Kind, Store
from concordance.consistency.ports import AuditLedger
from concordance.consistency.scope import Scope
from concordance.ledger.reading import Promise
from concordance.model import IndexVersion, VectorFault
from concordance.stores.ports import GraphStore, VectorStore

_MAX_VECTOR_FAULTS = 100_000


@dataclass(frozen=True, slots=True)
class Contents:
    """Of one index version, of as many documents and vectors as `scope` says."""

    ledger: AuditLedger
    graph: GraphStore
    vectors: VectorStore
    scope: Scope

    def documents(self, version: IndexVersion) -> tuple[list[Damage], int]:
        damages: list[Damage] = []
        read = 0
        for page in self._pages(version):
            read += len(page)
            if len(damages) < contents.MAX_TRACKED:
                damages += contents.damaged_documents(version, page, self.graph)
        return contents.confirmed(damages, self.ledger, version, self.graph), read

    def _pages(self, version: IndexVersion) -> Iterable[Sequence[Promise]]:
        if self.scope.sampled is None:
            return contents.every_page(self.ledger, version)
        return [self._some_documents(version, self.scope.sampled)]

    def _some_documents(self, version: IndexVersion, wanted: int) -> list[Promise]:
        found = {}
        with self.ledger.snapshot() as snapshot:
            for _ in range(wanted):
                after = UUID(int=self.scope.rng.getrandbits(128))
                # Behind the last document comes the first one: a draw never finds nothing where there is something.
                drawn = snapshot.promises(version, after=after, limit=1)
                for promise in drawn or snapshot.promises(version, after=UUID(int=0), limit=1):
                    found[promise.key] = promise
        return list(found.values())

    def entities(self, version: IndexVersion) -> list[Finding]:
        altered = list(self.graph.altered_entities(version))
        if not altered:
            return []
        what = "entities that are not the ones that their keys name"
        return [Finding("I3", Kind.ALTERED, Store.GRAPH, len(altered), what, tuple(altered[: invariants.MAX_EXAMPLES]))]

    # --- the vectors' numbers ---------------------------------------------------------------------------------------

    def vector_faults(self, version: IndexVersion, covered: dict[str, int]) -> tuple[list[VectorFault], int]:
        """All of them if asked for; else those of one range, chosen anew each time."""
        buckets = Buckets(covered["of_ranges"] * 256)
        span = None
        if not self.scope.read_vectors:
            span = buckets.span(self.scope.rng.randrange(buckets.count))
        faults: list[VectorFault] = []
        read = 0
        for fault in self.vectors.checked_vectors(version, span):
            read += 1
            if fault is not None and len(faults) < _MAX_VECTOR_FAULTS:
                faults.append(fault)
        return self._of_current(version, faults), read

    def _of_current(self, version: IndexVersion, faults: list[VectorFault]) -> list[VectorFault]:
        """Points of generations that are not current are nobody's: I1 judges them."""
        if not faults:
            return []
        rows = {row.chunk_id: row for row in self.vectors.read_back(version, [fault.chunk_id for fault in faults])}
        with self.ledger.snapshot() as snapshot:
            current = current_of(snapshot, version, {invariants.generation_of(row) for row in rows.values()})
        return [
            fault
            for fault in faults
            if fault.chunk_id in rows and invariants.generation_of(rows[fault.chunk_id]) in current
        ]


def vector_findings(faults: Sequence[VectorFault]) -> list[Finding]:
    grouped: dict[str, list[VectorFault]] = {}
    for fault in faults:
        grouped.setdefault(fault.what, []).append(fault)
    return [
        Finding(
            "I3",
            Kind.ALTERED,
            Store.VECTORS,
            len(found),
            f"points with {what}",
            tuple(f"chunk {fault.chunk_id}" for fault in found[: invariants.MAX_EXAMPLES]),
        )
        for what, found in sorted(grouped.items())
    ]
