"""Named points before and after every side effect, where tests make a run fail.

Outside tests no hook is set and a point costs one comparison. `POINTS` is the whole list: an unknown name is an error,
so that a new side effect is entered here before it can be reached, and the crash tests then cover it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

RUN_EFFECTS = (
    "index.schema",
    "index.create",
    "index.prepare",
    "index.live",
    "index.point",
    "plan.draw",
    "artefact.put",
    "reference.put",
    "plan.make",
    "plan.close",
    "plan.quarantine",
    "batch.begin",
    "graph.write",
    "graph.links",
    "vectors.upsert",
    "batch.reject",
    "batch.verified",
    "batch.release",
    "run.publish",
    "graph.settle",
    "vectors.settle",
    "generation.settled",
    "vectors.sweep",
    "graph.sweep",
    "generation.swept",
    "run.finish",
    "plan.count",
)
ERASE_EFFECTS = ("erase.begin", "vectors.erase", "graph.erase", "artefacts.erase", "erase.done")
BUILD_EFFECTS = (
    "build.begin",
    "build.attach",
    "build.record",
    "build.finish",
    "version.ready",
    "version.swap",
    "version.retire",
    "version.forget",
    "version.dropped",
    "publishing.hold",
    "publishing.go",
    "vectors.defer",
    "vectors.hnsw",
    "vectors.drop",
    "graph.drop",
)
# A repair may be struck at each of these, and the next one finishes it (`tests/faults/test_repairs_struck.py`).
REPAIR_EFFECTS = (
    "repair.schema",
    "repair.describe",
    "repair.point",
    "repair.list",
    "repair.mark",
    "repair.graph",
    "repair.links",
    "repair.vectors",
    "repair.floor",
    "repair.remove",
    "repair.orphans",
    "repair.artefacts",
    "repair.reload",
    "ledger.rebuild",
)
# A maintenance may be struck at each of these, and the next one goes on (`tests/faults/test_struck_maintenance.py`).
MAINTENANCE_EFFECTS = (
    "artefacts.expire",
    "plans.expire",
    "runs.expire",
    "builds.expire",
    "alerts.expire",
    "logs.expire",
)

# Between a breach that somebody sees and the last word that is told of it (`tests/faults/test_crash_in_alerts.py`).
ALERT_EFFECTS = ("alert.fire", "alert.recover", "alert.adopt", "alert.claim", "alert.send", "alert.mark")


def points_of(*effects: str) -> frozenset[str]:
    """The names of the points before and after these effects."""
    return frozenset(f"{effect}.{moment}" for effect in effects for moment in ("before", "after"))


RUN_POINTS = points_of(*RUN_EFFECTS)
ERASE_POINTS = points_of(*ERASE_EFFECTS)
REPAIR_POINTS = points_of(*REPAIR_EFFECTS)
BUILD_POINTS = points_of(*BUILD_EFFECTS)
ALERT_POINTS = points_of(*ALERT_EFFECTS)
MAINTENANCE_POINTS = points_of(*MAINTENANCE_EFFECTS)
POINTS = RUN_POINTS | ERASE_POINTS | REPAIR_POINTS | BUILD_POINTS | ALERT_POINTS | MAINTENANCE_POINTS

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
