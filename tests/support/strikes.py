"""F01: what may befall an attempt at a named fault point, and the matrix of all points with all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest

from concordance.errors import OutcomeUnknown
from simulation.world import World

# The world, the point, and what another attempt does to its end.
Strike = Callable[[World, str, Callable[[], None]], None]


def an_exception(world: World, point: str, another_attempt: Callable[[], None]) -> None:
    raise RuntimeError(f"a defect at {point}")


def a_kill(world: World, point: str, another_attempt: Callable[[], None]) -> None:
    world.die(point)


def a_lost_answer(world: World, point: str, another_attempt: Callable[[], None]) -> None:
    """What was done is done, but whoever asked for it does not hear of it, however often it asks."""
    raise OutcomeUnknown(f"the answer was lost at {point}")


def a_hang_past_the_lease(world: World, point: str, another_attempt: Callable[[], None]) -> None:
    """Everybody takes the attempt for dead; another one does the work; then the first goes on as if nothing were."""
    world.hang_past_the_lease()
    world.failing = frozenset()
    another_attempt()


STRIKES = (an_exception, a_kill, a_lost_answer, a_hang_past_the_lease)


def struck_at(points: Iterable[str], *, strikes: Sequence[Strike] = STRIKES) -> pytest.MarkDecorator:
    """Parameters `point` and `strike`: every point with each strike; an answer is lost only after there was one."""
    pairs = [
        (point, strike)
        for point in sorted(points)
        for strike in strikes
        if strike is not a_lost_answer or point.endswith(".after")
    ]
    return pytest.mark.parametrize(("point", "strike"), pairs, ids=lambda each: getattr(each, "__name__", each))
