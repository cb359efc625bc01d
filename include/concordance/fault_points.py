"""Named points before and after every side effect, where tests make a run fail.

Outside tests no hook is set and a point costs one comparison. `POINTS` is the whole list: an unknown name is an error,
so that a new side effect is entered here before it can be reached, and the crash tests then cover it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

POINTS = frozenset(
    f"{effect}.{moment}"
    for effect in (
        "plan.make",
        "batch.begin",
        "graph.write",
        "graph.links",
        "vectors.upsert",
        "batch.verified",
        "run.publish",
        "graph.settle",
        "vectors.settle",
        "generation.settled",
        "vectors.sweep",
        "graph.sweep",
        "generation.swept",
    )
    for moment in ("before", "after")
)

_hook: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Pass a named point; a test's hook may raise here, kill the process or hang."""
    if _hook is not None:
        assert point in POINTS, f"unknown fault point {point!r}: add it to POINTS"
        _hook(point)


@contextmanager
def around(effect: str) -> Iterator[None]:
    """Pass `<effect>.before`, let the side effect happen, pass `<effect>.after`."""
    reach(f"{effect}.before")
    yield
    reach(f"{effect}.after")


@contextmanager
def hooked(hook: Callable[[str], None]) -> Iterator[None]:
    """Let `hook` see every point that is passed inside the block. For tests."""
    global _hook
    previous, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = previous
