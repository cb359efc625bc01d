"""What is open, and what is told of it: in the ledger, and in memory for as long as the ledger cannot be reached.

An alert must come through above all when the ledger is down. What fired without it is told all the same, and
entered with the same id when the ledger is back, as told by the channels that have told it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from concordance import fault_points
from concordance.errors import ConcordanceError, Misconfigured, Transient
from concordance.ledger.alerting import Alerting, Opened
from concordance.operations import telemetry
from concordance.operations.alerts import Alert, AlertKind, Breach, Happening, changes
from concordance.operations.channels import channel_names, notice_of
from concordance.settings import Settings
from concordance.watching import delivery

_log = logging.getLogger(__name__)

# Alerts that are kept in memory: far more things than can be wrong at once.
_MOST_HELD = 1_000
# By these the ledger is away; any other error is about the one alert, and comes again.
_AWAY = (Transient, Misconfigured)


@dataclass(slots=True)
class _Held:
    """An alert that the ledger does not know. `told` holds `happening channel`, `failures` how often each failed."""

    alert: Alert
    told: set[str] = field(default_factory=set)
    failures: dict[str, int] = field(default_factory=dict)
    not_before: dict[str, datetime] = field(default_factory=dict)


class Book:
    """Used by one thread but for `deliver`, which another one may call."""

    def __init__(self, alerting: Alerting, settings: Settings) -> None:
        self._alerting = alerting
        self._settings = settings
        self._known: tuple[Alert, ...] = ()
        self._held: list[_Held] = []
        self._lock = threading.Lock()
        self._is_reachable = True
        self._refused: set[str] = set()

    def read(self, now: datetime) -> Opened:
        """The open alerts, from the ledger if it can be reached, and when they were read. Never raises."""
        try:
            self._adopt()
            opened = self._alerting.open()
            if not self._is_reachable:
                _log.warning("the ledger is back: alerts are kept there again")
            self._is_reachable, self._known = True, opened.alerts
        except ConcordanceError as error:
            if self._is_reachable:
                _log.warning("alerts are kept in memory until the ledger is back: %s", error)
            self._is_reachable = False
            held = (each.alert for each in self._held if each.alert.recovered_at is None)
            opened = Opened(now, (*self._known, *held))
        for kind in AlertKind:
            telemetry.gauge("alert.open", sum(alert.breach.kind is kind for alert in opened.alerts), kind=str(kind))
        return opened

    def enter(self, breaches: Sequence[Breach], *, decided: Collection[AlertKind], opened: Opened) -> None:
        """Fire what is new of these breaches and end what is gone, as against the alerts that were open before anybody
        looked. An alert that is younger than `alert_settle_seconds` does not recover yet: it may have fired elsewhere,
        by a clock that goes before ours. Never raises."""
        changed = changes(breaches, still_open=opened.alerts, decided=decided)
        old = opened.read_at - timedelta(seconds=self._settings.alert_settle_seconds)
        for breach in changed.fired:
            self._fire(breach, opened)
        for alert in changed.recovered:
            if alert.fired_at <= old:
                self._end(alert)

    def deliver(self) -> None:
        """Deliver what is due. Never raises."""
        with self._lock:
            held = list(self._held)
        for each in held:
            self._tell(each)
        if self._is_reachable:
            try:
                delivery.deliver(alerting=self._alerting, settings=self._settings)
            except ConcordanceError as error:
                _log.warning("alerts are delivered when the ledger is back: %s", error)

    def _fire(self, breach: Breach, opened: Opened) -> None:
        alert_id = uuid4()
        if self._is_reachable:
            try:
                delivery.fire(
                    breach,
                    alerting=self._alerting,
                    settings=self._settings,
                    looked_at=opened.read_at,
                    alert_id=alert_id,
                )
                return
            except _AWAY as error:
                self._is_reachable = False
                _log.warning("an alert is kept in memory until the ledger is back: %s", error)
            except ConcordanceError as error:
                self._drop(breach, error)
                return
        if any(each.alert.breach.key == breach.key and each.alert.recovered_at is None for each in self._held):
            return
        if len(self._held) >= _MOST_HELD:
            _log.error("alert %s is only logged: %s are kept in memory already", breach.key, _MOST_HELD)
            return
        with self._lock:
            # The same id: it may have been entered, and only the answer was lost.
            self._held.append(_Held(Alert(alert_id, breach, datetime.now(UTC))))

    def _end(self, alert: Alert) -> None:
        ended = self._ended(alert.breach, datetime.now(UTC))
        for held in self._held:
            if held.alert.alert_id == alert.alert_id:
                held.alert = replace(alert, recovered_at=datetime.now(UTC), ended=ended)
                return
        # An alert that the ledger knows stays open until the ledger can be told.
        if self._is_reachable:
            try:
                delivery.recover(alert.alert_id, ended=ended, alerting=self._alerting, settings=self._settings)
            except ConcordanceError as error:
                _log.warning("the end of an alert is told when the ledger is back: %s", error)

    def _ended(self, breach: Breach, now: datetime) -> str:
        told_of = self._settings.watch_failed_seconds
        if breach.kind is AlertKind.RUN_FAILED and now - breach.since >= timedelta(seconds=told_of):
            return f"it was told of for {told_of:g} s, and nothing made it good: clear the run, or start it again"
        return f"it was looked at {now:%Y-%m-%d %H:%M:%S} UTC, and what was wrong is gone"

    def _adopt(self) -> None:
        """Enter in the ledger what fired without it. Raises `Transient` or `Misconfigured` if it is still away; what it
        refuses is dropped."""
        for held in list(self._held):
            names = channel_names(self._settings)
            over = held.alert.recovered_at is not None
            owed = {Happening.FIRED: names, **({Happening.RECOVERED: names} if over else {})}
            try:
                with fault_points.around("alert.adopt"):
                    self._alerting.adopt(held.alert, channels=owed, told=held.told)
            except _AWAY:
                raise
            except ConcordanceError as error:
                self._drop(held.alert.breach, error)
            with self._lock:
                self._held.remove(held)

    def _drop(self, breach: Breach, error: ConcordanceError) -> None:
        """Say once that the ledger refuses this alert: the others go on."""
        if breach.key not in self._refused and len(self._refused) < _MOST_HELD:
            self._refused.add(breach.key)
            _log.error("the ledger refuses an alert, which is only logged: %.500r: %s", breach.key, error)

    def _tell(self, held: _Held) -> None:
        """Send what of this alert was not told yet and is due, without the ledger."""
        happenings = [Happening.FIRED] if held.alert.recovered_at is None else list(Happening)
        for happening in happenings:
            for channel in channel_names(self._settings):
                if not self._is_due(held, happening, channel):
                    continue
                what = f"{happening} {channel}"
                why = delivery.attempt(notice_of(held.alert, happening, self._settings), channel, self._settings)
                if why is None:
                    held.told.add(what)
                else:
                    held.failures[what] = failures = held.failures.get(what, 0) + 1
                    wait_seconds = delivery.retry_seconds(failures, self._settings)
                    held.not_before[what] = datetime.now(UTC) + timedelta(seconds=wait_seconds)

    def _is_due(self, held: _Held, happening: Happening, channel: str) -> bool:
        """Whether a channel has to tell this now. That it is over waits until it was told, or given up."""
        what, fired = f"{happening} {channel}", f"{Happening.FIRED} {channel}"
        most = self._settings.alert_attempts
        if what in held.told or held.failures.get(what, 0) >= most:
            return False
        if happening is Happening.RECOVERED and fired not in held.told and held.failures.get(fired, 0) < most:
            return False
        now = datetime.now(UTC)
        return now >= held.not_before.get(what, now)
