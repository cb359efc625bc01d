"""A batch goes in although some of it is refused: the refused ones stand alone, at a bounded number of writes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest

from concordance.errors import BatchTooLarge, PoisonDocument, Unavailable
from concordance.pipeline.isolation import Refusal, write_isolating


@dataclass
class Picky:
    """A store that refuses some numbers, for a reason that names them, and batches beyond a size."""

    refused: Collection[int] = ()
    most: int = 10_000
    writes: list[Sequence[int]] = field(default_factory=list)
    put_aside: dict[int, Refusal] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)

    def write(self, numbers: Sequence[int]) -> None:
        self.writes.append(numbers)
        if len(numbers) > self.most:
            raise BatchTooLarge(f"{len(numbers)} at once")
        if refused := [number for number in numbers if number in self.refused]:
            raise PoisonDocument(f"number {refused[0]} is refused", reason="store_refused")
        self.held.extend(numbers)

    def refuse(self, number: int, error: Refusal) -> None:
        assert number not in self.put_aside
        self.put_aside[number] = error

    def load(self, count: int) -> Picky:
        written = write_isolating(range(count), self.write, self.refuse)
        assert list(written) == self.held == [number for number in range(count) if number not in self.put_aside]
        return self

    @property
    def extra(self) -> int:
        return len(self.writes) - 1


def share(count: int) -> int:
    """ceil(log2 n) + 1"""
    return (count - 1).bit_length() + 1


@pytest.mark.parametrize("count", range(1, 11))
def test_every_choice_of_refused_ones_is_found_within_its_share_of_writes(count: int) -> None:
    for refused in itertools.chain.from_iterable(
        itertools.combinations(range(count), size) for size in range(count + 1)
    ):
        store = Picky(refused).load(count)
        assert store.put_aside.keys() == set(refused)
        assert store.extra <= len(refused) * share(count)


@pytest.mark.parametrize("size", [1, 2, 5, 50, 250, 499, 500])
def test_so_many_of_five_hundred_wherever_they_stand(size: int) -> None:
    for seed in range(20):
        refused = random.Random(seed).sample(range(500), size)
        store = Picky(refused).load(500)
        assert store.put_aside.keys() == set(refused)
        assert store.extra <= size * share(500)


@pytest.mark.parametrize("count", [500, 512])
def test_one_of_many_costs_its_share_at_the_worst_place(count: int) -> None:
    assert max(Picky({place}).load(count).extra for place in range(count)) == share(count)


@pytest.mark.parametrize("count", [500, 512])
def test_a_batch_of_refused_ones_alone_costs_little_more_than_one_write_each(count: int) -> None:
    assert Picky(range(count)).load(count).extra <= count + 5 * share(count)


def test_nothing_is_put_aside_for_another_s_fault() -> None:
    store = Picky({3, 4, 400}).load(500)
    for number, error in store.put_aside.items():
        assert str(error) == f"number {number} is refused"


def test_a_batch_that_is_too_large_is_halved_and_nobody_is_blamed() -> None:
    store = Picky(most=100).load(500)
    assert store.put_aside == {}
    assert [len(each) for each in store.writes[:4]] == [500, 250, 125, 62]
    assert all(len(each) <= 62 for each in store.writes[3:])


def test_too_large_and_refused_at_once() -> None:
    store = Picky({3, 77, 400}, most=100).load(500)
    assert store.put_aside.keys() == {3, 77, 400}


def test_only_what_is_too_large_alone_is_put_aside_for_it() -> None:
    store = Picky(most=0).load(3)
    assert store.put_aside.keys() == {0, 1, 2}
    assert all(isinstance(error, BatchTooLarge) for error in store.put_aside.values())


def test_any_other_error_ends_it_and_blames_nobody() -> None:
    store = Picky({5})

    def write(numbers: Sequence[int]) -> None:
        store.write(numbers)
        raise Unavailable("down")

    with pytest.raises(Unavailable):
        write_isolating(range(8), write, store.refuse)
    assert store.put_aside == {}


def test_an_empty_batch_writes_nothing() -> None:
    assert Picky().load(0).writes == []
