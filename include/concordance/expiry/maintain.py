"""Maintenance: what nothing needs any more leaves the staging area, the ledger and the folder of logs.

In small steps, each a deletion that may be repeated: whatever dies in between, the next maintenance goes on, and two at
once take different things or find them gone. A run that goes on meanwhile loses nothing: what may go is decided by the
rows of the ledger at one moment, after the files were listed, and by age. What a rollback, a replay, a repair, a build
or an audit needs stays, whatever its age (`ledger/expiring.py` and `artefacts.py` say what that is).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from concordance import fault_points
from concordance.expiry.artefacts import GATE, expired_artefacts, remove_artefacts
from concordance.expiry.logs import remove_logs
from concordance.ledger.expiring import Past
from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings

_DAY_SECONDS = 86_400
_ROWS_AT_ONCE = 1000
Step = Callable[[], Iterator[Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What was removed, by kind; with `is_dry` what would have been. Not `is_done`: its time was over before."""

    removed: Mapping[str, int] = field(default_factory=dict)
    is_dry: bool = False
    is_done: bool = True

    def as_json(self) -> dict[str, Any]:
        return {"removed": dict(self.removed), "dry_run": self.is_dry, "done": self.is_done}


def maintain(
    *,
    adapters: Adapters,
    settings: Settings,
    dry_run: bool = False,
    log_folder: Path | None = None,
    now: Callable[[], float] = time.time,
) -> MaintenanceReport:
    """Remove what has expired, the ledger's past before the artefacts that it names; logs only below `log_folder`.

    Raises `Unavailable` when a part does not answer: what is removed by then stays removed.
    """
    past = Past(settings.history_retention_days * _DAY_SECONDS, settings.history_min_plans)
    logs_before = now() - settings.airflow_log_retention_days * _DAY_SECONDS
    removed: Counter[str] = Counter()
    if dry_run:
        alert_seconds = settings.alert_retention_days * _DAY_SECONDS
        removed.update(adapters.ledger.expiring.due(past, alert_seconds=alert_seconds))
        for expired in expired_artefacts(adapters=adapters, settings=settings):
            removed[_what(expired.kind)] += len(expired.names)
        if log_folder is not None:
            removed["logs"] += sum(remove_logs(log_folder, before=logs_before, dry_run=True))
        return MaintenanceReport(_found(removed), is_dry=True)
    deadline = now() + settings.maintenance_seconds
    for step in _steps(past, log_folder, logs_before, adapters=adapters, settings=settings):
        for what, number in step.items():
            removed[what] += number
            telemetry.count("maintenance.removed", number, what=what)
        if now() >= deadline:
            return MaintenanceReport(_found(removed), is_done=False)
    return MaintenanceReport(_found(removed))


def _steps(
    past: Past, log_folder: Path | None, logs_before: float, *, adapters: Adapters, settings: Settings
) -> Iterator[Mapping[str, int]]:
    yield from _history(past, adapters, settings)
    for expired in expired_artefacts(adapters=adapters, settings=settings):
        for number in remove_artefacts(expired, adapters=adapters):
            yield {_what(expired.kind): number}
    if log_folder is not None:
        for number in remove_logs(log_folder, before=logs_before):
            yield {"logs": number}


def _history(past: Past, adapters: Adapters, settings: Settings) -> Iterator[Mapping[str, int]]:
    expiring, gone = adapters.ledger.expiring, 1
    while gone:
        with fault_points.around("plans.expire"):
            found = expiring.expire_plans(past, limit=settings.maintenance_step_plans)
        yield found
        gone = found["plans"]
    gone = 1
    while gone:
        with fault_points.around("runs.expire"):
            gone = expiring.expire_runs(past, limit=_ROWS_AT_ONCE)
        yield {"runs": gone}
    gone = 1
    while gone:
        with fault_points.around("builds.expire"):
            gone = expiring.expire_builds(past, limit=_ROWS_AT_ONCE)
        yield {"builds": gone}
    gone = 1
    while gone:
        with fault_points.around("alerts.expire"):
            gone = expiring.expire_alerts(
                older_than_seconds=settings.alert_retention_days * _DAY_SECONDS, limit=_ROWS_AT_ONCE
            )
        yield {"alerts": gone}


def _what(kind: str) -> str:
    return "gate_results" if kind == GATE else "artefacts"


def _found(removed: Counter[str]) -> dict[str, int]:
    return {what: number for what, number in sorted(removed.items()) if number}
