"""Sequences in pieces of bounded length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def slices(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Consecutive slices of at most `size` rows; none for an empty sequence."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
