"""The circuit of one store: after so many failures in a row it is left alone for a while, then tried with one request.

Failures are outages only: a refused row, a lost race or a wrong password is an answer, and shows that the store is
there. pybreaker counts and keeps the states; each call is told to it in two short steps, because its own `call` holds a
lock for as long as the request takes, and the threads of a process would queue for each other. Time is monotonic here:
a clock that is set back does not keep a circuit open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import pybreaker
import structlog

from concordance.errors import Unavailable
from concordance.operations import telemetry

_log = structlog.get_logger(__name__)


class CircuitOpen(Unavailable):
    """The store failed too often in a row and is left alone; nothing was sent to it."""


class Condition(StrEnum):
    CLOSED = pybreaker.STATE_CLOSED
    OPEN = pybreaker.STATE_OPEN
    HALF_OPEN = pybreaker.STATE_HALF_OPEN


@dataclass(frozen=True, slots=True)
class CircuitState:
    """A circuit now. `opened_at` and `retry_after_seconds` (0: the next call is the trial) only while it is open."""

    condition: Condition
    failures_in_a_row: int
    failures_allowed: int
    opened_at: datetime | None = None
    retry_after_seconds: float = 0.0

    def __str__(self) -> str:
        if self.opened_at is None:
            return f"{self.condition}, {self.failures_in_a_row} of {self.failures_allowed} failures"
        return f"{self.condition} since {self.opened_at:%H:%M:%S} UTC, tried again in {self.retry_after_seconds:.0f} s"


class Circuit:
    """Thread-safe; of one process. `now` is a monotonic clock in seconds."""

    def __init__(
        self,
        store: str,
        *,
        address: str,
        failures: int,
        open_seconds: float,
        is_outage: Callable[[BaseException], bool],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._address = store, address
        self._open_seconds, self._now = open_seconds, now
        self._lock = threading.RLock()
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures,
            reset_timeout=open_seconds,
            exclude=[lambda error: not is_outage(error)],
            listeners=[_Report(self)],
            name=store,
            throw_new_error_on_trip=False,
        )
        # Raised with each change: the end of a request that began before it says nothing about what came after.
        self._changes = 0
        self._is_trying = False
        self._opened, self._opened_at = 0.0, datetime.fromtimestamp(0, UTC)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Let one request through and count how it ended. Raises `CircuitOpen`, and sends nothing, while it is open."""
        changes = self._admit()
        try:
            yield
        except Exception as error:
            self._ended(changes, error)
            raise
        except BaseException:
            # The attempt was stopped from outside: that says nothing about the store, and the next one may try it.
            self._ended_without_answer(changes)
            raise
        self._ended(changes, None)

    def state(self) -> CircuitState:
        """What the circuit is now."""
        with self._lock:
            condition = Condition(self._breaker.current_state)
            counts = (self._breaker.fail_counter, self._breaker.fail_max)
            if condition is Condition.CLOSED:
                return CircuitState(condition, *counts)
            return CircuitState(condition, *counts, self._opened_at, max(0.0, self._seconds_left()))

    def _admit(self) -> int:
        with self._lock:
            condition = Condition(self._breaker.current_state)
            if condition is Condition.OPEN and self._seconds_left() <= 0:
                self._breaker.half_open()
                condition = Condition.HALF_OPEN
            if condition is Condition.OPEN or (condition is Condition.HALF_OPEN and self._is_trying):
                raise CircuitOpen(self._says())
            self._is_trying = condition is Condition.HALF_OPEN
            return self._changes

    def _ended(self, changes: int, error: Exception | None) -> None:
        def outcome() -> None:
            if error is not None:
                raise error

        with self._lock:
            if changes != self._changes:
                return
            self._is_trying = False
            with suppress(Exception):
                # It counts the error and raises it again; our caller raises it too.
                self._breaker.call(outcome)

    def _ended_without_answer(self, changes: int) -> None:
        with self._lock:
            if changes == self._changes:
                self._is_trying = False

    def _seconds_left(self) -> float:
        return self._opened + self._open_seconds - self._now()

    def _says(self) -> str:
        left = self._seconds_left()
        when = "is being tried now" if left <= 0 else f"is tried again in {left:.0f} s"
        return (
            f"the {self._store} at {self._address} failed {self._breaker.fail_max} times in a row; this process leaves "
            f"it alone since {self._opened_at:%H:%M:%S} UTC, and it {when}. `python -m concordance status` asks it at "
            "once; when it is well again, wait or start the command anew"
        )

    def changed(self, condition: Condition) -> None:
        """Called by the breaker, within its lock and ours."""
        self._changes += 1
        self._is_trying = False
        if condition is Condition.OPEN:
            self._opened, self._opened_at = self._now(), datetime.now(UTC)
        log = _log.warning if condition is Condition.OPEN else _log.info
        log("a circuit changed", store=str(self._store), address=self._address, circuit=str(condition))
        telemetry.count("store.circuit", store=self._store, state=condition)


class _Report(pybreaker.CircuitBreakerListener):
    """Hands the breaker's changes to its circuit."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self._circuit.changed(Condition(new_state.name))
