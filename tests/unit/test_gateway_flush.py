"""What the local gateway has not flushed is flushed the next time, whatever came in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from concordance.local.gateway import collection as gateway_collection
from concordance.local.gateway.collection import Collection
from concordance.local.gateway.refusals import Refused


class Engine:
    """In place of the engine's shard: `written` holds what it was told, `flushed` what is on the disk of it."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.flushed: list[Any] = []
        self.is_full = False
        self.meanwhile: Callable[[], None] = lambda: None

    def update(self, operation: Any) -> None:
        self.meanwhile()
        self.written.append(operation)

    def flush(self) -> None:
        if self.is_full:
            raise OSError("No space left on device")
        self.flushed = list(self.written)

    def info(self) -> Any:
        return SimpleNamespace(points_count=len(self.written))

    def count(self, *_: Any) -> int:
        return len(self.written)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(gateway_collection, "FLUSH_SECONDS", 0)
    return Engine()


def opened(engine: Any, folder: Path) -> Collection:
    schema: Any = None
    return Collection(engine, folder=folder, schema=schema)


def write(collection: Collection, operation: Any) -> None:
    collection.write([operation], size_bytes=1)


def test_a_flush_that_failed_is_repeated(engine: Engine, tmp_path: Path) -> None:
    collection = opened(engine, tmp_path)
    write(collection, "a point")
    engine.is_full = True
    with pytest.raises(Refused):
        collection.flush_if_due()
    engine.is_full = False
    collection.flush_if_due()
    assert engine.flushed == ["a point"]


def test_a_write_is_flushed_that_came_in_during_a_flush(engine: Engine, tmp_path: Path) -> None:
    collection = opened(engine, tmp_path)
    # The flush comes when the write has begun, and the engine has not got it yet.
    engine.meanwhile = lambda: setattr(collection, "_is_dirty", False)
    write(collection, "a point")
    collection.flush_if_due()
    assert engine.flushed == ["a point"]


def test_what_was_flushed_is_not_flushed_again(engine: Engine, tmp_path: Path) -> None:
    collection = opened(engine, tmp_path)
    write(collection, "a point")
    collection.flush_if_due()
    engine.is_full = True
    collection.flush_if_due()
