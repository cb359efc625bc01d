"""F02 and F20 for index versions: seeded histories of runs, erasures, builds, swaps, ways back and drops, on the memory
stores and a real ledger. Whatever goes wrong, a quiet run, a quiet build, a way back and a drop bring all in step.

The same environment variables as for the histories of runs alone choose the seeds.
"""

from __future__ import annotations

import pytest

from concordance.parsing.parser import Parser
from concordance.reindex.drop import begin_drop
from concordance.settings import Settings
from simulation.building_world import BuildingWorld, building_settings
from simulation.history_of_builds import written
from simulation.promises import converged, nothing_left_of
from simulation.replaying import judge, replay_in, seeds, times_of

UNFINISHED = ("building", "ready", "live", "retired")


def all_is_well(world: BuildingWorld) -> None:
    """Everything that is unfinished is finished; each version that is there is sound, and each way leads on."""
    world.quiet()
    assert world.run(), "a run without faults did not come to its end"
    converged(world, versions=UNFINISHED)
    assert world.build(again=True) or world.build(), "a build without faults did not come to its end"
    assert world.run()
    converged(world, versions=UNFINISHED)
    published_by_other_settings(world)
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


def published_by_other_settings(world: BuildingWorld) -> None:
    """A build by settings that refuse some documents carries these over, unless somebody has emptied the staging area
    since they were cut. Then it is not published, until a build by other settings has cut them anew."""
    if world.build("strict"):
        return
    assert world.has_lost_artefacts, "a build without faults did not come to its end"
    assert "cannot be made again" in world.log[-1]
    converged(world, versions=UNFINISHED)
    assert world.build(), "a build without faults did not come to its end"
    assert world.build("strict"), "what was cut anew is not carried over"


@pytest.mark.fault("F02", engine="memory, index versions")
@pytest.mark.parametrize("seed", seeds(25))
def test_after_any_history_the_versions_agree_and_one_is_live(stack: Settings, parser: Parser, seed: int) -> None:
    settings = building_settings(stack)
    replay = replay_in(stack, lambda ledger: BuildingWorld(ledger, settings, seed=0, parser=parser), all_is_well)
    judge(written(seed, times=times_of(settings)), replay, seed=seed, file="test_simulated_builds.py")
