"""Alerts: one thing that is wrong now, what of it is told, and when it is over.

Pure. A breach is a state that somebody looked at, never an event: whoever looks again sees it again, and the alert that
is open for it is known by the same key. `changes` compares what holds now with what is open; the ledger keeps the
alerts, so that one fires once, whoever finds it, and nothing is lost when a process dies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

SUBJECT_KEYS = ("dag", "run", "stage", "shard", "attempt", "source", "component", "store")
MAX_TEXT_CHARACTERS = 500


class AlertKind(StrEnum):
    """What can be wrong; each has its section in docs/runbook/alerts.md."""

    ATTEMPT_SLOW = "attempt_slow"
    STAGE_LATE = "stage_late"
    RUN_LATE = "run_late"
    RUN_FAILED = "run_failed"
    SOURCE_STALE = "source_stale"
    STORE_DOWN = "store_down"
    AIRFLOW_DOWN = "airflow_down"
    SCHEDULER_SILENT = "scheduler_silent"
    DAG_PROCESSOR_SILENT = "dag_processor_silent"
    TRIGGERER_SILENT = "triggerer_silent"


class Happening(StrEnum):
    """What is told of an alert: that it fired, and that it is over."""

    FIRED = "fired"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Breach:
    """One thing that is wrong now. `expected` and `actual` are short sentences without document text or secrets.

    `subject` says what it is about, by keys of `SUBJECT_KEYS`; `since` is when the limit was passed, with a time zone;
    `link` leads to a page of Airflow, empty if there is none.
    """

    kind: AlertKind
    subject: Mapping[str, str]
    expected: str
    actual: str
    since: datetime
    link: str = ""

    def __post_init__(self) -> None:
        if unknown := set(self.subject) - set(SUBJECT_KEYS):
            raise ValueError(f"an alert is about {', '.join(SUBJECT_KEYS)}, not about {', '.join(sorted(unknown))}")
        if self.since.tzinfo is None:
            raise ValueError("a breach's `since` needs a time zone")

    @property
    def key(self) -> str:
        """What makes two breaches the same alert while it is open."""
        return " ".join([str(self.kind), *(f"{name}={self.subject[name]}" for name in sorted(self.subject))])


@dataclass(frozen=True, slots=True)
class Alert:
    """A breach that was told of. `ended` says in words how it recovered; times are the ledger's."""

    alert_id: UUID
    breach: Breach
    fired_at: datetime
    recovered_at: datetime | None = None
    ended: str = ""

    def as_json(self) -> dict[str, Any]:
        breach = self.breach
        return {
            "alert_id": str(self.alert_id),
            "kind": str(breach.kind),
            **{name: breach.subject[name] for name in SUBJECT_KEYS if name in breach.subject},
            "expected": breach.expected,
            "actual": breach.actual,
            "since": breach.since.isoformat(),
            "fired_at": self.fired_at.isoformat(),
            "recovered_at": None if self.recovered_at is None else self.recovered_at.isoformat(),
            "ended": self.ended,
            "link": breach.link,
        }


class Watcher(Protocol):
    """Somebody who looks at one part of the world, in `kinds` of alerts that nobody else decides about."""

    @property
    def kinds(self) -> frozenset[AlertKind]:
        """An open alert of these kinds that `look` does not report has recovered."""
        ...

    def look(self, now: datetime) -> list[Breach]:
        """The breaches that hold now. Raises `Unavailable` when it cannot tell: its alerts stay as they are."""
        ...


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be told: breaches that no open alert is about, and alerts whose breach is gone."""

    fired: tuple[Breach, ...] = field(default=())
    recovered: tuple[Alert, ...] = field(default=())


def changes(breaches: Sequence[Breach], *, still_open: Sequence[Alert], decided: Collection[AlertKind]) -> Changes:
    """Compare the breaches that hold now with the alerts that were open before anybody looked.

    Only alerts of the kinds `decided` can have recovered. A breach that is reported twice fires once.
    """
    now = {breach.key: breach for breach in breaches}
    known = {alert.breach.key for alert in still_open}
    return Changes(
        fired=tuple(breach for key, breach in now.items() if key not in known),
        recovered=tuple(alert for alert in still_open if alert.breach.kind in decided and alert.breach.key not in now),
    )


def headline(alert: Alert, happening: Happening) -> str:
    """One line for people: what is wrong, with what, what was expected and what is."""
    breach = alert.breach
    about = ", ".join(f"{name} {breach.subject[name]}" for name in SUBJECT_KEYS if name in breach.subject)
    if happening is Happening.RECOVERED:
        return f"{breach.kind} is over: {about}: {alert.ended}"
    return f"{breach.kind}: {about}: expected {breach.expected}, but {breach.actual}"
