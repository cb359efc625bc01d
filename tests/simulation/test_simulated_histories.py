"""F02: seeded histories on the memory stores and a real ledger: whatever goes wrong, a quiet run brings all in step.

`CONCORDANCE_SEEDS` is the number of seeds (`make simulate` takes 10,000), `CONCORDANCE_FIRST_SEED` the first of them. A
seed that fails prints the command that replays it, and the shortest history found that fails as well.
"""

from __future__ import annotations

import pytest

from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.history import written
from simulation.promises import converged
from simulation.replaying import judge, replay_in, seeds, times_of
from simulation.world import World, quick_settings


def all_is_well(world: World) -> None:
    world.quiet()
    assert world.run(), "a run without faults did not come to its end"
    converged(world)


@pytest.mark.fault("F02", engine="memory")
@pytest.mark.parametrize("seed", seeds(300))
def test_after_any_history_a_quiet_run_makes_the_three_equal_and_right(
    stack: Settings, parser: Parser, seed: int
) -> None:
    settings = quick_settings(stack)
    replay = replay_in(stack, lambda ledger: World(ledger, settings, seed=0, parser=parser), all_is_well)
    judge(written(seed, times=times_of(settings)), replay, seed=seed, file="test_simulated_histories.py")
