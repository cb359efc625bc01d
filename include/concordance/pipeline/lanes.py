"""Work of two halves on several items: one after the other, or the second half of one beside the first of the next.

First halves never run at the same time, nor do second ones, and each half runs in the order of the items: what is begun
and not done is at most two items. With one lane there is no thread at all, and nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

from concordance.operations.correlation import Threads

Item = TypeVar("Item")
Half = TypeVar("Half")
Done = TypeVar("Done")


def in_lanes(
    items: Iterable[Item],
    first: Callable[[Item], Half],
    second: Callable[[Half], Done],
    *,
    lanes: int,
    abandon: Callable[[Half, BaseException], None],
) -> list[Done]:
    """What `second` made of what `first` made of each item, in their order; `lanes` is 1 or 2.

    The error of the earliest item is raised, when no half is at work any more. `abandon` is told of an item whose
    first half was over when the one before it failed: nobody will go on with it.
    """
    if lanes == 1:
        return [second(first(item)) for item in items]
    done: list[Done] = []
    with Threads(1, thread_name_prefix="lane") as lane:
        behind: Future[Done] | None = None
        for item in items:
            try:
                half = first(item)
            except BaseException:
                if behind is not None:
                    behind.result()
                raise
            if behind is not None:
                try:
                    done.append(behind.result())
                except BaseException as error:
                    abandon(half, error)
                    raise
            behind = lane.submit(second, half)
        if behind is not None:
            done.append(behind.result())
    return done
