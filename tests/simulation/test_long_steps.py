"""Steps that take longer than a lease: who is at work keeps what it holds, and who was overtaken takes nothing back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from concordance.errors import Conflict, Leased
from concordance.ledger import Ledger, open_ledger
from concordance.model import IndexVersion, RawDocument
from concordance.parsing.parser import Parser
from concordance.pipeline.extract import extract
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import PlanReference, RunRequest
from concordance.reindex import run as run_module
from concordance.settings import Settings
from simulation.building_world import BuildingWorld, building_settings
from simulation.promises import converged
from simulation.world import SOURCE, Shelf, World, quick_settings
from support.ledgers import connect
from support.waiting import wait_for

# Renewed for by the machine's own clock, beside a gate.
SHORT_LEASE_SECONDS = 3


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


@pytest.fixture
def builders(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[BuildingWorld]:
    """One document, ingested; the builder's place is given back after seconds."""
    settings = building_settings(stack).model_copy(update={"source_lease_seconds": SHORT_LEASE_SECONDS})
    with closing(open_ledger(settings)) as impatient:
        world = BuildingWorld(impatient, settings, seed=1, parser=parser)
        with world.turning():
            world.edit("alpha", "# Alpha\n\nStone and river.\n")
            assert world.run()
            yield world


@pytest.mark.parametrize("gate", ["check_parity", "check_relevance"])
def test_a_build_in_its_gates_keeps_its_place_past_its_lease(
    builders: BuildingWorld, gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another build that is made of something else would drop the version, and hours of work with it."""
    judge: Any = getattr(run_module, gate)

    def at_length(live: IndexVersion, version: IndexVersion, **given: Any) -> Any:
        if not builders.trapped:
            builders.trapped = 1
            with connect(builders.settings) as connection:
                first = connection.execute("SELECT lease_until FROM builder").fetchone()
                is_over = "SELECT clock_timestamp() > %s"
                wait_for(lambda: connection.execute(is_over, first).fetchone() == (True,), what="the lease's end")
            assert not builders.build("strict")
        return judge(live, version, **given)

    monkeypatch.setattr(run_module, gate, at_length)
    assert builders.build("longer")
    assert builders.trapped
    assert (builders.swaps, builders.live().settings.chunk_max_tokens) == (1, 80)
    builders.quiet()
    converged(builders, versions=("live", "retired"))


def test_a_build_that_was_overtaken_before_it_had_a_version_drops_nothing(builders: BuildingWorld) -> None:
    def another_one_is_done() -> None:
        builders.hang_past_the_lease()
        assert builders.build("strict", publish=False)

    builders.trap = "build.begin.after", another_one_is_done
    assert not builders.build("longer")
    assert [version.state for version in builders.ledger.versions.all()] == ["live", "ready"]
