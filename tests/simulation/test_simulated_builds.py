"""F02 and F20 for index versions: seeded histories of runs, erasures, builds, swaps, ways back and drops, on the memory
stores and a real ledger. Whatever goes wrong, a quiet run, a quiet build, a way back and a drop bring all in step.

The same environment variables as for the histories of runs alone choose the seeds.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from concordance.parsing.parser import Parser
from concordance.reindex.drop import begin_drop
from concordance.settings import Settings
from simulation.building_world import BuildingWorld, building_settings
from simulation.history import History, play, shrunk, told
from simulation.history_of_builds import written
from simulation.promises import converged, nothing_left_of
from simulation.test_simulated_histories import FIRST, fails
from support.ledgers import empty_ledger

SEEDS = range(int(os.environ.get("CONCORDANCE_SEEDS", "25")))
UNFINISHED = ("building", "ready", "live", "retired")

Replay = Callable[[History], list[str]]


@pytest.fixture
def replay(stack: Settings, parser: Parser) -> Replay:
    """Play a history in a new world and look whether its promises hold; returns what was logged on the way."""

    def once(history: History) -> list[str]:
        ledger = empty_ledger(stack)
        world = BuildingWorld(ledger, building_settings(stack), seed=0, parser=parser)
        try:
            with world.turning():
                play(history, world)
                all_is_well(world)
        except BaseException as error:
            error.add_note("\n".join(world.log))
            raise
        finally:
            ledger.close()
        return world.log

    return once


def all_is_well(world: BuildingWorld) -> None:
    """Everything that is unfinished is finished; each version that is there is sound, and each way leads on."""
    world.quiet()
    assert world.run(), "a run without faults did not come to its end"
    converged(world, versions=UNFINISHED)
    assert world.build(again=True) or world.build(), "a build without faults did not come to its end"
    assert world.run()
    converged(world, versions=UNFINISHED)
    assert world.build("strict"), "a build without faults did not come to its end"
    assert world.roll_back(), "there was nothing to go back to"
    assert world.run()
    converged(world, versions=UNFINISHED)
    for version in world.ledger.versions.all():
        if version.state != "live":
            begin_drop(version, adapters=world.adapters)
    world.wait(world.settings.lease_seconds + world.settings.sweep_grace_seconds + 1)
    assert world.drop_due(), "a version waits longer than its grace"
    converged(world)
    for version in world.ledger.versions.all():
        if version.state != "live":
            assert version.state == "dropped"
            nothing_left_of(world, version)


@pytest.mark.fault("F02", engine="memory, index versions")
@pytest.mark.parametrize("seed", [FIRST + number for number in SEEDS])
def test_after_any_history_the_versions_agree_and_one_is_live(replay: Replay, stack: Settings, seed: int) -> None:
    times = building_settings(stack)
    history = written(
        seed,
        times={
            "lease": times.source_lease_seconds,
            "sweep": times.sweep_grace_seconds + times.lease_seconds + 1,
        },
    )
    try:
        replay(history)
    except Exception as error:
        short = shrunk(history, fails=fails(replay))
        raise AssertionError(
            f"seed {seed} fails: CONCORDANCE_FIRST_SEED={seed} CONCORDANCE_SEEDS=1 python -m pytest "
            f"tests/simulation/test_simulated_builds.py\nwhat is left of its history and still fails:\n{told(short)}"
        ) from error
