"""Airflow's components by their heartbeats, as the API server reads them from Airflow's database.

Airflow calls a component dead by thresholds of its own; here the age of the last heartbeat is compared with ours, so
that what is told is the same wherever it runs. The API server itself, and its database, are a dependency
(`health.py`): as long as it cannot tell, nothing new is known of the components, and their alerts stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from concordance.errors import Unavailable
from concordance.operations import telemetry
from concordance.operations.alerts import AlertKind, Breach
from concordance.settings import Settings
from concordance.watching.airflow import AirflowApi

KIND_OF = {
    "scheduler": AlertKind.SCHEDULER_SILENT,
    "dag_processor": AlertKind.DAG_PROCESSOR_SILENT,
    "triggerer": AlertKind.TRIGGERER_SILENT,
}


@dataclass(frozen=True, slots=True)
class Component:
    """One of Airflow's components. `age_seconds` since its last heartbeat, None if it never showed one; `limit_seconds`
    after which it counts as silent."""

    name: str
    age_seconds: float | None
    limit_seconds: float

    @property
    def fault(self) -> str:
        """Why it does not count as alive; empty if it does."""
        if self.age_seconds is None:
            return "it has shown no heartbeat yet: start it"
        if self.age_seconds > self.limit_seconds:
            return f"its last heartbeat was {self.age_seconds:.0f} s ago: see its log, and start it again"
        return ""

    def as_json(self) -> dict[str, Any]:
        age = None if self.age_seconds is None else round(self.age_seconds, 1)
        return {"name": self.name, "heartbeat_age_seconds": age, "detail": self.fault}


def open_health(settings: Settings) -> AirflowApi:
    """Airflow as whoever watches it asks: without a login, and not for long."""
    return AirflowApi(
        settings.effective_airflow_url, user="", password="", timeout_seconds=settings.probe_timeout_seconds
    )


def components(said: Mapping[str, Any], settings: Settings, now: datetime) -> tuple[Component, ...]:
    """The components of an answer of `/api/v2/monitor/health`. Raises `Unavailable` when Airflow's own database does
    not answer it: it knows of no heartbeat then."""
    if (said.get("metadatabase") or {}).get("status") != "healthy":
        raise Unavailable("Airflow's own database does not answer: start it, or see the API server's log")
    found = []
    for name in KIND_OF:
        beat = _moment((said.get(name) or {}).get(f"latest_{name}_heartbeat"))
        age = None if beat is None else max(0.0, (now - beat).total_seconds())
        found.append(Component(name, age, getattr(settings, f"{name}_silent_seconds")))
    return tuple(found)


@dataclass(slots=True)
class Heartbeats:
    """Watches the components. None counts as silent for a time before the first look of this process: after a start of
    everything the last heartbeats are of the time before it. While Airflow does not answer, the ages that are reported
    go on."""

    settings: Settings
    airflow: AirflowApi = field(init=False)
    kinds: frozenset[AlertKind] = field(init=False, default=frozenset(KIND_OF.values()))
    _seen: dict[str, datetime] = field(init=False, default_factory=dict)
    _began: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.airflow = open_health(self.settings)

    def look(self, now: datetime) -> list[Breach]:
        """Who is silent now. Raises `Unavailable` when Airflow does not tell, or too little time has passed to tell a
        component that is silent from one that just starts: an alert that is open then stays so."""
        began = self._began = self._began or now
        try:
            found = components(self.airflow.health(), self.settings, now)
            for each in found:
                if each.age_seconds is not None:
                    self._seen[each.name] = now - timedelta(seconds=each.age_seconds)
        finally:
            for name, beat in self._seen.items():
                telemetry.gauge("airflow.heartbeat_age_seconds", max(0.0, (now - beat).total_seconds()), component=name)
        last = {each.name: max(self._seen.get(each.name, began), began) for each in found}
        breaches = [breach for each in found if (breach := _breach(each, last[each.name], now)) is not None]
        silent = {breach.subject["component"] for breach in breaches}
        undecided = [each.name for each in found if each.fault and each.name not in silent]
        if undecided:
            raise Unavailable(f"no heartbeat of {', '.join(undecided)} yet since the watch began: it may just start")
        return breaches


def _breach(component: Component, last: datetime, now: datetime) -> Breach | None:
    limit = timedelta(seconds=component.limit_seconds)
    if now - last <= limit:
        return None
    return Breach(
        KIND_OF[component.name],
        {"component": component.name},
        expected=f"a heartbeat every few seconds, {component.limit_seconds:g} s apart at most",
        actual=f"none since {last:%Y-%m-%d %H:%M:%S} UTC",
        since=last + limit,
    )


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
