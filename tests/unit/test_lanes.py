"""Two halves of the work on each of several items, in one lane or in two."""

from __future__ import annotations

import threading

import pytest

from concordance.operations import correlation
from concordance.pipeline.lanes import in_lanes

SECONDS = 30


def _no_one(half: object, error: BaseException) -> None:
    raise AssertionError(f"{half} was abandoned")


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_item_goes_through_both_halves_and_what_comes_out_is_in_their_order(lanes: int, count: int) -> None:
    firsts: list[int] = []
    seconds: list[int] = []

    def first(item: int) -> int:
        firsts.append(item)
        return item

    def second(item: int) -> str:
        seconds.append(item)
        return str(item)

    done = in_lanes(range(count), first, second, lanes=lanes, abandon=_no_one)
    assert done == [str(item) for item in range(count)]
    assert firsts == seconds == list(range(count))


def test_one_lane_has_no_thread_and_ends_an_item_before_it_begins_the_next() -> None:
    steps: list[tuple[str, int, int]] = []

    def half(name: str, item: int) -> int:
        steps.append((name, item, threading.get_ident()))
        return item

    in_lanes(range(2), lambda item: half("first", item), lambda item: half("second", item), lanes=1, abandon=_no_one)
    assert [step[:2] for step in steps] == [("first", 0), ("second", 0), ("first", 1), ("second", 1)]
    assert {thread for _, _, thread in steps} == {threading.get_ident()}


def test_with_two_lanes_the_next_item_is_begun_while_the_one_before_it_is_finished() -> None:
    next_is_begun, is_being_finished = threading.Event(), threading.Event()

    def first(item: int) -> int:
        if item == 1:
            assert is_being_finished.wait(SECONDS)
            next_is_begun.set()
        return item

    def second(item: int) -> int:
        if item == 0:
            is_being_finished.set()
            assert next_is_begun.wait(SECONDS)
        return item

    assert in_lanes(range(2), first, second, lanes=2, abandon=_no_one) == [0, 1]


def test_never_more_than_two_items_are_begun_and_not_done() -> None:
    open_items: set[int] = set()
    most = 0

    def first(item: int) -> int:
        nonlocal most
        open_items.add(item)
        most = max(most, len(open_items))
        return item

    def second(item: int) -> None:
        open_items.remove(item)

    in_lanes(range(50), first, second, lanes=2, abandon=_no_one)
    assert most <= 2
    assert open_items == set()


@pytest.mark.parametrize("lanes", [1, 2])
def test_after_a_second_half_failed_nothing_more_is_begun_and_what_was_begun_is_abandoned_once(lanes: int) -> None:
    begun: list[int] = []
    abandoned: list[tuple[int, str]] = []

    def first(item: int) -> int:
        begun.append(item)
        return item

    def second(item: int) -> None:
        if item == 1:
            raise ValueError("of item 1")

    with pytest.raises(ValueError, match="of item 1"):
        in_lanes(range(9), first, second, lanes=lanes, abandon=lambda half, e: abandoned.append((half, str(e))))
    assert begun == [0, 1, 2][: lanes + 1]
    assert abandoned == [(2, "of item 1")][: lanes - 1]


@pytest.mark.parametrize("lanes", [1, 2])
def test_when_a_first_half_fails_the_item_before_it_is_finished_first(lanes: int) -> None:
    finished: list[int] = []

    def first(item: int) -> int:
        if item == 2:
            raise ValueError("of item 2")
        return item

    with pytest.raises(ValueError, match="of item 2"):
        in_lanes(range(9), first, finished.append, lanes=lanes, abandon=_no_one)
    assert finished == [0, 1]


def test_when_both_lanes_fail_the_error_of_the_earlier_item_is_raised() -> None:
    both = threading.Barrier(2, timeout=SECONDS)

    def first(item: int) -> int:
        if item == 1:
            both.wait()
            raise ValueError("of item 1")
        return item

    def second(item: int) -> None:
        both.wait()
        raise KeyError("of item 0")

    with pytest.raises(KeyError, match="of item 0"):
        in_lanes(range(2), first, second, lanes=2, abandon=_no_one)


def test_both_lanes_carry_the_ids_of_the_run() -> None:
    seen: list[str | None] = []
    with correlation.bound(correlation_id="0123456789abcdef"):
        in_lanes(
            range(2),
            lambda item: seen.append(correlation.current_id()),
            lambda half: seen.append(correlation.current_id()),
            lanes=2,
            abandon=_no_one,
        )
    assert seen == ["0123456789abcdef"] * 4
