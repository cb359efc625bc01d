"""Whether a run of the bench is worse than a recorded release, beyond what is noise.

Compared is what has a direction (a bound `<=` or `>=`) and samples on both sides. The ratio of the two medians is taken
again and again over samples drawn anew, with replacement (a percentile bootstrap, Efron and Tibshirani 1993, 13), each
time against one of the release's runs: a release that was recorded on several days brings their differences with it.
Worse is what is worse by more than `MARGIN` in all but one in two hundred of them. Figures of another machine are not
compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from bench.figures import Figure
from bench.records import Record

# The same tree, measured on two days, moved by so much and more where single runs were told: README, Figures.
MARGIN = 0.10
LEAST_SAMPLES = 3
_DRAWS = 4_000
_CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Change:
    """One figure now against the release: `factor` is above 1 where it is worse; `low` and `high` bound it. `now` is no
    number where the room does not tell it any more."""

    name: str
    now: float
    before: float
    unit: str
    factor: float
    low: float
    high: float
    has_lost_its_bound: bool

    @property
    def is_gone(self) -> bool:
        return math.isnan(self.now)

    @property
    def is_worse(self) -> bool:
        return self.low > 1 + MARGIN or self.has_lost_its_bound or self.is_gone

    @property
    def is_better(self) -> bool:
        return self.high < 1 / (1 + MARGIN)

    @property
    def verdict(self) -> str:
        if self.is_gone:
            return "is not told any more"
        if self.has_lost_its_bound:
            return "has lost its bound"
        return "worse" if self.is_worse else "better" if self.is_better else "as it was"


def release(history: Sequence[Record], label: str) -> list[Record]:
    """The runs of the release with this label, or of the `last` one; quick looks are none. Raises `ValueError` if a
    label is not there; there may be no last one."""
    whole = [record for record in history if not record.is_quick]
    if label == "last":
        return [record for record in whole if record.label == whole[-1].label]
    found = [record for record in whole if record.label == label]
    if not found:
        labels = ", ".join(dict.fromkeys(each.label for each in whole))
        raise ValueError(f"no record is labelled {label}: there are {labels or 'none'}")
    return found


def compare(now: Record, runs: Sequence[Record]) -> list[Change]:
    """The figures that both have, in their order now, and those with a bound that a room has lost. Runs of a release on
    other machines are left out."""
    here = [record for record in runs if record.machine == now.machine]
    before = [record.figures() for record in here]
    changes = (
        _change(name, figure, [run[name] for run in before if name in run]) for name, figure in now.figures().items()
    )
    return [change for change in changes if change is not None] + _gone(now, here)


def _gone(now: Record, runs: Sequence[Record]) -> list[Change]:
    """What the newest run with that room promised of a room that was measured now without a fault, and is not there."""
    newest = {room.name: room for run in runs for room in run.rooms}
    measured = tuple(newest[room.name] for room in now.rooms if not room.error and room.name in newest)
    told = now.figures()
    return [
        Change(name, math.nan, figure.value, figure.unit, *(math.nan,) * 3, has_lost_its_bound=False)
        for name, figure in replace(now, rooms=measured).figures().items()
        if figure.promise is not None and name not in told
    ]


def _change(name: str, figure: Figure, runs: Sequence[Figure]) -> Change | None:
    if not runs or figure.promise is None:
        return None
    before = float(np.median([run.value for run in runs]))
    lost = figure.is_broken_beyond_noise and all(run.is_kept for run in runs)
    factor, low, high = _factor(figure, runs)
    if math.isnan(factor) and not lost:
        return None
    return Change(name, figure.value, before, figure.unit, factor, low, high, lost)


def _factor(figure: Figure, runs: Sequence[Figure]) -> tuple[float, float, float]:
    """How much worse, with its interval; not a number where samples or a direction are missing."""
    sampled = [np.array(run.samples) for run in runs if len(run.samples) >= LEAST_SAMPLES]
    sign, _ = figure.promise or ("==", 0.0)
    if sign == "==" or not sampled or len(figure.samples) < LEAST_SAMPLES:
        return (math.nan,) * 3
    if min(figure.samples) <= 0 or min(float(each.min()) for each in sampled) <= 0:
        return (math.nan,) * 3
    dice = np.random.default_rng(0)
    each = math.ceil(_DRAWS / len(sampled))
    before = np.concatenate([_medians(dice, run, each) for run in sampled])
    drawn = _medians(dice, np.array(figure.samples), len(before)) / before
    middle = figure.value / float(np.median([np.median(run) for run in sampled]))
    tail = (1 - _CONFIDENCE) / 2
    low, high = (float(bound) for bound in np.quantile(drawn, [tail, 1 - tail]))
    return (middle, low, high) if sign == "<=" else (1 / middle, 1 / high, 1 / low)


def _medians(dice: np.random.Generator, samples: np.ndarray, draws: int) -> np.ndarray:
    """The medians of so many sets of samples, each drawn anew from these."""
    medians: np.ndarray = np.median(dice.choice(samples, size=(draws, len(samples))), axis=1)
    return medians
