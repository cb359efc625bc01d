"""What a plan expects of itself: ratios of what the last runs took, and what is above a threshold."""

from __future__ import annotations

from uuid import UUID

import pytest

from concordance.ledger.runs import Measured
from concordance.model import Action, PlanEntry
from concordance.pipeline.forecast import exactly, forecast

SECONDS = {"extract": 10.0, "embed": 40.0, "load": 4.0}
LAST = Measured(runs=2, bytes=100_000, chunks=200, embedded=100, reused=100, seconds=SECONDS)


def entry(size: int, action: Action = Action.CHANGE) -> PlanEntry:
    return PlanEntry(UUID(int=size), f"{size}.md", action, 1, "stamp", size, 0)


def test_what_the_last_runs_took_is_scaled_to_what_this_one_reads() -> None:
    made = forecast([entry(40_000), entry(10_000), entry(70_000, Action.DELETE)], LAST)
    assert (made.bytes, made.chunks, made.embed, made.reuse) == (50_000, 100, 50, 50)
    assert made.seconds == pytest.approx(5 + 20 + 2)
    assert made.basis == "measured over the last 2 runs"


def test_without_a_run_it_says_that_it_assumes() -> None:
    made = forecast([entry(8_000)], None)
    assert (made.chunks, made.embed, made.reuse) == (10, 10, 0)
    assert made.basis == "assumed: no run was measured yet"


def test_runs_that_only_copied_vectors_do_not_tell_how_long_a_text_takes() -> None:
    copied = Measured(runs=1, bytes=100_000, chunks=200, embedded=0, reused=200, seconds={**SECONDS, "embed": 3.0})
    assert forecast([entry(50_000)], copied).embed == 0
    found = {"chunks": 100, "embed": 60, "reuse": 40}
    assert exactly(50_000, found, copied).seconds == pytest.approx(5 + 60 * 33 / 1000 + 2, abs=0.05)


def test_a_plan_that_reads_nothing_takes_nothing() -> None:
    assert forecast([entry(70_000, Action.DELETE)], LAST).as_json() == dict.fromkeys(
        ("bytes", "chunks", "embed", "reuse", "seconds"), 0
    )
