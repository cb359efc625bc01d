"""Breaches to raise, somebody who sees them, and the settings of somebody who delivers alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from concordance.operations import telemetry
from concordance.operations.alerts import AlertKind, Breach
from concordance.settings import Settings


def breach(run: str = "r", kind: AlertKind = AlertKind.RUN_LATE, **subject: str) -> Breach:
    return Breach(
        kind,
        {"dag": "concordance_ingest", "run": run, **subject},
        expected="done 5 s after it was queued",
        actual="running for 9 s",
        since=datetime(2026, 11, 22, 3, 0, tzinfo=UTC),
        link="https://data.example/dags/concordance_ingest",
    )


def alert_settings(stack: Settings, **given: Any) -> Settings:
    """A channel that fails is tried again at once, and everything settles at once."""
    quick = {"alert_channels": "log", "alert_timeout_seconds": 2, "alert_retry_seconds": 0.1, "alert_settle_seconds": 0}
    return stack.with_values({**quick, **given})


class Kept(telemetry.NoBackend):
    """A backend that keeps what was counted."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, dict[str, str]]] = []

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
        self.counted += [(name, dict(tags))] * n


@dataclass
class Sees:
    """A watcher that sees what it is told to."""

    kinds: frozenset[AlertKind] = frozenset({AlertKind.RUN_LATE})
    breaches: Sequence[Breach] = ()
    looks: int = 0
    looking: Callable[[], None] = field(default=lambda: None)

    def look(self, now: datetime) -> list[Breach]:
        self.looks += 1
        self.looking()
        return list(self.breaches)
