"""The one layer that repeats a store call: both adapters' transient errors, within the call's time.

The drivers' own retries are off. All writes of the ports are idempotent, so a call whose outcome is unknown is simply
sent again. What is not repeated here: `BatchTooLarge` (the same batch fails again) and everything terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_before_delay, wait_exponential_jitter
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from concordance.errors import BatchTooLarge, Leased, Transient, Unavailable
from concordance.settings import Settings

T = TypeVar("T")

# A lost race (deadlock, concurrent change) ends as soon as the winner commits: short waits, and as many attempts as
# the call has time for. Counting them like outages would fail a batch that merely stood in a queue.
_RACE_WAIT_SECONDS = 0.02
_RACE_WAIT_MAX_SECONDS = 1.0


class LostRace(Unavailable):
    """Another transaction was first and this one was rolled back whole; seen by callers as `Unavailable`."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a call is repeated; waits double, each with as much jitter as the first."""

    attempts: int
    wait_seconds: float
    wait_max_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> RetryPolicy:
        return cls(settings.retry_attempts, settings.retry_wait_seconds, settings.retry_wait_max_seconds)

    def call(self, operation: Callable[[float], T], *, timeout_seconds: float) -> T:
        """`operation(seconds left)` until it returns, fails for good, or no time is left for another attempt.

        The last error is raised as it is.
        """
        deadline = time.monotonic() + timeout_seconds
        outages = 0

        def attempt() -> T:
            nonlocal outages
            try:
                return operation(max(deadline - time.monotonic(), 0.001))
            except LostRace:
                raise
            except Transient:
                outages += 1
                raise

        def is_worth_repeating(error: BaseException) -> bool:
            if isinstance(error, BatchTooLarge | Leased) or not isinstance(error, Transient):
                return False
            return isinstance(error, LostRace) or outages < self.attempts

        retrying = Retrying(
            retry=retry_if_exception(is_worth_repeating),
            stop=_stop(timeout_seconds),
            wait=_WaitByKind(self),
            reraise=True,
        )
        return retrying(attempt)


def _stop(timeout_seconds: float) -> stop_base:
    return stop_before_delay(timeout_seconds) | stop_after_attempt(10_000)


class _WaitByKind(wait_base):
    """Short waits after a lost race, the policy's after anything else."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._outage = wait_exponential_jitter(
            multiplier=policy.wait_seconds, max=policy.wait_max_seconds, jitter=policy.wait_seconds
        )
        self._race = wait_exponential_jitter(
            multiplier=_RACE_WAIT_SECONDS, max=_RACE_WAIT_MAX_SECONDS, jitter=_RACE_WAIT_SECONDS * 5
        )

    def __call__(self, retry_state: object) -> float:
        error = retry_state.outcome.exception()  # type: ignore[attr-defined]
        wait = self._race if isinstance(error, LostRace) else self._outage
        return wait(retry_state)  # type: ignore[arg-type]
