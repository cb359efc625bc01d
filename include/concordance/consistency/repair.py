"""`verify --repair`: what a verify finds is put right, from artefacts, the other store or the source.

A repair works beside running ingests, by the same locks and lists: see `mending`. It may die at any point; the next
one goes on from what it finds. What it cannot put right is left as findings, never hidden.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from concordance import fault_points
from concordance.consistency.invariants import Finding, Kind, Store
from concordance.consistency.mending import Mending
from concordance.consistency.verify import Scope, VerifyReport, verify
from concordance.errors import ConcordanceError, Misconfigured
from concordance.model import IndexVersion
from concordance.operations import telemetry
from concordance.pipeline import index
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings

log = structlog.get_logger(__name__)

# What is brought back may show what was hidden behind it: a node that is there again is awaited by links.
MAX_PASSES = 4


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was done, and the verify after it. `reloaded` are documents by source, `waiting` those still to reload,
    `refused` says by source why a reload was not done."""

    before: VerifyReport
    after: VerifyReport
    done: dict[str, int]
    reloaded: dict[str, int]
    waiting: dict[str, int]
    refused: dict[str, str]

    @property
    def is_sound(self) -> bool:
        return self.after.is_sound

    def as_json(self) -> dict[str, Any]:
        return {
            **self.after.as_json(),
            "repaired": {
                "found": [finding.as_json() for finding in self.before.findings],
                "done": self.done,
                "reloaded": self.reloaded,
                "waiting_for_reload": self.waiting,
                "refused": self.refused,
            },
        }


def repair(*, adapters: Adapters, settings: Settings, scope: Scope | None = None, reloads: bool = True) -> RepairReport:
    """Verify, put right what was found, and verify again, until it is sound or nothing more can be done.

    `reloads`: documents that can only be loaded anew are, by an ingest of their sources in this process (which takes in
    whatever else changed there); else they wait for the next ingest. Raises `Unavailable` when a store does not answer,
    `Misconfigured` before the first publish.
    """
    return _Repairing(adapters, settings, scope or Scope(), reloads).run()


class _Repairing:
    def __init__(self, adapters: Adapters, settings: Settings, scope: Scope, reloads: bool) -> None:
        self._adapters, self._settings, self._scope, self._reloads = adapters, settings, scope, reloads
        self._done: Counter[str] = Counter()
        self._reloaded: Counter[str] = Counter()
        self._refused: dict[str, str] = {}

    def run(self) -> RepairReport:
        with telemetry.timer("repair.duration"):
            before = after = self._verify()
            for _ in range(MAX_PASSES):
                live = self._live()
                if after.is_sound and not self._adapters.ledger.repairing.still_damaged(live):
                    break
                found = _what(after)
                self._mend(after)
                if self._reloads:
                    self._reload(live)
                after = self._verify()
                if not after.is_sound and _what(after) == found:
                    break
        for what, count in self._done.items():
            telemetry.count("repair.done", count, what=what.replace(" ", "_"))
        waiting = self._adapters.ledger.repairing.still_damaged(self._live())
        for source, count in waiting.items():
            telemetry.count("repair.waiting", count, source=source)
        done = {what: count for what, count in self._done.items() if count}
        return RepairReport(before, after, done, dict(self._reloaded), waiting, self._refused)

    def _verify(self) -> VerifyReport:
        adapters = self._adapters
        return verify(
            ledger=adapters.ledger,
            graph=adapters.graph,
            vectors=adapters.vectors,
            scope=self._scope,
            staging=adapters.staging,
        )

    def _live(self) -> IndexVersion:
        with self._adapters.ledger.snapshot() as snapshot:
            return snapshot.live()

    def _mend(self, report: VerifyReport) -> None:
        self._mend_schema(report)
        self._mend_pointers(report.findings)
        for each in report.versions:
            mending = Mending(each, self._adapters, self._settings)
            if not report.is_sound:
                mending.mend()
            self._done.update(mending.done)
        stray = self._adapters.staging.unreferred(older_than_seconds=self._scope.stale_after_seconds)
        if stray:
            with fault_points.around("repair.artefacts"):
                self._done["artefacts removed"] += self._adapters.staging.discard(stray)

    def _mend_schema(self, report: VerifyReport) -> None:
        if not any(finding.kind is Kind.MISSING for finding in report.findings):
            return
        for each in report.versions:
            # A collection of another shape cannot be put right in place: that stays a finding.
            with suppress(Misconfigured), fault_points.around("repair.schema"):
                self._adapters.graph.prepare()
                self._adapters.vectors.prepare(each.version)
            frozen = self._adapters.ledger.versions.frozen(each.version)
            with fault_points.around("repair.describe"):
                self._adapters.graph.describe(each.version, index.describe(each.version, frozen))
        self._done["schema prepared"] += 1

    def _mend_pointers(self, findings: Sequence[Finding]) -> None:
        if not any(finding.kind is Kind.POINTER for finding in findings):
            return
        with self._adapters.ledger.repairing.holding_live() as live:
            if live is not None:
                with fault_points.around("repair.point"):
                    self._adapters.vectors.point_to(live)
                    self._adapters.graph.point_to(live)
                self._done["pointers moved"] += 1

    def _reload(self, live: IndexVersion) -> None:
        """An ordinary ingest of each source that has damaged documents: they come as new generations."""
        for source, count in self._adapters.ledger.repairing.still_damaged(live).items():
            run_id = f"repair_{datetime.now(UTC):%Y%m%dT%H%M%S}_{secrets.token_hex(3)}"
            try:
                ended = ingest(RunRequest(source, run_id), adapters=self._adapters, settings=self._settings)
            except ConcordanceError as error:
                log.warning("damaged documents were not loaded anew", source=source, error=type(error).__name__)
                self._refused[source] = str(error)
                continue
            if ended.state == "published":
                self._reloaded[source] += count
            else:
                self._refused[source] = "; ".join(ended.notices) or f"the ingest ended as {ended.state}"


def _what(report: VerifyReport) -> list[tuple[str, Kind, Store, int, str]]:
    return sorted((each.invariant, each.kind, each.store, each.count, each.what) for each in report.findings)
