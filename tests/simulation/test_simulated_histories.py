"""F02: seeded histories on the memory stores and a real ledger: whatever goes wrong, a quiet run brings all in step.

`CONCORDANCE_SEEDS` is the number of seeds (`make simulate` takes 10,000), `CONCORDANCE_FIRST_SEED` the first of them. A
seed that fails prints the command that replays it, and the shortest history found that fails as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.history import History, play, shrunk, told, written
from simulation.promises import converged
from simulation.world import World, quick_settings
from support.ledgers import empty_ledger

SEEDS = range(int(os.environ.get("CONCORDANCE_SEEDS", "300")))
FIRST = int(os.environ.get("CONCORDANCE_FIRST_SEED", "0"))

Replay = Callable[[History], list[str]]


@pytest.fixture
def replay(stack: Settings, parser: Parser) -> Replay:
    """Play a history in a new world and look whether its promises hold; returns what was logged on the way."""

    def once(history: History) -> list[str]:
        ledger = empty_ledger(stack)
        world = World(ledger, quick_settings(stack), seed=0, parser=parser)
        try:
            with world.turning():
                play(history, world)
                world.quiet()
                assert world.run(), "a run without faults did not come to its end"
                converged(world)
        except BaseException as error:
            error.add_note("\n".join(world.log))
            raise
        finally:
            ledger.close()
        return world.log

    return once


def fails(replay: Replay) -> Callable[[History], bool]:
    def check(history: History) -> bool:
        try:
            replay(history)
        except Exception:
            return True
        return False

    return check


@pytest.mark.fault("F02", engine="memory")
@pytest.mark.parametrize("seed", [FIRST + number for number in SEEDS])
def test_after_any_history_a_quiet_run_makes_the_three_equal_and_right(
    replay: Replay, stack: Settings, seed: int
) -> None:
    times = quick_settings(stack)
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
            f"seed {seed} fails: CONCORDANCE_FIRST_SEED={seed} CONCORDANCE_SEEDS=1 python -m pytest tests/simulation\n"
            f"what is left of its history and still fails:\n{told(short)}"
        ) from error
