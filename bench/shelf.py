"""An empty shelf of documents on running stores, with the settings of a deployment instead of a test's small ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.stacks import stack

from support import shelves


@contextmanager
def empty_shelf(**overrides: Any) -> Iterator[shelves.Shelf]:
    """The shelf; stores and documents are gone at the end."""
    with stack() as (settings, folder):
        (folder / "shelf").mkdir()
        sizes = ("batch_chunks", "chunk_min_tokens", "chunk_max_tokens")
        usual = {name: getattr(settings, name) for name in sizes}
        yield shelves.make_shelf(settings, folder / "shelf", documents=0, **usual, **overrides)
