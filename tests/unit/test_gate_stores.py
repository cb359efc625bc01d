"""The gate of the stores on frames: one difference anywhere stops the run."""

from __future__ import annotations

from typing import Any

import pytest

from concordance.errors import GateFailed
from concordance.quality import check_stores
from support.gate_frames import DOCUMENTS, SETTINGS, counts, document, evidence, with_cells

FAULTS = [
    ("chunks_in_graph", 2),
    ("chunks_in_graph", None),
    ("points_in_vectors", 4),
    ("points_in_vectors", None),
    ("digests_agree", False),
    ("chunks_expected", 0),
    ("generation", None),
]


def test_sound_stores_pass() -> None:
    result = check_stores([evidence()], current=[evidence(3)], counts=counts(), settings=SETTINGS)
    assert (result.passed, result.evaluated, result.failed_expectations) == (True, DOCUMENTS, {})


@pytest.mark.parametrize(("column", "value"), FAULTS)
def test_one_difference_read_back_from_a_store_fails_the_gate(column: str, value: Any) -> None:
    result = check_stores([with_cells(evidence(), [3], column, value)], settings=SETTINGS)
    assert not result.passed
    assert list(result.rejected) == [document(3)]


@pytest.mark.parametrize("rows", [DOCUMENTS // 20, DOCUMENTS])
def test_more_differences_fail_it_as_well(rows: int) -> None:
    result = check_stores([with_cells(evidence(), range(rows), "digests_agree", False)], settings=SETTINGS)
    assert (result.passed, len(result.rejected)) == (False, rows)


@pytest.mark.parametrize("rows", [1, 2, DOCUMENTS])
def test_a_current_generation_that_was_touched_fails_the_gate_and_blames_no_new_state(rows: int) -> None:
    touched = with_cells(evidence(), range(rows), "chunks_in_graph", 2)
    result = check_stores([evidence()], current=[touched.iloc[:10], touched.iloc[10:]], settings=SETTINGS)
    assert (result.passed, result.rejected) == (False, {})
    assert "current generations: expect_column_pair_values_to_be_equal" in result.message
    assert sum(result.failed_expectations.values()) == rows


def test_a_store_that_holds_fewer_rows_of_the_source_than_the_ledger_fails_the_gate() -> None:
    assert check_stores([evidence()], counts=counts(found=101), settings=SETTINGS).passed
    for bad in (counts(found=99), counts(expected=101), with_cells(counts(), [0], "rows_found", None)):
        result = check_stores([evidence()], counts=bad, settings=SETTINGS)
        assert (result.passed, result.rejected) == (False, {})
        assert "counts by source" in result.message


def test_a_run_without_documents_still_looks_at_what_the_stores_hold() -> None:
    assert check_stores((), settings=SETTINGS).evaluated == 0
    assert not check_stores((), counts=counts(found=1), settings=SETTINGS).passed


def test_a_gate_that_itself_raises_has_failed_and_tells_no_value() -> None:
    for given in ({"current": [with_cells(evidence(), [1], "chunks_expected", "secret")]}, {"counts": evidence(1)}):
        with pytest.raises(GateFailed) as failed:
            check_stores([evidence()], settings=SETTINGS, **given)
        assert "secret" not in str(failed.value)
