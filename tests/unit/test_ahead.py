"""Work that is done ahead: the same results in the same order, in threads or in none, and no thread that stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from concordance.operations import correlation
from concordance.pipeline.ahead import ahead


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize(("count", "threads"), [(0, 1), (1, 1), (3, 2), (100, 4)])
def test_results_come_in_the_order_of_the_items_whatever_is_done_ahead(count: int, threads: int) -> None:
    # The first items are done last: each waits for its neighbour, as far as two threads work.
    done = [threading.Event() for _ in range(20)]

    def work(item: int) -> int:
        if count > 1 and item % 2 == 0:
            assert done[item + 1].wait(10)
        done[item].set()
        return item * item

    assert list(ahead(work, range(20), count=count, threads=threads)) == [item * item for item in range(20)]
    assert _threads() == []


def test_without_threads_an_item_is_touched_only_when_its_result_is_asked_for() -> None:
    seen: list[int] = []
    working = ahead(seen.append, iter(range(5)), count=0, threads=3)
    next(working)
    next(working)
    assert seen == [0, 1]


def test_no_more_items_are_taken_than_are_allowed_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    with closing(ahead(lambda item: item, items(), count=4, threads=2)) as working:
        for had in range(10):
            assert next(working) == had
            assert len(taken) <= had + 5


def test_an_error_is_raised_in_its_place_and_what_was_not_begun_is_dropped() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("the third one")
        return item

    working, had = ahead(work, range(1000), count=4, threads=2), []
    with pytest.raises(ValueError, match="the third one"):
        had.extend(working)
    assert had == [0, 1, 2]
    assert _threads() == []


def test_a_caller_that_stops_early_leaves_no_thread_behind() -> None:
    gate = threading.Event()

    def work(item: int) -> int:
        if item:
            assert gate.wait(10)
        return item

    with closing(ahead(work, range(100), count=8, threads=3)) as working:
        assert next(working) == 0
        gate.set()
    assert _threads() == []


def test_the_threads_carry_what_the_caller_carries() -> None:
    with correlation.bound(correlation_id="0123456789abcdef", run="r"):
        found = list(ahead(lambda _: correlation.current_id(), range(6), count=2, threads=2))
    assert found == ["0123456789abcdef"] * 6
