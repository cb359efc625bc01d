"""How much one request carries, by how long the last ones took: pure but for its lock.

A request that was answered well within the wanted time doubles what the next one carries; one that took longer shrinks
it at once in proportion, also when it failed after that time. So a quick store is asked in few large requests, and one
that is slow still answers each of them in time. A quick failure is a refusal and says nothing of the size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A request twice as large takes about twice as long.
_WELL_WITHIN = 0.5


class Sizing:
    """The rows of the next request of one kind to one store, `least` to `most`. Thread-safe."""

    def __init__(
        self, *, least: int, most: int, start: int, wanted_seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._least, self._most = min(least, most), most
        self._rows = min(max(start, self._least), most)
        self._wanted_seconds = wanted_seconds
        self._now = now
        self._lock = threading.Lock()

    @property
    def rows(self) -> int:
        """At most so many in the next request."""
        return self._rows

    @contextmanager
    def measured(self, rows: int) -> Iterator[None]:
        """Around one request of so many rows: how long it took decides the next one's size."""
        began = self._now()
        is_answered = False
        try:
            yield
            is_answered = True
        finally:
            seconds = self._now() - began
            if seconds > self._wanted_seconds:
                self.shrink_to(int(rows * self._wanted_seconds / seconds))
            elif is_answered and seconds <= self._wanted_seconds * _WELL_WITHIN:
                self._grow_from(rows)

    def shrink_to(self, rows: int) -> None:
        """No more than so many in the next request, but the least: the store has refused more for their size."""
        with self._lock:
            self._rows = max(self._least, min(self._rows, rows))

    def _grow_from(self, rows: int) -> None:
        with self._lock:
            # A smaller request says nothing of larger ones.
            if rows >= self._rows:
                self._rows = min(self._most, 2 * self._rows)
