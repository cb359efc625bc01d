"""How calls of the graph, the vectors and the ledger are repeated, when a store is left alone, and who repeats what.

`RULES` is the one table: each error class, who repeats it, and whether it counts as an outage. An error is repeated in
exactly one place; the drivers' own retries are off. Every write of the ports is idempotent and every ledger operation
is one transaction, so that a call whose outcome is unknown is simply sent again, the same rows.

One `StoreCalls` belongs to one opened adapter of one process: its circuit and its connections are shared with nobody.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay

from concordance.circuit import Circuit, CircuitOpen
from concordance.errors import BatchTooLarge, Leased, OutcomeUnknown, PoisonDocument, Terminal, Transient, Unavailable
from concordance.operations import telemetry
from concordance.settings import ENVIRONMENT_PREFIX, Settings

T = TypeVar("T")

# After an outage each wait may be this many times as long as the one before: five attempts span a restart of a store,
# not a second.
_GROWTH = 4
# A lost race (deadlock, concurrent change) ends as soon as the winner commits: short waits, and as many attempts as
# the call has time for. Counting them like outages would fail a batch that merely stood in a queue.
_RACE_WAIT_SECONDS = 0.02
_RACE_WAIT_MAX_SECONDS = 1.0
_RACE_GROWTH = 2
_MOST_ATTEMPTS = 10_000


class Store(StrEnum):
    """What is called over a wire."""

    GRAPH = "graph"
    VECTORS = "vectors"
    LEDGER = "ledger"


class LostRace(Unavailable):
    """Another transaction was first and this one was rolled back whole; seen by callers as `Unavailable`."""


class PoolExhausted(Unavailable):
    """Every connection of this process to a store is in use, for longer than a call may wait for one."""


class By(StrEnum):
    """Who repeats what failed."""

    CALL = "the call itself: with growing waits, for as many attempts as the settings allow"
    RACE = "the call itself: at once, for as long as its time lasts"
    BATCH = "the load of the batch: halved, isolated, or after the other attempt's lease"
    TASK = "the orchestrator, or the next run"
    NOBODY = "nobody: it would fail again"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table. `is_outage`: it counts towards the store's circuit, and towards a call's attempts."""

    error: type[Exception]
    by: By
    is_outage: bool = False


# The first row whose class fits decides.
RULES = (
    Rule(LostRace, By.RACE),
    Rule(CircuitOpen, By.TASK),
    Rule(PoolExhausted, By.TASK),
    Rule(Unavailable, By.CALL, is_outage=True),
    Rule(OutcomeUnknown, By.CALL, is_outage=True),
    Rule(BatchTooLarge, By.BATCH),
    Rule(Leased, By.BATCH),
    Rule(PoisonDocument, By.BATCH),
    Rule(Transient, By.TASK),
    Rule(Terminal, By.NOBODY),
    # Not one of ours: a defect, which no repetition mends.
    Rule(Exception, By.NOBODY),
)


def rule_of(error: BaseException) -> Rule:
    """The row of an error; what is no exception at all (an interrupt) is repeated by nobody."""
    return next((rule for rule in RULES if isinstance(error, rule.error)), RULES[-1])


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say about one store. `timeout_seconds` bounds one answer, `call_timeout_seconds` a call with
    all its attempts."""

    store: Store
    timeout_seconds: float
    call_timeout_seconds: float
    attempts: int
    wait_seconds: float
    wait_max_seconds: float
    circuit_failures: int
    circuit_open_seconds: float
    connections: int
    acquire_seconds: float

    @classmethod
    def of(cls, settings: Settings, store: Store) -> Policy:
        return cls(
            store=store,
            timeout_seconds=getattr(settings, f"{store}_timeout_seconds"),
            call_timeout_seconds=settings.call_timeout_seconds,
            attempts=settings.retry_attempts,
            wait_seconds=settings.retry_wait_seconds,
            wait_max_seconds=settings.retry_wait_max_seconds,
            circuit_failures=settings.circuit_failures,
            circuit_open_seconds=settings.circuit_open_seconds,
            connections=getattr(settings, f"{store}_pool_connections"),
            acquire_seconds=settings.pool_acquire_seconds,
        )


class StoreCalls:
    """The calls of one adapter to its store: repeated by `RULES`, kept back while the circuit is open. Thread-safe."""

    def __init__(self, policy: Policy, *, address: str, now: Callable[[], float] = time.monotonic) -> None:
        self.policy = policy
        self.circuit = Circuit(
            policy.store,
            address=address,
            failures=policy.circuit_failures,
            open_seconds=policy.circuit_open_seconds,
            is_outage=lambda error: rule_of(error).is_outage,
            now=now,
        )
        self._free = threading.BoundedSemaphore(policy.connections)

    def call(
        self, operation: Callable[[float], T], *, timeout_seconds: float | None = None, keeps_connection: bool = False
    ) -> T:
        """`operation(seconds left)` until it returns, fails for good, or no time is left for another attempt.

        Each attempt holds one of the process's connections to the store and passes the circuit. With
        `keeps_connection` the one of the attempt that succeeded is the caller's, to give back. The last error is raised
        as it is; `PoolExhausted` when no connection comes free in time, `CircuitOpen` while the store is left alone.
        """
        seconds = self.policy.call_timeout_seconds if timeout_seconds is None else timeout_seconds
        deadline = time.monotonic() + seconds
        failed = {By.CALL: 0, By.RACE: 0}

        def attempt() -> T:
            self._take_connection(deadline - time.monotonic())
            is_kept = False
            try:
                with self.circuit.attempt():
                    if any(failed.values()):
                        telemetry.count("store.retried", store=self.policy.store)
                    result = operation(max(deadline - time.monotonic(), 0.001))
                is_kept = keeps_connection
                return result
            finally:
                if not is_kept:
                    self.give_connection_back()

        def is_worth_repeating(error: BaseException) -> bool:
            by = rule_of(error).by
            if by not in failed:
                return False
            failed[by] += 1
            return by is By.RACE or failed[by] < self.policy.attempts

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            if error is not None and rule_of(error).by is By.RACE:
                return _drawn(_RACE_WAIT_SECONDS, _RACE_WAIT_MAX_SECONDS, _RACE_GROWTH ** min(failed[By.RACE] - 1, 30))
            return _drawn(
                self.policy.wait_seconds, self.policy.wait_max_seconds, _GROWTH ** min(failed[By.CALL] - 1, 30)
            )

        retrying = Retrying(
            retry=retry_if_exception(is_worth_repeating),
            stop=stop_before_delay(seconds) | stop_after_attempt(_MOST_ATTEMPTS),
            wait=wait,
            reraise=True,
        )
        return retrying(attempt)

    def _take_connection(self, seconds: float) -> None:
        store, waited = self.policy.store, max(0.0, min(self.policy.acquire_seconds, seconds))
        if not self._free.acquire(timeout=waited):
            raise PoolExhausted(
                f"all {self.policy.connections} connections of this process to the {store} were in use for "
                f"{waited:.1f} s: raise {ENVIRONMENT_PREFIX}{store.upper()}_POOL_CONNECTIONS, or do less at once"
            )

    def give_connection_back(self) -> None:
        self._free.release()


def _drawn(least: float, most: float, growth: int) -> float:
    """Seconds to wait: drawn between the least and what has grown, so that those who failed together do not come back
    together."""
    return random.uniform(least, max(least, min(most, least * growth)))  # noqa: S311 - spreads load, no secret
