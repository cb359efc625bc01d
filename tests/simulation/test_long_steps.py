"""Steps that take longer than a lease: who is at work keeps what it holds, and who was overtaken takes nothing back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from concordance.errors import Conflict, Leased
from concordance.ledger import Ledger
from concordance.model import RawDocument
from concordance.parsing.parser import Parser
from concordance.pipeline.extract import extract
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import PlanReference, RunRequest
from concordance.settings import Settings
from simulation.world import SOURCE, Shelf, World, quick_settings


class SlowShelf(Shelf):
    """A source that takes its time over each document; `while_reading` sees the number of each."""

    while_reading: Callable[[int], None] = staticmethod(lambda number: None)
    reads = 0

    def read(self, uri: str) -> RawDocument:
        self.reads += 1
        self.while_reading(self.reads)
        return super().read(uri)


@pytest.fixture
def slow() -> SlowShelf:
    return SlowShelf({f"note-{number}": f"# Note {number}\n\nA stone, number {number}.\n" for number in range(8)})


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser, slow: SlowShelf) -> Iterator[World]:
    """Eight documents, ingested; reading all of them once more takes two leases of the source."""
    with World(ledger, quick_settings(stack), seed=1, parser=parser, shelf=slow).turning() as world:
        assert world.run()
        slow.reads = 0
        yield world


def planned(world: World, name: str) -> PlanReference:
    """The plan of a run that reads everything."""
    request = RunRequest(SOURCE, name, mode="full", approved=True)
    return make_plan(request, adapters=world.adapters, settings=world.settings)


def refused_at_the_end_of(world: World) -> Callable[[int], None]:
    """Each document takes a quarter of a lease; by the seventh somebody else would like to ingest the source."""

    def while_reading(number: int) -> None:
        world.wait(world.settings.source_lease_seconds / 4)
        if number == 7:
            with pytest.raises(Leased, match="'slow'"):
                planned(world, "beside")

    return while_reading


def test_a_plan_that_reads_for_longer_than_its_lease_keeps_its_source(world: World, slow: SlowShelf) -> None:
    slow.while_reading = refused_at_the_end_of(world)
    assert planned(world, "slow").is_noop
    assert slow.reads == len(slow.documents)


def test_an_extract_that_reads_for_longer_than_its_lease_keeps_its_source(world: World, slow: SlowShelf) -> None:
    for uri in list(slow.documents):
        world.edit(uri, f"# {uri}\n\nA stone, edited.\n")
    plan = planned(world, "slow")
    slow.reads, slow.while_reading = 0, refused_at_the_end_of(world)
    assert extract(plan, 0, adapters=world.adapters, settings=world.settings).counts["extracted"] == 8


def test_a_plan_that_was_overtaken_while_it_read_stops_there_and_takes_nothing_back(
    world: World, slow: SlowShelf
) -> None:
    def while_reading(number: int) -> None:
        if number == 2:
            world.wait(world.longest_lease_seconds)
            assert world.run()

    slow.while_reading = while_reading
    with pytest.raises(Conflict, match="'slow' of source"):
        planned(world, "slow")
    assert slow.reads == 2
    assert planned(world, "next").is_noop
