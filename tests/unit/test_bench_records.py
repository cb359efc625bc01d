"""The bench's records: what is kept of a run, how it is read again, and what makes a run worse than a release."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from bench import pages, plots
from bench.__main__ import faults_of
from bench.compare import compare, release
from bench.figures import Figure, median_of
from bench.records import Machine, Record, Room, append, new_record, read_history

HERE = Machine("a quick processor", 2)


def noisy(middle: float, *, seed: int, spread: float = 0.03) -> list[float]:
    dice = random.Random(seed)
    return [middle * (1 + dice.uniform(-spread, spread)) for _ in range(9)]


def record(*figures: Figure, label: str = "1.0", machine: Machine = HERE, error: str = "") -> Record:
    room = Room("pipeline", figures, 12.0, (0.1, 1.9), error)
    return Record(label, "abc", "2026-11-22T10:00:00+00:00", machine, (room,))


def ratio(middle: float, *, seed: int, bound: str = "<= 1.5") -> Figure:
    return median_of("pipeline / bare loop", noisy(middle, seed=seed), "x", bound)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_history_gives_back_what_was_recorded_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    kept = [record(ratio(0.9, seed=1), Figure("rows", 0.0, "rows", "0")), record(label="1.1", error="out of memory")]
    for each in kept:
        append(each, path)
    assert read_history(path) == kept


def test_a_bench_without_a_history_has_none(tmp_path: Path) -> None:
    assert read_history(tmp_path / "history.jsonl") == []


@pytest.mark.parametrize("damage", ["{", "{}", '{"format": 2}', '{"format": 1, "label": "x"}', "[]"])
def test_a_line_that_is_no_record_is_named_and_not_passed_over(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "history.jsonl"
    append(record(), path)
    path.write_text(f"{path.read_text()}{damage}\n")
    with pytest.raises(ValueError, match="line 2 is no record"):
        read_history(path)


def test_a_new_record_says_on_what_and_from_which_commit_it_was_measured() -> None:
    made = new_record([Room("gates", (), 1.0, (0.0, 0.0))])
    assert made.machine.cpu
    assert made.machine.cores >= 1
    assert made.label == made.commit != ""
    assert Record.from_json(json.loads(json.dumps(made.as_json()))) == made


def test_a_part_is_known_by_the_whole_that_it_belongs_to() -> None:
    found = record(Figure("publish", 1.0, "s"), Figure("  slowest", 2.0, "s"), Figure("rollback", 3.0, "s"))
    twice = record(*found.rooms[0].figures, Figure("  slowest", 4.0, "s"))
    assert {name: figure.value for name, figure in twice.figures().items()} == {
        "pipeline: publish": 1.0,
        "pipeline: publish / slowest": 2.0,
        "pipeline: rollback": 3.0,
        "pipeline: rollback / slowest": 4.0,
    }


# --- what is worse ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["<= 5.0", ">= 0.1"])
@pytest.mark.parametrize("seed", range(10))
def test_the_same_again_is_neither_worse_nor_better(bound: str, seed: int) -> None:
    now, before = record(ratio(1.0, seed=seed, bound=bound)), record(ratio(1.0, seed=seed + 100, bound=bound))
    (change,) = compare(now, [before])
    assert change.verdict == "as it was"
    assert change.low <= change.factor <= change.high
    assert faults_of(now, [change]) == []


@pytest.mark.parametrize(("bound", "now"), [("<= 5.0", 1.3), (">= 0.1", 0.77)])
def test_what_is_a_third_worse_is_a_regression_in_whichever_direction(bound: str, now: float) -> None:
    slower = record(ratio(now, seed=1, bound=bound))
    (change,) = compare(slower, [record(ratio(1.0, seed=2, bound=bound))])
    assert change.verdict == "worse"
    assert change.factor == pytest.approx(1.3, rel=0.05)
    (fault,) = faults_of(slower, [change])
    assert "pipeline: pipeline / bare loop worse" in fault


@pytest.mark.parametrize(("bound", "now"), [("<= 5.0", 0.7), (">= 0.1", 1.4)])
def test_what_is_much_better_is_no_fault(bound: str, now: float) -> None:
    (change,) = compare(record(ratio(now, seed=1, bound=bound)), [record(ratio(1.0, seed=2, bound=bound))])
    assert change.verdict == "better"
    assert not change.is_worse


def test_a_worse_median_within_the_noise_of_its_samples_is_no_regression() -> None:
    now, before = [0.8, 1.0, 1.25, 1.5, 1.7], [0.7, 0.9, 1.0, 1.3, 1.6]
    name, unit, bound = "pipeline / bare loop", "x", "<= 2.0"
    (change,) = compare(record(median_of(name, now, unit, bound)), [record(median_of(name, before, unit, bound))])
    assert change.factor > 1.1
    assert not change.is_worse


def test_a_release_that_moved_from_day_to_day_lends_its_noise() -> None:
    """The samples of one run lie close together; those of the release's two days do not."""
    days = [record(ratio(1.0, seed=5)), record(ratio(1.3, seed=6))]
    now = record(ratio(1.25, seed=7))
    assert compare(now, days[:1])[0].is_worse
    assert not compare(now, days)[0].is_worse


def test_a_lost_bound_is_a_regression_also_of_a_single_count() -> None:
    now, before = record(Figure("rows", 3.0, "rows", "0")), record(Figure("rows", 0.0, "rows", "0"))
    (change,) = compare(now, [before])
    assert math.isnan(change.factor)
    assert change.is_worse
    assert "has lost its bound" in faults_of(now, [change])[0]


def test_a_bound_that_the_release_did_not_keep_either_is_no_fault() -> None:
    same = record(ratio(1.8, seed=1))
    assert faults_of(same, compare(same, [record(ratio(1.8, seed=2))])) == []


@pytest.mark.parametrize("bound", ["< 500", "=> 1", "less", "<= much"])
def test_a_bound_that_is_none_is_refused_before_it_is_measured_for_minutes(bound: str) -> None:
    with pytest.raises(ValueError, match=r"bound|convert"):
        Figure("a rate", 1.0, "x", bound)


def test_figures_of_another_machine_are_not_compared() -> None:
    slow = record(ratio(1.0, seed=1), machine=replace(HERE, cores=64))
    assert compare(record(ratio(4.0, seed=2)), [slow]) == []


def test_a_figure_that_is_new_or_promises_nothing_is_not_compared() -> None:
    told = Figure("chunks", 10.0, "chunks")
    assert compare(record(told, ratio(1.0, seed=1)), [record(told)]) == []


def test_a_promise_that_its_room_does_not_tell_any_more_is_a_fault() -> None:
    before, told = record(ratio(1.0, seed=1)), Figure("chunks", 10.0, "chunks")
    now = record(told)
    (change,) = compare(now, [before])
    (fault,) = faults_of(now, [change])
    assert fault.startswith("pipeline: pipeline / bare loop is not told any more: nothing x, ")
    assert "**is not told any more**" in pages.page(now, [change], against="1.0", plots=())
    # The release may have been recorded in parts, this room before the last of them.
    other = replace(before, rooms=(Room("cold", (told,), 3.0, (0.1, 1.9)),))
    (again,) = compare(now, [before, other])
    assert (again.name, again.is_gone) == (change.name, True)
    # A room that failed says so itself, and one that was not asked has nothing to tell.
    assert compare(record(told, error="MemoryError"), [before]) == compare(replace(now, rooms=()), [before]) == []


def test_the_last_release_is_all_its_runs_but_no_quick_look() -> None:
    history = [record(label=label) for label in ("1.0", "1.1", "1.1", "2.0")]
    history[-1] = replace(history[-1], is_quick=True)
    assert release(history, "last") == history[1:3]
    assert release(history, "1.0") == history[:1]
    assert release([], "last") == []
    with pytest.raises(ValueError, match=r"no record is labelled 3\.0"):
        release(history, "3.0")


# --- what people see --------------------------------------------------------------------------------------------------


def test_a_room_that_failed_is_told_beside_the_figures_of_the_others() -> None:
    whole = record(ratio(0.9, seed=1))
    broken = replace(whole, rooms=(*whole.rooms, Room("scale", (), 3.0, (0.0, 0.0), "MemoryError: a|b")))
    assert faults_of(broken, []) == ["scale failed: MemoryError: a|b"]
    text = pages.page(broken, [], against="", plots=["bounds.svg"])
    assert "**failed**: MemoryError: a\\|b" in text
    assert "| pipeline / bare loop | 0.9" in text
    assert "![bounds](bounds.svg)" in text


def test_the_page_says_which_bound_is_not_kept_and_what_is_worse() -> None:
    now = record(ratio(2.0, seed=1))
    changes = compare(now, [record(ratio(1.0, seed=2))])
    text = pages.page(now, changes, against="1.0", plots=[])
    assert "| <= 1.5 | **no** |" in text
    assert "**has lost its bound**" in text


def test_plots_are_written_for_what_there_is_and_an_old_one_does_not_stay(tmp_path: Path) -> None:
    parts = (Figure("a hop", 3.0, "s"), Figure("  waits", 1.0, "s"), Figure("  works", 2.0, "s"))
    now = record(ratio(0.9, seed=1), *parts)
    assert plots.write(now, [record(ratio(0.8, seed=2))], tmp_path) == ["bounds.svg", "parts.svg", "history.svg"]
    assert plots.write(record(ratio(0.9, seed=1)), [], tmp_path) == ["bounds.svg"]
    assert [path.name for path in tmp_path.iterdir()] == ["bounds.svg"]
    drawn = (tmp_path / "bounds.svg").read_text()
    assert "pipeline / bare loop" in drawn
    assert 'type="text/javascript" href' not in drawn  # nothing is loaded from elsewhere


@pytest.mark.parametrize(
    ("bound", "value", "part"),
    [("<= 2.0", 1.0, 0.5), (">= 2.0", 1.0, 2.0), ("<= 2.0", 3.0, 1.5), ("0", 1.0, None), ("", 1.0, None)],
)
def test_a_bound_is_used_up_at_one(bound: str, value: float, part: float | None) -> None:
    assert plots.used(Figure("f", value, "x", bound), value) == part
