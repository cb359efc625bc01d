"""A figure: what was measured, its spread, and the bound that the project promises.

A figure that says how fast something is, is a ratio to something else that was measured in the same run: the machine's
own speed cancels out. The two sides of a pair take turns in going first, so that neither gains by a warm cache or a
neighbour who comes and goes; the ratio is taken pair by pair, its median and quartiles are what is told.
"""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

_COMPARISONS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing: `value` in `unit`; the bound that is promised (`<= 0.9`), if any; the samples of a median."""

    name: str
    value: float
    unit: str
    bound: str = ""
    samples: tuple[float, ...] = ()

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third one; the value twice where there is one sample."""
        if len(self.samples) < 2:
            return self.value, self.value
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third

    @property
    def is_kept(self) -> bool | None:
        """Whether the value keeps the bound; None where nothing is promised."""
        if not self.bound:
            return None
        sign, limit = self.bound.split() if " " in self.bound else ("==", self.bound)
        return bool(_COMPARISONS[sign](self.value, float(limit)))


def median_of(name: str, samples: list[float], unit: str, bound: str = "") -> Figure:
    return Figure(name, statistics.median(samples), unit, bound, tuple(samples))


def paired(
    name: str, ours: Callable[[], object], bare: Callable[[], object], *, pairs: int = 5, bound: str = ""
) -> Figure:
    """Time of `ours` / time of `bare`, over so many pairs; both do the same work each time they are called."""
    samples = []
    for number in range(pairs):
        first_is_ours = number % 2 == 0
        one, other = (seconds(each) for each in ((ours, bare) if first_is_ours else (bare, ours)))
        samples.append(one / other if first_is_ours else other / one)
    return median_of(name, samples, "x", bound)


def seconds(work: Callable[[], object]) -> float:
    """The wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
