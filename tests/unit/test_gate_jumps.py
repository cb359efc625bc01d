"""What counts as a jump against the last runs of a source."""

from __future__ import annotations

import pytest

from concordance.quality.jumps import jumps
from concordance.settings import Settings

SETTINGS = Settings()
USUAL = {"documents": 100.0, "checked_documents": 50.0, "chunk_characters": 400.0, "entities_per_chunk": 2.0}


def said(earlier: int = 3, *, past: dict[str, float] | None = None, **now: float) -> list[str]:
    found = jumps({**USUAL, **now}, [{**USUAL, **(past or {})}] * earlier, settings=SETTINGS)
    return [sentence.partition(" is ")[0] for sentence in found]


@pytest.mark.parametrize(
    ("now", "figure"),
    [
        ({"documents": 301.0}, "The number of the source's documents"),
        ({"documents": 33.0}, "The number of the source's documents"),
        ({"documents": 1.0}, "The number of the source's documents"),
        ({"chunk_characters": 1300.0}, "The mean length of a chunk in characters"),
        ({"chunk_characters": 100.0}, "The mean length of a chunk in characters"),
        ({"entities_per_chunk": 7.0}, "The mean number of entities that a chunk mentions"),
        ({"entities_per_chunk": 0.0}, "The mean number of entities that a chunk mentions"),
    ],
)
def test_a_figure_far_from_the_median_is_a_jump_either_way(now: dict[str, float], figure: str) -> None:
    assert said(**now) == [figure]


def test_what_stays_within_the_factor_is_none() -> None:
    assert said() == []
    assert said(documents=299, chunk_characters=140, entities_per_chunk=5.9) == []


def test_nothing_is_said_before_there_are_enough_runs() -> None:
    assert said(SETTINGS.min_jump_runs - 1, chunk_characters=10_000) == []
    assert said(SETTINGS.min_jump_runs, chunk_characters=10_000) != []


def test_a_run_of_a_few_documents_has_no_mean_to_speak_of_now_or_then() -> None:
    assert said(checked_documents=19, chunk_characters=10_000) == []
    assert said(past={"checked_documents": 19}, chunk_characters=10_000) == []


def test_a_small_source_may_grow_and_shrink() -> None:
    assert said(past={"documents": 2}, documents=19) == []
    assert said(past={"documents": 2}, documents=20) != []


def test_the_median_outlives_one_odd_run() -> None:
    odd = {**USUAL, "chunk_characters": 9_000.0}
    assert jumps(USUAL, [USUAL, USUAL, odd], settings=SETTINGS) == ()


def test_hardly_any_entities_after_none_are_no_jump() -> None:
    assert said(past={"entities_per_chunk": 0.0}, entities_per_chunk=0.15) == []
