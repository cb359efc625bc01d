"""How old what is searchable of each source is, and how long its changes took to become searchable.

What a source state is, and which are fully searchable, is written in `ledger/freshness.py`. The ledger is asked every
`freshness_interval_seconds`; in between the ages grow by themselves, and before a source is called stale it is asked
once more, so that a run that has just ended is no alarm.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from concordance.ledger import Ledger, open_ledger
from concordance.ledger.freshness import SourceState
from concordance.operations import telemetry
from concordance.operations.alerts import AlertKind, Breach
from concordance.operations.slas import Slas
from concordance.settings import Settings
from concordance.sources.declaration import load_declarations


@dataclass(slots=True)
class Sources:
    """Watches the declared sources: the scheduled ones by the limit for all, others by one that names them."""

    settings: Settings
    slas: Slas
    kinds: frozenset[AlertKind] = field(init=False, default=frozenset({AlertKind.SOURCE_STALE}))
    _states: dict[str, SourceState] = field(init=False, default_factory=dict)
    _read_at: float | None = field(init=False, default=None)
    _measured_at: float | None = field(init=False, default=None)

    def look(self, now: datetime) -> list[Breach]:
        """Which sources are stale. Raises `Unavailable` when the ledger does not answer, `Misconfigured` when the
        declarations are wrong."""
        limits = self._limits()
        if self._is_old() or any(self._is_stale(name, limit) for name, limit in limits.items()):
            self._read()
        for name in self._states:
            telemetry.gauge("freshness.seconds", self._age_seconds(name), source=name)
        return [self._breach(name, limit, now) for name, limit in limits.items() if self._is_stale(name, limit)]

    def _is_old(self) -> bool:
        return self._read_at is None or time.monotonic() - self._read_at >= self.settings.freshness_interval_seconds

    def _is_stale(self, name: str, limit: float) -> bool:
        return name in self._states and self._age_seconds(name) > limit

    def _limits(self) -> dict[str, float]:
        named = {each.source for each in self.slas.freshness}
        limits = {}
        for name, declaration in load_declarations(self.settings).items():
            limit = self.slas.stale_seconds(name) if declaration.schedule or name in named else None
            if limit is not None:
                limits[name] = limit
        return limits

    def _read(self) -> None:
        declared = {name: each.tenant for name, each in load_declarations(self.settings).items()}
        with closing(open_ledger(self.settings.model_copy(update={"retry_attempts": 1}))) as ledger:
            states = {state.source: state for state in ledger.freshness.states()}
            if declared.keys() - states.keys():
                ledger.freshness.declare(declared)
                states = {state.source: state for state in ledger.freshness.states()}
            self._states = {name: states[name] for name in declared}
            self._read_at = time.monotonic()
            if self._measured_at is None or self._read_at - self._measured_at >= self.settings.sizes_interval_seconds:
                self._measured_at = self._read_at
                self._measure(ledger)

    def _measure(self, ledger: Ledger) -> None:
        for name in self._states:
            lag = ledger.freshness.lag(
                name,
                window_seconds=self.settings.freshness_window_hours * 3600,
                max_documents=self.settings.freshness_max_documents,
            )
            for quantile, seconds in (lag.seconds if lag else {}).items():
                telemetry.gauge("freshness.lag_seconds", seconds, source=name, quantile=quantile)

    def _age_seconds(self, name: str) -> float:
        """By the ledger's clock as it was read, and this process's since then."""
        return self._states[name].age_seconds + time.monotonic() - (self._read_at or 0.0)

    def _breach(self, name: str, limit: float, now: datetime) -> Breach:
        state, age = self._states[name], self._age_seconds(name)
        newest = f"of {state.searchable_at:%Y-%m-%d %H:%M:%S} UTC" if state.searchable_at else "of no time at all"
        return Breach(
            AlertKind.SOURCE_STALE,
            {"source": name},
            expected=f"a searchable state of the whole source that is at most {limit:g} s old",
            actual=f"the newest one is {newest}, and the source stale for {age - limit:.0f} s",
            since=now - timedelta(seconds=age - limit),
        )
