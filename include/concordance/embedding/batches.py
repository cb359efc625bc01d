"""Batches of texts of one length in tokens: nothing is padded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from concordance.slices import slices


def batches_of(lengths: Sequence[int], *, budget_tokens: int) -> list[Sequence[int]]:
    """Rows of texts whose lengths are `lengths`, longest first; a batch holds one length and at most `budget_tokens`,
    or one text that is longer than that."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, length in enumerate(lengths):
        by_length[length].append(row)
    return [
        rows
        for length in sorted(by_length, reverse=True)
        for rows in slices(by_length[length], max(budget_tokens // max(length, 1), 1))
    ]
