"""The watch: a process outside Airflow that asks, every few seconds, what is wrong now, and keeps the book of alerts.

Each watcher looks in a thread of its own, so that one that hangs keeps nobody else. What it reports is compared with
the alerts that were open before it looked. A watcher that cannot tell leaves its alerts as they are; one that fails by
a defect is logged, counted and asked less and less often. All state is in the ledger and in what is looked at: it
may be killed and started again at any moment.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from concordance.errors import ConcordanceError, Misconfigured
from concordance.ledger import Ledger, open_ledger
from concordance.ledger.alerting import Opened
from concordance.operations import telemetry
from concordance.operations.alerts import Breach, Watcher
from concordance.settings import Settings
from concordance.watching.airflow import open_airflow
from concordance.watching.book import Book
from concordance.watching.freshness import Sources
from concordance.watching.health import Dependencies
from concordance.watching.heartbeats import Heartbeats
from concordance.watching.limits import ByLimits, Limits
from concordance.watching.runs import RunsWatcher
from concordance.watching.sizes import Sizes
from concordance.watching.threads import in_a_thread

_log = logging.getLogger(__name__)


def watchers_of(settings: Settings) -> dict[str, Watcher]:
    """Everybody who looks, by name. A further watcher is entered here; its kinds are nobody else's."""
    limits = Limits(settings)
    airflow = open_airflow(settings)
    return {
        "runs": ByLimits(limits, lambda slas: RunsWatcher(airflow, slas, settings)),
        "dependencies": Dependencies(settings),
        "heartbeats": Heartbeats(settings),
        "sources": ByLimits(limits, lambda slas: Sources(settings, slas)),
        "sizes": Sizes(settings),
    }


def close(watchers: dict[str, Watcher]) -> None:
    """Close the connections that watchers keep."""
    for watcher in watchers.values():
        if isinstance(watcher, Dependencies):
            watcher.close()


@dataclass(slots=True)
class _Asked:
    """One watcher with its look that is under way, if there is one."""

    name: str
    watcher: Watcher
    look: Future[list[Breach]] | None = None
    opened: Opened | None = None
    is_late: bool = False
    said: str = ""
    failures: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Watch:
    """Rounds over the watchers. `now` and the waits are the process's; what is compared are the ledger's times."""

    watchers: dict[str, Watcher]
    book: Book
    settings: Settings
    stopped: threading.Event = field(default_factory=threading.Event)
    _asked: list[_Asked] = field(init=False)
    _delivering: Future[None] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._asked = [_Asked(name, watcher) for name, watcher in self.watchers.items()]

    def run(self) -> None:
        """Round after round until `stopped` is set, which ends it at once, whatever is under way."""
        beat(self.settings)
        while not self.stopped.is_set():
            try:
                with telemetry.timer("watch.round"):
                    self.round()
            except Exception:
                # Without a beat: if every round fails, the watch is not healthy.
                telemetry.count("watch.failed", watcher="round")
                _log.exception("a round of the watch failed: this is a defect")
            else:
                telemetry.count("watch.rounds")
                beat(self.settings)
            self.stopped.wait(self.settings.watch_interval_seconds)

    def round(self) -> None:
        """Ask whoever is free, enter what comes back in time, and see to what is to be delivered. What comes back later
        is entered by a later round, against the alerts that were open when it was asked."""
        self._ask(self.book.read(datetime.now(UTC)))
        deadline = time.monotonic() + self.settings.watch_look_seconds
        # Whoever hung in an earlier round is not waited for again, only heard if it comes back.
        fresh = [asked for asked in self._asked if asked.look is not None and not asked.is_late]
        while True:
            for asked in self._asked:
                if asked.look is not None and asked.look.done():
                    self._enter(asked)
            waited_for = [asked.look for asked in fresh if asked.look is not None]
            # In small steps, so that whoever ends the watch need not wait for whoever hangs.
            left = min(0.2, deadline - time.monotonic())
            if not waited_for or left <= 0 or self.stopped.is_set():
                break
            wait(waited_for, timeout=left, return_when="FIRST_COMPLETED")
        if not self.stopped.is_set():
            for asked in fresh:
                self._note_if_late(asked)
        if self._delivering is None or self._delivering.done():
            self._note_a_defect_of_the_last_delivery()
            self._delivering = in_a_thread(self.book.deliver)

    def _note_if_late(self, asked: _Asked) -> None:
        asked.is_late = asked.look is not None
        if asked.is_late:
            telemetry.count("watch.failed", watcher=asked.name)
            late = f"it has not come back within {self.settings.watch_look_seconds:g} s"
            _log.warning("%s cannot tell what is wrong, its alerts stay as they are: %s", asked.name, late)
            asked.said = late

    def _note_a_defect_of_the_last_delivery(self) -> None:
        error = None if self._delivering is None else self._delivering.exception()
        if error is not None:
            telemetry.count("watch.failed", watcher="delivery")
            _log.error("alerts could not be delivered: this is a defect", exc_info=error)

    def _ask(self, opened: Opened) -> None:
        """Let everybody look who is free."""
        for asked in self._asked:
            if asked.look is None and time.monotonic() >= asked.not_before:
                asked.opened, asked.is_late = opened, False
                asked.look = in_a_thread(functools.partial(asked.watcher.look, datetime.now(UTC)))

    def _enter(self, asked: _Asked) -> None:
        look, opened, asked.look = asked.look, asked.opened, None
        assert look is not None
        assert opened is not None
        try:
            breaches = look.result()
        except ConcordanceError as error:
            telemetry.count("watch.failed", watcher=asked.name)
            if asked.said != str(error):
                _log.warning("%s cannot tell what is wrong, its alerts stay as they are: %s", asked.name, error)
            asked.said = str(error)
            return
        except Exception:
            asked.failures += 1
            wait_seconds = min(
                self.settings.watch_back_off_seconds,
                self.settings.watch_interval_seconds * 2 ** min(asked.failures, 30),
            )
            asked.not_before = time.monotonic() + wait_seconds
            telemetry.count("watch.failed", watcher=asked.name)
            _log.exception("%s failed and looks again in %.0f s: this is a defect", asked.name, wait_seconds)
            return
        if asked.said:
            _log.info("%s can tell again what is wrong", asked.name)
        asked.failures, asked.said = 0, ""
        self.book.enter(breaches, decided=asked.watcher.kinds, opened=opened)


@contextmanager
def opened_watch(settings: Settings) -> Iterator[Watch]:
    """The watch on the ledger that the settings name. Raises `Misconfigured` for wrong limits."""
    watchers = watchers_of(settings)
    quick = quickly(settings)
    ledger: Ledger = open_ledger(quick)
    try:
        yield Watch(watchers, Book(ledger.alerting, quick), settings)
    finally:
        close(watchers)
        ledger.close()


def quickly(settings: Settings) -> Settings:
    """The same, but one that does not wait for a ledger that is away: the watch comes back to it every round."""
    seconds = min(settings.ledger_timeout_seconds, max(0.5, settings.watch_interval_seconds))
    return settings.model_copy(
        update={
            "retry_attempts": 1,
            "ledger_timeout_seconds": seconds,
            "call_timeout_seconds": seconds,
            "circuit_open_seconds": seconds,
        }
    )


def beat_file(settings: Settings) -> Path:
    """Touched by every round; its age says whether the watch lives."""
    return settings.state_dir / "watch" / "round"


def beat(settings: Settings) -> None:
    file = beat_file(settings)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        # On a full disk the watch still watches.
        _log.warning("the watch cannot touch %s (%s): its health check will fail", file, type(error).__name__)


def check(settings: Settings) -> float:
    """How many seconds ago the last round ended. Raises `Misconfigured` if it is too long ago, or there was none."""
    file = beat_file(settings)
    try:
        age = max(0.0, time.time() - file.stat().st_mtime)
    except OSError:
        raise Misconfigured(f"the watch has not run here ({file} is not there): start it") from None
    if age > settings.watch_silent_seconds:
        raise Misconfigured(f"the last round of the watch ended {age:.0f} s ago: see its log, and start it again")
    return age


def look_once(watchers: dict[str, Watcher], now: datetime) -> tuple[Sequence[Breach], dict[str, str]]:
    """What every watcher reports now, and of those that cannot tell why. Nothing is fired."""
    breaches: list[Breach] = []
    silent: dict[str, str] = {}
    for name, watcher in watchers.items():
        try:
            breaches += watcher.look(now)
        except ConcordanceError as error:
            silent[name] = str(error)
    return breaches, silent
