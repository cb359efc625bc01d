"""F01: a run dies at every named point; the same run again, or the next one, brings all three back in step."""

from __future__ import annotations

from pathlib import Path

import pytest

from concordance import fault_points
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.promises import converged
from simulation.world import World, quick_settings


@pytest.fixture
def world(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> World:
    """A source that was ingested, edited and ingested again: the next run writes, links, settles, hides and sweeps."""
    world = World(ledger, quick_settings(stack), seed=1, staging=tmp_path, parser=parser)
    world.shelf.documents.update(alpha="# Alpha\n\nStone and river.\n", beta="# Beta\n\nOne cloud.\n")
    assert world.run()
    world.shelf.documents["alpha"] = "# Alpha\n\nStone and river, edited. See [gamma](/gamma/one).\n"
    assert world.run()
    world.wait(world.settings.lease_seconds + world.settings.sweep_grace_seconds + 1)
    world.shelf.documents["gamma/one"] = "# Gamma\n\nThe target of a link that waits.\n"
    world.shelf.documents["alpha"] += "\nOnce more.\n"
    del world.shelf.documents["beta"]
    return world


@pytest.mark.parametrize("point", sorted(fault_points.POINTS))
def test_a_run_that_died_at_this_point_is_finished_by_the_same_run_again(world: World, point: str) -> None:
    world.kill_at = point
    assert not world.run()
    assert world.killed == 1
    world.kill_at = None
    world.quiet()
    assert world.run(again=True)
    converged(world)


@pytest.mark.parametrize("point", sorted(fault_points.POINTS))
def test_a_run_that_died_at_this_point_and_was_given_up_is_made_good_by_the_next_one(world: World, point: str) -> None:
    world.kill_at = point
    assert not world.run()
    world.kill_at = None
    world.quiet()
    assert world.run()
    converged(world)


def test_an_unknown_point_is_refused_so_that_none_escapes_this_matrix() -> None:
    with fault_points.hooked(lambda _: None), pytest.raises(AssertionError, match="unknown fault point"):
        fault_points.reach("graph.write.somewhere")
