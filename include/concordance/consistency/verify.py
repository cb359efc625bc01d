"""`verify`: I1 to I4 and I8 over every index version that is kept, also while runs are going on.

Each store is streamed in whatever order is cheap for it and folded into digests of some thousand ranges of chunk ids;
only ranges that differ are read again, row by row. The stores are read for minutes while loads, publishes and sweeps go
on, so what differs at first sight is only a suspect: it is a finding if it still holds against a newer snapshot. That
is exact, because generation numbers are never used twice, what a generation wrote is immutable, and what is neither
current nor on the dirty list stays so:

- lost, altered: the generation is still current, so it was current when the row was missed;
- unexpected: the generation is neither current nor dirty by now, and one of its rows is still there; or it was current
  in the first snapshot already, which then lacks the row.

A range that agreed holds exactly the chunks that were current in its snapshot, each as it was written: later loads only
add generations that this snapshot does not name, and their rows make the range differ instead of hiding anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from concordance.consistency import contents, invariants
from concordance.consistency.buckets import Buckets, Fold, differing
from concordance.consistency.confirm import confirmed, current_of
from concordance.consistency.contents import Damage
from concordance.consistency.invariants import Finding, Kind, SetComparison, Store, Suspects
from concordance.consistency.ports import AuditLedger
from concordance.errors import Misconfigured
from concordance.ledger.reading import Promise
from concordance.model import GenerationKey, IndexVersion, VectorFault
from concordance.operations import telemetry
from concordance.operations.correlation import Threads
from concordance.staging import Staging
from concordance.stores.ports import GraphStore, VectorStore

STALE_AFTER_SECONDS = 86_400.0
_MAX_VECTOR_FAULTS = 100_000


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is read. `sampled`: so many ranges of chunk ids and documents, chosen by `rng`, instead of all;
    `read_vectors`: every number of every vector, in all ranges that are read."""

    sampled: int | None = None
    read_vectors: bool = False
    stale_after_seconds: float = STALE_AFTER_SECONDS
    rng: random.Random = field(default_factory=random.SystemRandom)


@dataclass(frozen=True, slots=True)
class VersionReport:
    """One index version. `damages`, `suspects` and `vector_faults` say to a repair what the findings count."""

    version: IndexVersion
    findings: tuple[Finding, ...]
    rows: dict[str, int]
    recovered: dict[str, int]
    moved: int
    counts: dict[str, dict[str, int]]
    covered: dict[str, int]
    suspects: Suspects = field(default_factory=dict)
    duplicated: frozenset[GenerationKey] = frozenset()
    damages: tuple[Damage, ...] = ()
    vector_faults: tuple[VectorFault, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "index_version": self.version.version,
            "state": self.version.state,
            "findings": [finding.as_json() for finding in self.findings],
            "rows": self.rows,
            "recovered": self.recovered,
            "moved": self.moved,
            "counts": self.counts,
            "covered": self.covered,
        }


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was compared and what was found, in all versions; `rows` to `covered` are of the live one, for people.

    `rows` counts chunks read by store; `recovered` those among them that a load or sweep in flight has written or not
    yet deleted; `moved` suspects and ranges that a run explains; `counts` the rows of every kind; `covered` how many
    ranges and documents were read, of how many.
    """

    index_version: int
    findings: tuple[Finding, ...]
    rows: dict[str, int]
    recovered: dict[str, int]
    moved: int
    counts: dict[str, dict[str, int]]
    covered: dict[str, int]
    versions: tuple[VersionReport, ...]
    is_sampled: bool = False
    vectors_read: bool = False

    @property
    def is_sound(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        return {
            "sound": self.is_sound,
            "sampled": self.is_sampled,
            "vectors_read": self.vectors_read,
            "index_version": self.index_version,
            "findings": [finding.as_json() for finding in self.findings],
            "rows": self.rows,
            "recovered": self.recovered,
            "moved": self.moved,
            "counts": self.counts,
            "covered": self.covered,
            "versions": [version.as_json() for version in self.versions],
        }


def verify(
    *,
    ledger: AuditLedger,
    graph: GraphStore,
    vectors: VectorStore,
    scope: Scope | None = None,
    staging: Staging | None = None,
) -> VerifyReport:
    """Compare the ledger, the graph and the vectors, and the staging area if one is given. Reads only.

    Raises `Misconfigured` when nothing was published yet, `Unavailable` when a store does not answer: a report is
    about everything that it says, or is not given.
    """
    chosen = scope or Scope()
    with telemetry.timer("verify.duration"):
        report = _Verifying(ledger, graph, vectors, chosen, staging).report()
    telemetry.count("verify.sound" if report.is_sound else "verify.unsound")
    for finding in report.findings:
        telemetry.count("verify.findings", finding.count, kind=finding.kind, store=finding.store)
    return report


def verify_version(
    version: IndexVersion,
    *,
    ledger: AuditLedger,
    graph: GraphStore,
    vectors: VectorStore,
    scope: Scope | None = None,
) -> VersionReport:
    """The same for the sets, texts and contents of one index version, live or not."""
    return _Verifying(ledger, graph, vectors, scope or Scope(), None).version(version)


@dataclass(frozen=True, slots=True)
class _Verifying:
    ledger: AuditLedger
    graph: GraphStore
    vectors: VectorStore
    scope: Scope
    staging: Staging | None

    def report(self) -> VerifyReport:
        with self.ledger.snapshot() as snapshot:
            live, kept = snapshot.live(), snapshot.kept()
            forbidden = snapshot.forbidden_history()
        versions = tuple(self.version(version) for version in kept)
        shown = next(each for each in versions if each.version.version == live.version)
        findings = [
            *(finding for each in versions for finding in each.findings),
            *invariants.history(forbidden),
            *invariants.gaps(Store.GRAPH, self.graph.schema_gaps()),
            *self._pointers(live),
            *self._artefacts(),
        ]
        return VerifyReport(
            index_version=live.version,
            findings=tuple(findings),
            rows=shown.rows,
            recovered=shown.recovered,
            moved=shown.moved,
            counts=shown.counts,
            covered=shown.covered,
            versions=versions,
            is_sampled=self.scope.sampled is not None,
            vectors_read=self.scope.read_vectors,
        )

    def version(self, version: IndexVersion) -> VersionReport:
        gaps = self.vectors.schema_gaps(version)
        if any("missing" in gap and "collection" in gap for gap in gaps):
            return self._without_collection(version, gaps)
        seen, moved, covered = self._sets(version)
        with self.ledger.snapshot() as snapshot:
            overdue = snapshot.overdue(version, seconds=self.scope.stale_after_seconds)
            miscounted = snapshot.miscounted(version)
            counts = {Store.LEDGER.value: dict(snapshot.counts(version))}
        holding = confirmed(seen, version, ledger=self.ledger, graph=self.graph, vectors=self.vectors)
        damages, covered["documents"] = self._documents(version)
        faults, covered["vectors"] = self._vector_faults(version, covered)
        findings = [
            *invariants.gaps(Store.VECTORS, gaps),
            *invariants.set_findings(holding, seen.untracked),
            *invariants.miscounted(miscounted),
            *invariants.stale(overdue),
            *invariants.duplicates(seen),
            *contents.findings(damages),
            *_vector_findings(faults),
            *self._description(version),
        ]
        if self.scope.sampled is None:
            counts[Store.GRAPH.value] = dict(self.graph.counts(version).rows)
            counts[Store.VECTORS.value] = dict(self.vectors.counts(version).rows)
            findings += invariants.orphans(self.graph.orphans(version))
            findings += self._entities(version)
        return VersionReport(
            version=version,
            findings=tuple(findings),
            rows={store.value: count for store, count in seen.rows.items()},
            recovered={store.value: seen.recovered[store] for store in (Store.GRAPH, Store.VECTORS)},
            moved=moved + sum(tally.rows for name, tally in seen.suspects.items() if name not in holding),
            counts=counts,
            covered=covered,
            suspects=holding,
            duplicated=frozenset(
                invariants.generation_of(row) for tally in seen.duplicates.values() for row in tally.examples
            ),
            damages=tuple(damages),
            vector_faults=tuple(faults),
        )

    # --- I1 and I2 --------------------------------------------------------------------------------------------------

    def _sets(self, version: IndexVersion) -> tuple[SetComparison, int, dict[str, int]]:
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

    # --- I3 ---------------------------------------------------------------------------------------------------------

    def _documents(self, version: IndexVersion) -> tuple[list[Damage], int]:
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

    def _entities(self, version: IndexVersion) -> list[Finding]:
        altered = list(self.graph.altered_entities(version))
        if not altered:
            return []
        what = "entities that are not the ones that their keys name"
        return [Finding("I3", Kind.ALTERED, Store.GRAPH, len(altered), what, tuple(altered[: invariants.MAX_EXAMPLES]))]

    # --- the vectors' numbers ---------------------------------------------------------------------------------------

    def _vector_faults(self, version: IndexVersion, covered: dict[str, int]) -> tuple[list[VectorFault], int]:
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

    # --- the rest ---------------------------------------------------------------------------------------------------

    def _description(self, version: IndexVersion) -> list[Finding]:
        if self.graph.description(version) is not None:
            return []
        what = "the description from which a lost ledger is rebuilt is missing"
        return [Finding("I2", Kind.MISSING, Store.GRAPH, 1, what)]

    def _pointers(self, live: IndexVersion) -> list[Finding]:
        named = {Store.GRAPH: self.graph.pointer(), Store.VECTORS: self._alias()}
        found = invariants.pointers(live, named)
        with self.ledger.snapshot() as snapshot:
            if snapshot.live().version != live.version:
                return []  # flipped meanwhile: the pointers rightly name another version
        return found

    def _artefacts(self) -> list[Finding]:
        if self.staging is None or self.scope.sampled is not None:
            return []
        names = self.staging.unreferred(older_than_seconds=self.scope.stale_after_seconds)
        return invariants.stray_artefacts(names)

    def _alias(self) -> int | None:
        try:
            return self.vectors.pointer()
        except Misconfigured:
            return None  # it names a collection that is no index version

    def _without_collection(self, version: IndexVersion, gaps: Sequence[str]) -> VersionReport:
        """Nothing can be compared with a collection that is not there: that it is lost is the finding."""
        with self.ledger.snapshot() as snapshot:
            counts = dict(snapshot.counts(version))
        lost = Finding("I1", Kind.LOST, Store.VECTORS, counts["chunks"], "committed chunks that are not there")
        return VersionReport(
            version=version,
            findings=(*invariants.gaps(Store.VECTORS, gaps), *([lost] if counts["chunks"] else [])),
            rows=dict.fromkeys((store.value for store in invariants.STORES), 0),
            recovered=dict.fromkeys((Store.GRAPH.value, Store.VECTORS.value), 0),
            moved=0,
            counts={Store.LEDGER.value: counts, Store.GRAPH.value: {}, Store.VECTORS.value: {}},
            covered={"ranges": 0, "of_ranges": 0, "documents": 0, "vectors": 0},
        )


def _vector_findings(faults: Sequence[VectorFault]) -> list[Finding]:
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
