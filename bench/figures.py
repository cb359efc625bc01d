"""A figure: what was measured, its spread, and the bound that the project promises.

A figure that says how fast something is, is a ratio to something else that was measured in the same run: the machine's
own speed cancels out. The two sides of a pair take turns in going first, so that neither gains by a warm cache or a
neighbour who comes and goes; the ratio is taken pair by pair, its median and quartiles are what is told.
"""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench import effort

_COMPARISONS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing: `value` in `unit`; the bound that is promised (`<= 0.9`), if any; the samples of a median."""

    name: str
    value: float
    unit: str
    bound: str = ""
    samples: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.promise and self.promise[0] not in _COMPARISONS:
            raise ValueError(f"the bound {self.bound!r} of {self.name!r} is none: <=, >= or == and a number")

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third one; the value twice where there is one sample."""
        if len(self.samples) < 2:
            return self.value, self.value
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third

    @property
    def promise(self) -> tuple[str, float] | None:
        """The bound's sign and limit; None where nothing is promised."""
        if not self.bound:
            return None
        sign, limit = self.bound.split() if " " in self.bound else ("==", self.bound)
        return sign, float(limit)

    @property
    def is_kept(self) -> bool | None:
        """Whether the value keeps the bound; None where nothing is promised."""
        return self._keeps(self.value)

    @property
    def is_broken_beyond_noise(self) -> bool:
        """Whether the better half of the samples breaks the bound too."""
        return self.is_kept is False and not any(self._keeps(each) for each in self.quartiles)

    def _keeps(self, value: float) -> bool | None:
        if self.promise is None:
            return None
        sign, limit = self.promise
        return bool(_COMPARISONS[sign](value, limit))


def median_of(name: str, samples: Iterable[float], unit: str, bound: str = "") -> Figure:
    kept = tuple(samples)
    return Figure(name, statistics.median(kept), unit, bound, kept)


def paired(
    name: str, ours: Callable[[], object], bare: Callable[[], object], *, pairs: int = 5, bound: str = ""
) -> Figure:
    """Time of `ours` / time of `bare`, over so many pairs; both do the same work each time they are called."""
    samples = [one / other for one, other in taking_turns(lambda: seconds(ours), lambda: seconds(bare), pairs=pairs)]
    return median_of(name, samples, "x", bound)


def taking_turns(ours: Callable[[], float], bare: Callable[[], float], *, pairs: int = 5) -> list[tuple[float, float]]:
    """What both sides of each pair give; each goes first in every other pair. `--pairs` says otherwise how many."""
    found = []
    for number in range(effort.pairs(pairs)):
        if number % 2 == 0:
            one, other = ours(), bare()
        else:
            other, one = bare(), ours()
        found.append((one, other))
    return found


def seconds(work: Callable[[], object]) -> float:
    """The wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def show(figures: Iterable[Figure]) -> None:
    """A line for each, for a room that is run alone."""
    for figure in figures:
        spread = "{:,.3f} to {:,.3f}".format(*figure.quartiles) if figure.samples else ""
        print(f"{figure.name:70} {figure.value:14,.3f} {figure.unit:12} {spread:22} {figure.bound}", flush=True)
