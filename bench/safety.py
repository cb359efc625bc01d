"""What safety costs: the steps of the commit protocol that write nothing to a store, against those that do.

Both are read off one and the same load, at the named fault points that it passes, so that nothing else is compared.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

WRITES = ("graph.write", "graph.links", "vectors.upsert")
SAFETY = ("batch.begin", "read back", "batch.verified", "run.publish")
SETTLE = ("graph.settle", "vectors.settle", "generation.settled")


@dataclass
class Stopwatch:
    """A hook for `fault_points.hooked`: seconds between the points before and after each effect, summed by effect.

    A batch reads back between the answer of its last upsert and its `batch.verified`.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=dict)

    def __call__(self, point: str) -> None:
        now = time.perf_counter()
        effect, _, moment = point.rpartition(".")
        if moment == "before":
            self._began[effect] = now
        else:
            self._add(effect, now)
        if point == "vectors.upsert.after":
            self._began["read back"] = now
        elif point == "batch.verified.before":
            self._add("read back", now)

    def _add(self, effect: str, now: float) -> None:
        self.seconds[effect] = self.seconds.get(effect, 0.0) + now - self._began.pop(effect)

    def total(self, effects: tuple[str, ...]) -> float:
        return sum(self.seconds.get(effect, 0.0) for effect in effects)
