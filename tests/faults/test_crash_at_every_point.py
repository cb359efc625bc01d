"""F01: at every named point a run fails, dies, loses an answer or hangs past its lease; the next attempt makes it good.

`make faults` also lets the run be given up: then the next run makes it good, not another attempt of the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from concordance import fault_points
from concordance.errors import OutcomeUnknown
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.promises import converged
from simulation.world import POISON, World, quick_settings
from support.ledgers import connect, unflushed
from support.trials import is_full

Fault = Callable[[World, str], None]


def an_exception(world: World, point: str) -> None:
    raise RuntimeError(f"a defect at {point}")


def a_kill(world: World, point: str) -> None:
    world.die(point)


def a_lost_answer(world: World, point: str) -> None:
    """What was done is done, but whoever asked for it does not hear of it, however often it asks."""
    raise OutcomeUnknown(f"the answer was lost at {point}")


def a_hang_past_the_lease(world: World, point: str) -> None:
    """Everybody takes the attempt for dead; another one does the work; then the first goes on as if nothing were."""
    # A transaction that nobody goes on with is ended by the server (idle_in_transaction_session_timeout).
    with connect(world.settings) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE state = 'idle in transaction' AND datname = current_database()"
        )
    world.wait(world.longest_lease_seconds)
    world.failing = frozenset()
    assert world.run(again=True), "the second attempt did not come to its end"


FAULTS = (an_exception, a_kill, a_lost_answer, a_hang_past_the_lease)
# An answer can be lost only after there was one.
MATRIX = [
    (point, fault)
    for point in sorted(fault_points.RUN_POINTS)
    for fault in FAULTS
    if fault is not a_lost_answer or point.endswith(".after")
]


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
@pytest.mark.parametrize(("point", "fault"), MATRIX, ids=lambda each: getattr(each, "__name__", each))
def test_a_run_struck_at_this_point_is_made_good_by_the_next_attempt(
    world: World, point: str, fault: Fault, is_given_up: bool
) -> None:
    BEFORE.get(point.rpartition(".")[0], an_edit)(world)
    world.trap = point, lambda: fault(world, point)
    try:
        ended = world.run()
    except RuntimeError:
        ended = False
    assert world.trapped == 1, f"the run did not pass {point}"
    assert not ended or fault is a_hang_past_the_lease
    world.quiet()
    assert world.run(again=not is_given_up)
    converged(world)


def test_an_unknown_point_is_refused_so_that_none_escapes_this_matrix() -> None:
    with fault_points.hooked(lambda _: None), pytest.raises(AssertionError, match="unknown fault point"):
        fault_points.reach("graph.write.somewhere")
