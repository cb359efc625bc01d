"""Health: whether everything that the product works with answers (ready). `liveness.py` asks about the process itself.

Dependencies are asked all at once, and each has `probe_timeout_seconds` for each of its answers: nothing here raises or
waits for long. A circuit belongs to one process: the breaker that is shown is the one of whoever asks, after its own
attempts. A worker whose circuit opens says so in its log and counts it in the metric `store.circuit`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from concordance.circuit import Circuit, CircuitState, Condition
from concordance.errors import ConcordanceError
from concordance.ledger import open_ledger
from concordance.operations import telemetry
from concordance.operations.alerts import AlertKind, Breach
from concordance.settings import Settings
from concordance.stores import open_graph, open_vectors
from concordance.watching.airflow import AirflowApi
from concordance.watching.heartbeats import Component, components, open_health
from concordance.watching.threads import in_a_thread

_BREAKER = {Condition.CLOSED: 0, Condition.HALF_OPEN: 1, Condition.OPEN: 2}
# Beyond one answer's time: to connect, and to ask a second question.
_ANSWERS = 3


class Dependency(StrEnum):
    """What the product cannot do without."""

    LEDGER = "ledger"
    GRAPH = "graph"
    VECTORS = "vectors"
    AIRFLOW = "airflow"


STORES = (Dependency.LEDGER, Dependency.GRAPH, Dependency.VECTORS)


class Pinged(Protocol):
    """What the adapters of the three stores have in common."""

    @property
    def circuit(self) -> Circuit: ...

    def ping(self) -> str: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Probe:
    """One dependency, asked just now. `server` is its name and version if it answers, `breaker` the circuit of this
    process (None where there is none), `detail` says what is wrong and what to do."""

    dependency: Dependency
    answers: bool
    latency_seconds: float
    server: str = ""
    breaker: CircuitState | None = None
    detail: str = ""
    components: tuple[Component, ...] = ()
    """Airflow's."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps it from being well, a line each."""
        own = () if self.answers else (f"{self.dependency}: {self.detail}",)
        return (*own, *(f"{self.dependency}'s {each.name}: {each.fault}" for each in self.components if each.fault))

    def as_json(self) -> dict[str, Any]:
        return {
            "name": str(self.dependency),
            "answers": self.answers,
            "latency_seconds": round(self.latency_seconds, 4),
            "server": self.server,
            "circuit": "" if self.breaker is None else str(self.breaker),
            "detail": self.detail,
            "components": [each.as_json() for each in self.components],
        }


class _Airflow:
    """The API server as something that is pinged; it has no circuit."""

    circuit = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api: AirflowApi = open_health(settings)
        self.components: tuple[Component, ...] = ()

    def ping(self) -> str:
        self.components = ()
        self.components = components(self._api.health(), self._settings, datetime.now(UTC))
        return f"Airflow {self._api.version()}"

    def close(self) -> None:
        return None


_OPENERS: Mapping[Dependency, Callable[[Settings], Any]] = {
    Dependency.LEDGER: open_ledger,
    Dependency.GRAPH: open_graph,
    Dependency.VECTORS: open_vectors,
    Dependency.AIRFLOW: _Airflow,
}


class Probes:
    """Asks the same dependencies again and again, over connections of its own. Use as `with probing(...)`."""

    def __init__(self, settings: Settings, wanted: Sequence[Dependency]) -> None:
        self._settings = asked_once(settings)
        self._patience_seconds = _ANSWERS * settings.probe_timeout_seconds
        self._opened: dict[Dependency, Any] = {}
        self._under_way: dict[Dependency, Future[Probe]] = {}
        self._wanted = wanted

    def ask(self) -> tuple[Probe, ...]:
        """All of them at once. One whose last answer is still awaited is not asked again."""
        for each in self._wanted:
            if each not in self._under_way:
                self._under_way[each] = in_a_thread(functools.partial(self._ask, each))
        done, _ = wait(self._under_way.values(), timeout=self._patience_seconds)
        found = []
        for each in self._wanted:
            if self._under_way[each] in done:
                found.append(self._under_way.pop(each).result())
            else:
                said = f"it has not answered for more than {self._patience_seconds:g} s"
                found.append(Probe(each, False, self._patience_seconds, detail=said))
        return tuple(found)

    def _ask(self, dependency: Dependency) -> Probe:
        started, pinged = time.monotonic(), None
        try:
            pinged = self._opened.get(dependency) or _OPENERS[dependency](self._settings)
            self._opened[dependency] = pinged
            server, detail = pinged.ping(), ""
        except ConcordanceError as error:
            server, detail = "", str(error)
        except Exception as error:
            # A probe that fails by a defect is told like any other, so that the others are.
            server, detail = "", f"it cannot be asked ({type(error).__name__}): this is a defect"
        return Probe(
            dependency,
            answers=not detail,
            latency_seconds=time.monotonic() - started,
            server=server,
            breaker=pinged.circuit.state() if pinged is not None and pinged.circuit is not None else None,
            detail=detail,
            components=getattr(pinged, "components", ()),
        )

    def close(self) -> None:
        for pinged in list(self._opened.values()):
            # One that hangs may still be used by its thread.
            with suppress(Exception):
                pinged.close()


def asked_once(settings: Settings) -> Settings:
    """The same settings for somebody who asks with a single attempt, and not for long."""
    seconds = settings.probe_timeout_seconds
    timeouts = ("graph_timeout_seconds", "vectors_timeout_seconds", "ledger_timeout_seconds", "call_timeout_seconds")
    update = {name: min(seconds, getattr(settings, name)) for name in timeouts}
    return settings.model_copy(
        update={**update, "retry_attempts": 1, "circuit_open_seconds": min(seconds, settings.circuit_open_seconds)}
    )


@contextmanager
def probing(settings: Settings, wanted: Sequence[Dependency] = tuple(Dependency)) -> Iterator[Probes]:
    """Probes whose connections are closed with the block."""
    probes = Probes(settings, wanted)
    try:
        yield probes
    finally:
        probes.close()


def ready(settings: Settings, wanted: Sequence[Dependency] = tuple(Dependency)) -> tuple[Probe, ...]:
    """Every dependency, asked now; all is ready if none has `faults`. Never raises, and takes a few
    `probe_timeout_seconds` at most."""
    with probing(settings, wanted) as probes:
        return probes.ask()


@dataclass(slots=True)
class Dependencies:
    """Watches whether the dependencies answer: one that gives no answer for long enough is down. A single answer that
    was lost is no alarm, and a single one that comes ends it."""

    settings: Settings
    probes: Probes = field(init=False)
    kinds: frozenset[AlertKind] = field(init=False, default=frozenset({AlertKind.STORE_DOWN, AlertKind.AIRFLOW_DOWN}))
    _silent_since: dict[Dependency, datetime] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.probes = Probes(self.settings, tuple(Dependency))

    def look(self, now: datetime) -> list[Breach]:
        """Which dependencies are down."""
        breaches = []
        for probe in self.probes.ask():
            _report(probe)
            if probe.answers:
                self._silent_since.pop(probe.dependency, None)
                continue
            since = self._silent_since.setdefault(probe.dependency, now)
            if (breach := self._breach(probe, since, now)) is not None:
                breaches.append(breach)
        return breaches

    def close(self) -> None:
        self.probes.close()

    def _breach(self, probe: Probe, since: datetime, now: datetime) -> Breach | None:
        is_airflow = probe.dependency is Dependency.AIRFLOW
        limit = self.settings.airflow_down_seconds if is_airflow else self.settings.store_down_seconds
        if now - since < timedelta(seconds=limit):
            return None
        return Breach(
            AlertKind.AIRFLOW_DOWN if is_airflow else AlertKind.STORE_DOWN,
            {"component": "api_server"} if is_airflow else {"store": str(probe.dependency)},
            expected=f"an answer within {self.settings.probe_timeout_seconds:g} s",
            actual=f"none since {since:%Y-%m-%d %H:%M:%S} UTC: {probe.detail}"[:400],
            since=since + timedelta(seconds=limit),
        )


def _report(probe: Probe) -> None:
    name = str(probe.dependency)
    telemetry.gauge("dependency.up", int(probe.answers), dependency=name)
    telemetry.gauge("dependency.latency_seconds", probe.latency_seconds, dependency=name)
    if probe.breaker is not None:
        telemetry.gauge("dependency.breaker", _BREAKER[probe.breaker.condition], dependency=name)
