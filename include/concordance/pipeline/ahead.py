"""Work on what comes next while the caller is still at what came before: in order, bounded, in threads or in none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

from concordance.operations.correlation import Threads

Item = TypeVar("Item")
Done = TypeVar("Done")


def ahead(
    work: Callable[[Item], Done], items: Iterable[Item], *, count: int, threads: int
) -> Generator[Done, None, None]:
    """`work` of each item, in the order of the items, done for at most `count` of them before the caller asks.

    `count` 0: each in the caller's own thread, when it is asked for. An error is raised in the place of its item. To be
    closed by a caller that may stop early: what was not begun is dropped then, what was is waited for, and no thread is
    left.
    """
    if not count:
        yield from map(work, items)
        return
    waiting: deque[Future[Done]] = deque()
    pool = Threads(max_workers=min(threads, count), thread_name_prefix="ahead")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
