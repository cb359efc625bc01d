"""Building indexes in the background, without stopping the requests.

The engine's `optimize` holds the interpreter from its first to its last second. So a child process runs it on a copy of
the shard, while this process goes on serving from the original and keeps the writes that come in; they are applied to
the finished copy, which then takes the original's place. The catalogue's switch from one folder to the other is the
only step that a kill can come before or after.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from qdrant_edge import EdgeShard, UpdateOperation

from concordance.local.gateway.catalog import Catalog
from concordance.local.gateway.collection import Collection
from concordance.local.gateway.limits import OPTIMISE_RETRY_SECONDS, OPTIMISE_TIMEOUT_SECONDS
from concordance.local.gateway.optimise_copy import NOTHING_TO_DO
from concordance.local.gateway.wire import Body

_TICK_SECONDS = 0.1
_CATCH_UP_ROUNDS = 5


class Upkeep:
    """Two threads: one flushes every collection on its interval, one builds indexes, a collection at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._ending = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(step,), name=step.__name__, daemon=True)
            for step in (self._flush, self._optimise)
        ]
        self._not_before: dict[str, float] = {}

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads, and a build in progress with them (its copy is removed)."""
        self._ending.set()
        child = self._child
        if child is not None:
            child.kill()
        for thread in self._threads:
            thread.join()

    def _run(self, step: Callable[[str, Collection], None]) -> None:
        while not self._ending.wait(_TICK_SECONDS):
            for name, collection in self._catalog.open_collections():
                try:
                    step(name, collection)
                except Exception as error:
                    if not collection.is_open or self._ending.is_set():
                        continue  # deleted or broken off in the middle of it; the next one has not failed
                    # A full disk or a vanished folder: the requests go on and report it, the next round tries again.
                    self._not_before[name] = time.monotonic() + OPTIMISE_RETRY_SECONDS
                    print(f"upkeep of collection {name} failed: {error}", file=sys.stderr, flush=True)

    def _flush(self, name: str, collection: Collection) -> None:
        if collection.is_open:
            collection.flush_if_due()

    def _optimise(self, name: str, collection: Collection) -> None:
        due = time.monotonic() >= self._not_before.get(name, 0)
        if not (due and collection.is_open and collection.may_optimise_now() and collection.wants_optimising()):
            return
        serial = int(collection.folder.suffix[1:]) + 1
        copy = collection.folder.with_suffix(f".{serial}")
        collection.is_optimising = True
        try:
            self._optimise_copy(name, collection, copy)
        finally:
            with collection.writing:
                collection.end_journal()
            collection.is_optimising = False
            if collection.folder != copy:
                shutil.rmtree(copy, ignore_errors=True)

    def _optimise_copy(self, name: str, collection: Collection, copy: Path) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        with collection.writing:
            collection.flush()
            shutil.copytree(collection.folder, copy)
            collection.begin_journal()
        create = self._catalog.entry(name).create
        if not self._build(create, copy):
            self._catalog.note_built(name, collection, collection.folder, create)
            collection.note_tried()
            return
        shard = EdgeShard.load(str(copy))
        try:
            self._take_over(name, collection, shard, copy, create)
        finally:
            if collection.folder != copy:
                shard.close()

    def _build(self, create: Body, copy: Path) -> bool:
        """Run the engine's optimisers over the copy; whether they changed anything. Raises when they did not come to
        their end: what was broken off has said nothing about the index that is there."""
        command = [sys.executable, "-m", "concordance.local.gateway.optimise_copy", str(copy)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
            self._child = child
            if self._ending.is_set():
                child.kill()
            try:
                child.communicate(msgspec.json.encode(create), timeout=OPTIMISE_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
            finally:
                self._child = None
        status = child.wait()
        if status not in (0, NOTHING_TO_DO):
            raise RuntimeError(f"building the index ended with status {status}")
        return status == 0

    def _take_over(self, name: str, collection: Collection, shard: EdgeShard, copy: Path, create: Body) -> None:
        for _ in range(_CATCH_UP_ROUNDS):
            with collection.writing:
                operations = collection.take_journal()
            if operations is None:
                raise RuntimeError("too many writes while the index was built")
            if not operations:
                break
            _apply(shard, operations)
        with collection.writing:
            operations = collection.take_journal()
            if operations is None:
                raise RuntimeError("too many writes while the index was built")
            _apply(shard, operations)
            shard.flush()
            former_folder = collection.folder
            if not self._catalog.note_built(name, collection, copy, create):
                return
            former = collection.exchange(shard, copy)
        former.close()
        shutil.rmtree(former_folder, ignore_errors=True)


def _apply(shard: EdgeShard, operations: list[UpdateOperation]) -> None:
    for operation in operations:
        try:
            shard.update(operation)
        except Exception as error:
            # The original refused it as well, and its client has been told.
            print(f"an operation was refused again on the copy: {type(error).__name__}", file=sys.stderr, flush=True)
