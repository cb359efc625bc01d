"""One collection: the engine's shard and what may run on it when.

Writers go one at a time (`writing`); every engine call holds `_engine` for its duration, so that the shard can be
exchanged for its optimised copy between two calls. An operation is in the engine's log, in the file system's cache,
before its call returns: a kill of the process loses nothing that was answered; the flush on an interval bounds what a
loss of power can take and the log that a restart replays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qdrant_edge import CountRequest, EdgeShard, Filter, HasVectorCondition, UpdateOperation

from concordance.local.gateway.limits import (
    FLUSH_SECONDS,
    MAX_JOURNAL_BYTES,
    OPTIMISE_AFTER_BUSY_SECONDS,
    OPTIMISE_AFTER_QUIET_SECONDS,
)
from concordance.local.gateway.refusals import Refused, of_engine
from concordance.local.gateway.schema import Schema

if TYPE_CHECKING:
    from qdrant_edge import ShardInfo  # in the stubs only

T = TypeVar("T")


@dataclass(slots=True)
class Journal:
    """The operations since a copy of the shard was taken, to be applied to the copy."""

    operations: list[UpdateOperation] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def is_overfull(self) -> bool:
        return self.size_bytes > MAX_JOURNAL_BYTES

    def add(self, operations: Sequence[UpdateOperation], size_bytes: int) -> None:
        self.size_bytes += size_bytes
        if self.is_overfull:
            self.operations.clear()
        else:
            self.operations += operations

    def take(self) -> list[UpdateOperation]:
        taken, self.operations, self.size_bytes = self.operations, [], 0
        return taken


@dataclass(frozen=True, slots=True)
class Standing:
    """How a collection stands: `is_settled` when no optimisation is due or running."""

    info: ShardInfo
    is_settled: bool


class Collection:
    """A shard in `folder`, shared by all request threads."""

    def __init__(self, shard: EdgeShard, *, folder: Path, schema: Schema, is_outdated: bool = False) -> None:
        self.folder = folder
        self.schema = schema
        # Its HNSW was built with other parameters than it has now.
        self.is_outdated = is_outdated
        self.writing = threading.Lock()
        self.is_optimising = False
        self._engine = threading.Lock()
        self._shard: EdgeShard | None = shard
        self._journal: Journal | None = None
        self._operations = 0
        self._flushed_at = self._written_at = self._calm_since = time.monotonic()
        self._is_dirty = False
        self._dead_points = 0
        self._tried_unindexed_kb = 0.0
        self._counted = -1, 0.0

    # --- requests -------------------------------------------------------------------------------------------------

    def write(self, operations: Sequence[UpdateOperation], *, size_bytes: int) -> int:
        """Apply operations in their order; the number of the last one. Raises `Refused`."""
        with self.writing:
            if self._journal is not None:
                # Before they run: one that fails half-way must fail half-way on the copy too.
                self._journal.add(operations, size_bytes)
            now = time.monotonic()
            if now - self._written_at > OPTIMISE_AFTER_QUIET_SECONDS:
                self._calm_since = now
            self._written_at = now
            before = self._points()
            try:
                self._call(lambda shard: _apply(shard, operations))
            finally:
                # Not before: a flush in between would take this write for flushed.
                self._is_dirty = True
                self._operations += len(operations)
                self._dead_points += max(0, before - self._points())
            return self._operations

    def read(self, request: Callable[[EdgeShard], T]) -> T:
        """The answer of the engine. Raises `Refused`."""
        return self._call(request)

    def standing(self) -> Standing:
        return Standing(self._read(lambda shard: shard.info()), not self.is_optimising and not self.wants_optimising())

    # --- upkeep ---------------------------------------------------------------------------------------------------

    def flush_if_due(self) -> None:
        if self._is_dirty and time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        # First, for what is written meanwhile waits for the next flush.
        self._is_dirty = False
        self._flushed_at = time.monotonic()
        try:
            self._call(lambda shard: shard.flush())
        except BaseException:
            self._is_dirty = True
            raise

    def adopt(self, schema: Schema, *, is_outdated: bool) -> None:
        """Other parameters: what the engine left alone under the former ones is tried anew."""
        self.schema, self.is_outdated = schema, is_outdated
        self._tried_unindexed_kb = 0.0

    def wants_optimising(self) -> bool:
        """Whether enough vectors are without an index, or with an outdated one, or enough points are deleted, for the
        engine to act.

        The engine counts sparse vectors as indexed from the start, so they are taken off."""
        if self.is_outdated:
            return True
        threshold_kb, dead = self.schema.indexing_threshold_kb, self._dead_points
        if threshold_kb and self._unindexed_kb() - self._tried_unindexed_kb >= threshold_kb:
            return True
        return dead >= self.schema.vacuum_min_points and dead >= self.schema.deleted_threshold * (self._points() + dead)

    def may_optimise_now(self) -> bool:
        now = time.monotonic()
        quiet = now - self._written_at >= OPTIMISE_AFTER_QUIET_SECONDS
        return quiet or now - self._calm_since >= OPTIMISE_AFTER_BUSY_SECONDS

    def begin_journal(self) -> None:
        """From here on writes are kept for the copy. Hold `writing`."""
        self._journal = Journal()
        self._calm_since = time.monotonic()

    def end_journal(self) -> None:
        self._journal = None

    def take_journal(self) -> list[UpdateOperation] | None:
        """The writes kept so far; None when there were too many. Hold `writing`."""
        if self._journal is None or self._journal.is_overfull:
            return None
        return self._journal.take()

    def exchange(self, shard: EdgeShard, folder: Path) -> EdgeShard:
        """Serve from `shard` instead; the former one. Hold `writing`."""
        with self._engine:
            assert self._shard is not None, "a dropped collection is not exchanged"
            former, self._shard, self.folder = self._shard, shard, folder
        self.note_tried()
        return former

    def note_tried(self) -> None:
        """What is unindexed or dead now is what the engine leaves so: only more of it asks for another try."""
        self._dead_points = 0
        self._counted = -1, 0.0
        self._tried_unindexed_kb = self._unindexed_kb()

    @property
    def is_open(self) -> bool:
        return self._shard is not None

    def close(self) -> None:
        """Flush and let go of the shard; later calls answer 404."""
        with self.writing, self._engine:
            shard, self._shard = self._shard, None
            if shard is not None:
                shard.close()

    def _points(self) -> int:
        return self._read(lambda shard: shard.info().points_count)

    def _unindexed_kb(self) -> float:
        """KB of dense vectors that no HNSW index has, counted anew only after a write."""
        counted_at, kb = self._counted
        if counted_at != self._operations:
            counted_at = self._operations
            kb = self._read(self._count_unindexed_kb)
            self._counted = counted_at, kb
        return kb

    def _count_unindexed_kb(self, shard: EdgeShard) -> float:
        carried = {
            name: shard.count(CountRequest(exact=True, filter=Filter(must=[HasVectorCondition(name)])))
            for name in (*self.schema.dense, *self.schema.sparse)
        }
        dense = sum(carried[name] for name in self.schema.dense)
        sparse = sum(carried[name] for name in self.schema.sparse)
        unindexed = max(0, dense - max(0, shard.info().indexed_vectors_count - sparse))
        return unindexed * self.schema.point_kb / max(1, len(self.schema.dense))

    def _call(self, request: Callable[[EdgeShard], T]) -> T:
        return of_engine(lambda: self._read(request))

    def _read(self, request: Callable[[EdgeShard], T]) -> T:
        with self._engine:
            if self._shard is None:
                raise Refused(404, "Not found: the collection was deleted meanwhile")
            return request(self._shard)


def _apply(shard: EdgeShard, operations: Sequence[UpdateOperation]) -> None:
    for operation in operations:
        shard.update(operation)
