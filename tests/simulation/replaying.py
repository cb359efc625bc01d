"""A history played in a new world, and what is told of one that fails: its seed, and the shortest that fails too."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from concordance.ledger import Ledger
from concordance.settings import Settings
from simulation.history import History, play, shrunk, told
from simulation.world import World
from support.ledgers import empty_ledger

FIRST = int(os.environ.get("CONCORDANCE_FIRST_SEED", "0"))

Replay = Callable[[History], list[str]]
W = TypeVar("W", bound=World)


def seeds(usual: int) -> list[int]:
    """The seeds of this test run: `usual` many, unless the environment says how many."""
    return [FIRST + number for number in range(int(os.environ.get("CONCORDANCE_SEEDS", usual)))]


def replay_in(stack: Settings, make: Callable[[Ledger], W], all_is_well: Callable[[W], None]) -> Replay:
    """Plays a history in the world that is made on an empty ledger and looks whether its promises hold; returns what
    was logged on the way, which a failure carries as well."""

    def once(history: History) -> list[str]:
        ledger = empty_ledger(stack)
        world = make(ledger)
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


def judge(history: History, replay: Replay, *, seed: int, file: str) -> None:
    """Replay it; of one that fails tell how to see it again, and what is left of it when all else is taken away."""
    try:
        replay(history)
    except Exception as error:
        short = shrunk(history, fails=lambda shorter: fails(replay, shorter))
        raise AssertionError(
            f"seed {seed} fails: CONCORDANCE_FIRST_SEED={seed} CONCORDANCE_SEEDS=1 python -m pytest "
            f"tests/simulation/{file}\nwhat is left of its history and still fails:\n{told(short)}"
        ) from error


def fails(replay: Replay, history: History) -> bool:
    try:
        replay(history)
    except Exception:
        return True
    return False


def times_of(settings: Settings) -> dict[str, float]:
    """What a history may wait for: that a lease ends, that a sweep may begin."""
    return {
        "lease": settings.source_lease_seconds,
        "sweep": settings.sweep_grace_seconds + settings.lease_seconds + 1,
    }
