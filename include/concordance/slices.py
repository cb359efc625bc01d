"""Sequences in pieces of bounded length, and of bounded weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def slices(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Consecutive slices of at most `size` rows; none for an empty sequence."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def weighed_slices(
    rows: Iterable[Row], weight: Callable[[Row], int], *, size: int, heaviest: int
) -> Iterator[list[Row]]:
    """Consecutive slices of at most `size` rows that weigh at most `heaviest` together; what alone weighs more is a
    slice of its own."""
    held: list[Row] = []
    weighs = 0
    for row in rows:
        more = weight(row)
        if held and (len(held) == size or weighs + more > heaviest):
            yield held
            held, weighs = [], 0
        held.append(row)
        weighs += more
    if held:
        yield held
