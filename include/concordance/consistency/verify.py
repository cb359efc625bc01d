"""`verify`: I1, I2 and I4 over the live index version, also while runs are going on.

The stores are read for minutes while loads, publishes and sweeps go on. What differs at first sight is therefore only a
suspect: it is a finding if it still holds against a newer snapshot. That is exact, because generation numbers are never
used twice, what a generation wrote is immutable, and what is neither current nor on the dirty list stays so:

- lost, altered: the generation is still current, so it was current when the row was missed;
- unexpected: the generation is neither current nor dirty by now, and one of its rows is still there; or it was current
  in the first snapshot already, which then lacks the row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from concordance.consistency import invariants
from concordance.consistency.invariants import Finding, Kind, Store, Suspects
from concordance.model import GenerationKey, IndexVersion, StoredChunk
from concordance.operations import telemetry
from concordance.retrieval.reader import LedgerReader, LedgerSnapshot
from concordance.stores.ports import GraphStore, VectorStore

_KEYS_A_QUESTION = 10_000


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was compared and what was found. `rows` counts chunks read by store; `recovered` those among them that a
    load or sweep in flight has written or not yet deleted; `moved` suspects that a run explains; `counts` the rows of
    every kind, for people."""

    index_version: int
    findings: tuple[Finding, ...]
    rows: dict[str, int]
    recovered: dict[str, int]
    moved: int
    counts: dict[str, dict[str, int]]

    @property
    def is_sound(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        return {
            "sound": self.is_sound,
            "index_version": self.index_version,
            "findings": [finding.as_json() for finding in self.findings],
            "rows": self.rows,
            "recovered": self.recovered,
            "moved": self.moved,
            "counts": self.counts,
        }


def verify(*, ledger: LedgerReader, graph: GraphStore, vectors: VectorStore) -> VerifyReport:
    """Compare the ledger, the graph and the vectors of the live version, chunk by chunk. Reads only.

    Raises `Misconfigured` when nothing was published yet, `Unavailable` when a store does not answer: a report is
    about everything or is not given.
    """
    with telemetry.timer("verify.duration"):
        report = _report(ledger=ledger, graph=graph, vectors=vectors)
    telemetry.count("verify.sound" if report.is_sound else "verify.unsound")
    for finding in report.findings:
        telemetry.count("verify.findings", finding.count, kind=finding.kind, store=finding.store)
    return report


def _report(*, ledger: LedgerReader, graph: GraphStore, vectors: VectorStore) -> VerifyReport:
    with ledger.snapshot() as snapshot:
        version = snapshot.live()
        seen = invariants.compare_sets(
            version=version,
            ledger=snapshot.committed(version),
            graph=graph.chunks(version),
            vectors=vectors.points(version),
            in_flight=frozenset(snapshot.in_flight(version)),
        )
        was_current = _current(snapshot, version, seen.generations())
        counts = {
            Store.LEDGER.value: dict(snapshot.counts(version)),
            Store.GRAPH.value: dict(graph.counts(version).rows),
            Store.VECTORS.value: dict(vectors.counts(version).rows),
        }
    holding = _confirmed(seen.suspects, was_current, version, ledger=ledger, graph=graph, vectors=vectors)
    findings = [
        *invariants.set_findings(holding, seen.untracked),
        *invariants.promised_rows(seen, counts[Store.LEDGER.value]),
        *invariants.duplicates(seen),
        *invariants.orphans(graph.orphans(version)),
        *_pointers(version, ledger=ledger, graph=graph, vectors=vectors),
    ]
    return VerifyReport(
        index_version=version.version,
        findings=tuple(findings),
        rows={store.value: count for store, count in seen.rows.items()},
        recovered={store.value: seen.recovered[store] for store in (Store.GRAPH, Store.VECTORS)},
        moved=sum(tally.rows for name, tally in seen.suspects.items() if name not in holding),
        counts=counts,
    )


def _confirmed(
    suspects: Suspects,
    was_current: Collection[GenerationKey],
    version: IndexVersion,
    *,
    ledger: LedgerReader,
    graph: GraphStore,
    vectors: VectorStore,
) -> Suspects:
    """The suspects that hold against a snapshot newer than their reading."""
    if not suspects:
        return {}
    with ledger.snapshot() as snapshot:
        in_flight = frozenset(snapshot.in_flight(version))
        current = _current(snapshot, version, {key for _, _, key in suspects})
    holding: Suspects = {}
    for (kind, store, key), tally in suspects.items():
        if kind is not Kind.UNEXPECTED:
            holds = key in current
        elif key in was_current:
            holds = True
        elif key in current or key in in_flight:
            holds = False
        else:
            holds = _is_there(store, version, key, tally.examples, graph=graph, vectors=vectors)
        if holds:
            holding[kind, store, key] = tally
    return holding


def _current(
    snapshot: LedgerSnapshot, version: IndexVersion, keys: Collection[GenerationKey]
) -> frozenset[GenerationKey]:
    waiting: Iterator[GenerationKey] = iter(keys)
    found: set[GenerationKey] = set()
    while some := list(islice(waiting, _KEYS_A_QUESTION)):
        found.update(snapshot.current(version, some))
    return frozenset(found)


def _is_there(
    store: Store,
    version: IndexVersion,
    key: GenerationKey,
    examples: list[StoredChunk],
    *,
    graph: GraphStore,
    vectors: VectorStore,
) -> bool:
    """Whether a sweep has not removed the rows meanwhile."""
    if store is Store.GRAPH:
        return bool(graph.read_back(version, [key]))
    return bool(vectors.read_back(version, [row.chunk_id for row in examples]))


def _pointers(version: IndexVersion, *, ledger: LedgerReader, graph: GraphStore, vectors: VectorStore) -> list[Finding]:
    with ledger.snapshot() as snapshot:
        if snapshot.live().version != version.version:
            return []  # flipped meanwhile: the pointers rightly name another version
    return invariants.pointers(version, {Store.GRAPH: graph.pointer(), Store.VECTORS: vectors.pointer()})
