"""How much a request carries, by how long the last ones took."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance.stores.sizing import Sizing


@dataclass
class SlowStore:
    """Takes so long for each row, and gives up on a request after `patience_seconds`. Its time is its own."""

    seconds_a_row: float
    patience_seconds: float = 5
    now: float = 0
    asked: list[int] = field(default_factory=list)

    def write(self, sizing: Sizing, left: int) -> int:
        """Returns how many rows it took of those that are left."""
        rows = min(left, sizing.rows)
        self.asked.append(rows)
        with sizing.measured(rows):
            self.now += min(rows * self.seconds_a_row, self.patience_seconds)
            if rows * self.seconds_a_row > self.patience_seconds:
                raise TimeoutError
        return rows


def sizing_of(store: SlowStore, *, least: int = 32, most: int = 5_000, start: int = 1_000) -> Sizing:
    return Sizing(least=least, most=most, start=start, wanted_seconds=1, now=lambda: store.now)


def write_all(store: SlowStore, sizing: Sizing, rows: int) -> None:
    while rows:
        rows -= store.write(sizing, rows)


def test_a_quick_store_is_asked_in_requests_that_double_up_to_the_limit() -> None:
    store = SlowStore(seconds_a_row=0.00001)
    write_all(store, sizing_of(store), 15_000)
    assert store.asked == [1_000, 2_000, 4_000, 5_000, 3_000]


def test_a_store_that_becomes_slow_is_asked_for_as_much_as_it_answers_in_time_with_the_very_next_request() -> None:
    store = SlowStore(seconds_a_row=0.002)
    sizing = sizing_of(store)
    write_all(store, sizing, 5_000)
    assert store.asked[:2] == [1_000, 500]
    assert all(rows * 0.002 <= 1 for rows in store.asked[1:])
    store.seconds_a_row = 0.00001
    store.write(sizing, 5_000)
    assert sizing.rows == 1_000


def test_what_was_too_much_for_the_patience_of_a_call_is_sent_in_less_when_it_is_repeated() -> None:
    store = SlowStore(seconds_a_row=0.02)
    sizing = sizing_of(store)
    with pytest.raises(TimeoutError):
        store.write(sizing, 1_000)
    write_all(store, sizing, 1_000)
    assert max(store.asked[1:]) * 0.02 <= store.patience_seconds


def test_a_quick_refusal_says_nothing_of_the_size() -> None:
    sizing = sizing_of(SlowStore(0))
    with pytest.raises(ValueError, match="refused"), sizing.measured(1_000):
        raise ValueError("refused")
    assert sizing.rows == 1_000


def test_a_small_request_that_is_quick_does_not_make_the_next_one_larger() -> None:
    store = SlowStore(seconds_a_row=0.00001)
    sizing = sizing_of(store)
    write_all(store, sizing, 999)
    assert sizing.rows == 1_000


def test_a_limit_below_the_least_size_holds() -> None:
    assert sizing_of(SlowStore(0), least=32, most=7).rows == 7


@given(
    paces=st.lists(st.floats(0, 0.1), min_size=1, max_size=50),
    least=st.integers(1, 100),
    most=st.integers(1, 5_000),
    start=st.integers(1, 5_000),
)
def test_whatever_the_store_does_a_request_stays_within_the_limits(
    paces: list[float], least: int, most: int, start: int
) -> None:
    store = SlowStore(0, patience_seconds=1_000)
    sizing = sizing_of(store, least=least, most=most, start=start)
    for pace in paces:
        store.seconds_a_row = pace
        store.write(sizing, 10_000)
        assert min(least, most) <= sizing.rows <= most
