"""How sure a mean difference is: the paired bootstrap. Pure.

Queries are drawn again with replacement, each with its two answers, so that hard and easy queries weigh the same on
both sides (B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13, percentile interval; for
search T. Sakai, "Evaluating evaluation metrics based on the bootstrap", SIGIR 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_AT_ONCE = 1_000_000  # draws that are held in memory at once: 8 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean of the differences, and between which bounds it lies: each bound is exceeded on its side with a
    probability of 1 - confidence."""

    mean: float
    low: float
    high: float


def mean_interval(differences: Sequence[float], *, confidence: float, resamples: int, seed: int) -> Interval:
    """The interval of the mean of `differences` (at least one), by the percentiles of `resamples` seeded resamples."""
    values = np.asarray(differences, dtype=np.float64)
    rng = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(values))
    means = np.concatenate(
        [
            values[rng.integers(len(values), size=(min(rows, resamples - start), len(values)))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [1 - confidence, confidence])
    return Interval(float(values.mean()), float(low), float(high))
