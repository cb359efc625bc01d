"""Store calls are repeated in one layer, within the call's time."""

from __future__ import annotations

import pytest

from concordance.errors import BatchTooLarge, ConcordanceError, Misconfigured, OutcomeUnknown, Unavailable
from concordance.stores.retry import LostRace, RetryPolicy

QUICK = RetryPolicy(attempts=3, wait_seconds=0.0, wait_max_seconds=0.0)


class Failing:
    """Raises the given errors one after the other, then returns "done"."""

    def __init__(self, *errors: ConcordanceError) -> None:
        self.errors = list(errors)
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> str:
        self.seconds.append(seconds)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.mark.parametrize("error", [Unavailable("down"), OutcomeUnknown("cut off"), LostRace("second")])
def test_a_transient_error_is_tried_again(error: ConcordanceError) -> None:
    operation = Failing(error, error)
    assert QUICK.call(operation, timeout_seconds=30) == "done"
    assert len(operation.seconds) == 3


@pytest.mark.parametrize("error", [BatchTooLarge("halve it"), Misconfigured("wrong password")])
def test_an_error_that_would_come_again_is_raised_at_once(error: ConcordanceError) -> None:
    operation = Failing(error)
    with pytest.raises(type(error)):
        QUICK.call(operation, timeout_seconds=30)
    assert len(operation.seconds) == 1


def test_the_last_error_is_raised_when_the_attempts_are_used_up() -> None:
    operation = Failing(*(Unavailable(str(number)) for number in range(10)))
    with pytest.raises(Unavailable, match="2"):
        QUICK.call(operation, timeout_seconds=30)
    assert len(operation.seconds) == 3


def test_lost_races_do_not_count_as_attempts() -> None:
    operation = Failing(*(LostRace("second") for _ in range(8)), Unavailable("down"), Unavailable("down"))
    assert QUICK.call(operation, timeout_seconds=30) == "done"
    assert len(operation.seconds) == 11


def test_no_attempt_begins_after_the_time_of_the_call() -> None:
    slow = RetryPolicy(attempts=50, wait_seconds=10.0, wait_max_seconds=10.0)
    operation = Failing(*(Unavailable("down") for _ in range(50)))
    with pytest.raises(Unavailable):
        slow.call(operation, timeout_seconds=0.05)
    assert len(operation.seconds) == 1


def test_each_attempt_is_given_the_time_that_is_left() -> None:
    operation = Failing(Unavailable("down"), Unavailable("down"))
    QUICK.call(operation, timeout_seconds=30)
    assert operation.seconds == sorted(operation.seconds, reverse=True)
    assert 0 < operation.seconds[-1] <= operation.seconds[0] <= 30
