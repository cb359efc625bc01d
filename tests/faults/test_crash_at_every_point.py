"""F01: at every named point a run fails, dies, loses an answer or hangs past its lease; the next attempt makes it good.

`make faults` also lets the run be given up: then the next run makes it good, not another attempt of the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from concordance import fault_points
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.promises import converged
from simulation.world import POISON, World, quick_settings
from support.ledgers import unflushed
from support.strikes import Strike, a_hang_past_the_lease, a_lost_answer, struck_at
from support.trials import is_full


@pytest.fixture(scope="module", autouse=True)
def _unflushed(stack: Settings) -> Iterator[None]:
    with unflushed(stack):
        yield


def everything_at_once(world: World) -> None:
    """A source that was ingested, edited and ingested again: the next run writes, links, settles, hides and sweeps."""
    world.edit("alpha", "# Alpha\n\nStone and river.\n")
    world.edit("beta", "# Beta\n\nOne cloud.\n")
    assert world.run()
    world.edit("alpha", "# Alpha\n\nStone and river, edited. See [gamma](/gamma/one).\n")
    assert world.run()
    world.wait(world.settings.lease_seconds + world.settings.sweep_grace_seconds + 1)
    world.edit("gamma/one", "# Gamma\n\nThe target of a link that waits.\n")
    world.edit("alpha", "# Alpha\n\nStone and river, edited. See [gamma](/gamma/one).\n\nOnce more.\n")
    world.edit("beta", None)


def an_edit(world: World) -> None:
    """One document is current and edited, another is gone."""
    world.edit("alpha", "# Alpha\n\nStone and river.\n")
    world.edit("beta", "# Beta\n\nOne cloud.\n")
    assert world.run()
    world.edit("alpha", "# Alpha\n\nStone and river, edited.\n")
    world.edit("beta", None)


def the_first_run_of_all(world: World) -> None:
    world.edit("alpha", "# Alpha\n\nStone and river.\n")


def nothing_new(world: World) -> None:
    the_first_run_of_all(world)
    assert world.run()


def a_document_that_the_graph_refuses(world: World) -> None:
    world.edit("alpha", "# Alpha\n\nStone and river.\n")
    world.edit("beta", f"# Beta\n\nOne cloud of {POISON}.\n")


def a_store_that_fails(world: World) -> None:
    the_first_run_of_all(world)
    world.failing = frozenset({"upsert"})


# What must go before for a run to pass the point; `an_edit` for all others.
BEFORE = {
    "graph.links": everything_at_once,
    "vectors.sweep": everything_at_once,
    "graph.sweep": everything_at_once,
    "generation.swept": everything_at_once,
    "index.schema": the_first_run_of_all,
    "index.create": the_first_run_of_all,
    "index.prepare": the_first_run_of_all,
    "index.live": the_first_run_of_all,
    "index.point": the_first_run_of_all,
    "plan.close": nothing_new,
    "batch.reject": a_document_that_the_graph_refuses,
    "batch.release": a_store_that_fails,
}


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[World]:
    with World(ledger, quick_settings(stack), seed=1, parser=parser).turning() as world:
        yield world


@pytest.mark.fault("F01", engine="memory")
@pytest.mark.parametrize("is_given_up", [False, True] if is_full() else [False])
@struck_at(fault_points.RUN_POINTS)
def test_a_run_struck_at_this_point_is_made_good_by_the_next_attempt(
    world: World, point: str, strike: Strike, is_given_up: bool
) -> None:
    def another_attempt() -> None:
        assert world.run(again=True), "the second attempt did not come to its end"

    BEFORE.get(point.rpartition(".")[0], an_edit)(world)
    world.trap = point, lambda: strike(world, point, another_attempt)
    try:
        ended = world.run()
    except RuntimeError:
        ended = False
    assert world.trapped == 1, f"the run did not pass {point}"
    # Figures that could not be told stop nobody: report tells them.
    assert not ended or strike is a_hang_past_the_lease or (point, strike) == ("plan.count.after", a_lost_answer)
    world.quiet()
    assert world.run(again=not is_given_up)
    converged(world)


def test_an_unknown_point_is_refused_so_that_none_escapes_this_matrix() -> None:
    with fault_points.hooked(lambda _: None), pytest.raises(AssertionError, match="unknown fault point"):
        fault_points.reach("graph.write.somewhere")
