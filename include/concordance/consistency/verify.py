"""`verify`: I1 to I4 and I8 over every index version that is kept, also while runs are going on.

The sets are compared in `verify_sets`, what the rows say in `verify_contents`. The stores are read for minutes while
loads, publishes and sweeps go on, so what differs at first sight is only a suspect: it is a finding if it still holds
against a newer snapshot. That is exact, because generation numbers are never used twice, what a generation wrote is
immutable, and what is neither current nor on the dirty list stays so:

- lost, altered: the generation is still current, so it was current when the row was missed;
- unexpected: the generation is neither current nor dirty by now, and one of its rows is still there; or it was current
  in the first snapshot already, which then lacks the row.

A range that agreed holds exactly the chunks that were current in its snapshot, each as it was written: later loads only
add generations that this snapshot does not name, and their rows make the range differ instead of hiding anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from concordance.consistency import contents, invariants
from concordance.consistency.confirm import confirmed
from concordance.consistency.contents import Damage
from concordance.consistency.invariants import Finding, Kind, Store, Suspects
from concordance.consistency.ports import AuditLedger
from concordance.consistency.scope import Scope as Scope
from concordance.consistency.verify_contents import Contents, vector_findings
from concordance.consistency.verify_sets import Sets
from concordance.errors import Misconfigured
from concordance.model import GenerationKey, IndexVersion, VectorFault
from concordance.operations import telemetry
from concordance.staging import Staging
from concordance.stores.ports import GraphStore, VectorStore


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
        seen, moved, covered = Sets(self.ledger, self.graph, self.vectors, self.scope).compared(version)
        with self.ledger.snapshot() as snapshot:
            overdue = snapshot.overdue(version, seconds=self.scope.stale_after_seconds)
            miscounted = snapshot.miscounted(version)
            counts = {Store.LEDGER.value: dict(snapshot.counts(version))}
        holding = confirmed(seen, version, ledger=self.ledger, graph=self.graph, vectors=self.vectors)
        said = Contents(self.ledger, self.graph, self.vectors, self.scope)
        damages, covered["documents"] = said.documents(version)
        faults, covered["vectors"] = said.vector_faults(version, covered)
        findings = [
            *invariants.gaps(Store.VECTORS, gaps),
            *invariants.set_findings(holding, seen.untracked),
            *invariants.miscounted(miscounted),
            *invariants.stale(overdue),
            *invariants.duplicates(seen),
            *contents.findings(damages),
            *vector_findings(faults),
            *self._description(version),
        ]
        if self.scope.sampled is None:
            counts[Store.GRAPH.value] = dict(self.graph.counts(version).rows)
            counts[Store.VECTORS.value] = dict(self.vectors.counts(version).rows)
            findings += invariants.orphans(self.graph.orphans(version))
            findings += said.entities(version)
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
