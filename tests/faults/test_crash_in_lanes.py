"""F01 with two lanes: a run whose batches, and pages, overlap is struck at each point; the next one makes it good."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from concordance import fault_points
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.promises import converged
from simulation.world import POISON, World, quick_settings
from support.ledgers import connect, unflushed
from support.strikes import STRIKES, Strike, a_kill, a_lost_answer, struck_at
from support.trials import is_full

OVERLAPPING = fault_points.points_of(
    "batch.begin",
    "graph.write",
    "graph.links",
    "vectors.upsert",
    "batch.reject",
    "batch.verified",
    "batch.release",
    "graph.settle",
    "vectors.settle",
    "generation.settled",
)
DOCUMENTS = tuple(f"gamma/{number}" for number in range(5))


@pytest.fixture(scope="module", autouse=True)
def _unflushed(stack: Settings) -> Iterator[None]:
    with unflushed(stack):
        yield


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[World]:
    """Every document is a batch of its own, and a page of publish; two of them are under way at once."""
    settings = quick_settings(stack).model_copy(update={"batch_chunks": 1, "settle_chunks": 1, "load_lanes": 2})
    with World(ledger, settings, seed=1, parser=parser).turning() as world:
        yield world


def _edit(world: World, edition: str) -> None:
    """Each links to the next one, so that links wait for batches to come."""
    for uri, target in zip(DOCUMENTS, (*DOCUMENTS[1:], DOCUMENTS[0]), strict=True):
        world.edit(uri, f"# Stone {edition}\n\nOf {uri}: see [the next](/{target}).\n")


@pytest.mark.fault("F01", engine="memory")
@struck_at(OVERLAPPING, strikes=STRIKES if is_full() else (a_kill, a_lost_answer))
def test_a_run_in_two_lanes_struck_at_this_point_is_made_good_by_the_next_attempt(
    world: World, point: str, strike: Strike
) -> None:
    _edit(world, "one")
    assert world.run()
    _edit(world, "two")
    if point.startswith("batch.reject"):
        world.edit(DOCUMENTS[2], f"# Beta\n\nOne cloud of {POISON}.\n")
    if point.startswith("batch.release"):
        world.failing = frozenset({"upsert"})
    world.trap = point, lambda: strike(world, point, lambda: world.run(again=True))
    try:
        world.run()
    except RuntimeError:
        world.log.append("a defect")
    assert world.trapped == 1, f"the run did not pass {point}"
    world.quiet()
    assert world.run(again=True)
    converged(world)


def test_after_a_batch_failed_in_its_second_half_no_lease_is_left_of_the_one_behind_it(world: World) -> None:
    _edit(world, "one")
    world.failing = frozenset({"upsert"})
    assert not world.run()
    with connect(world.settings) as connection:
        (begun, leased) = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE lease_until > clock_timestamp()) FROM batches"
        ).fetchone() or (0, 0)
    assert (begun, leased) == (2, 0)
    world.failing = frozenset()
    assert world.run(again=True), "nothing is waited for"
    converged(world)
