"""The gate of documents on frames: what passes, what goes to quarantine, what stops the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from concordance.errors import GateFailed
from concordance.model import Reason
from concordance.quality import check_documents
from support.gate_frames import DOCUMENTS, ORIGIN, SETTINGS, document, documents, judge_documents, with_cells

FAULTS = [
    ("uri", "", Reason.GATE_DOCUMENTS),
    ("uri", None, Reason.GATE_DOCUMENTS),
    ("uri", "notes/of-another-document.md", Reason.GATE_DOCUMENTS),
    ("source", None, Reason.GATE_DOCUMENTS),
    ("source", "another", Reason.GATE_DOCUMENTS),
    ("stamp", "", Reason.GATE_DOCUMENTS),
    ("stamp", None, Reason.GATE_DOCUMENTS),
    ("access", ["public"], Reason.GATE_DOCUMENTS),
    ("access", [], Reason.GATE_DOCUMENTS),
    ("access", None, Reason.GATE_DOCUMENTS),
    ("fingerprint", "a" * 63, Reason.GATE_DOCUMENTS),
    ("fingerprint", "A" * 64, Reason.GATE_DOCUMENTS),
    ("fingerprint", "a" * 64 + "\n", Reason.GATE_DOCUMENTS),
    ("fingerprint", None, Reason.GATE_DOCUMENTS),
    ("size_bytes", SETTINGS.max_document_bytes + 1, Reason.GATE_DOCUMENTS),
    ("text_characters", 0, Reason.GATE_DOCUMENTS),
    ("text_characters", None, Reason.GATE_DOCUMENTS),
    ("text_characters", SETTINGS.max_text_bytes + 1, Reason.GATE_DOCUMENTS),
    ("chunk_count", 0, Reason.GATE_DOCUMENTS),
    ("chunk_count", SETTINGS.max_chunks_per_document + 1, Reason.GATE_DOCUMENTS),
    ("damaged_characters", 5, Reason.ENCODING_DAMAGE),
    ("entities", json.dumps([["author", "person", " "]]), Reason.GATE_ENTITIES),
    ("entities", json.dumps([["author", "planet", "Mars"]]), Reason.GATE_ENTITIES),
    ("entities", json.dumps([["butcher", "person", "Ada"]]), Reason.GATE_ENTITIES),
    ("entities", json.dumps([["author", "person", "a" * (SETTINGS.max_name_characters + 1)]]), Reason.GATE_ENTITIES),
    ("entities", json.dumps([["author", "person"]]), Reason.GATE_ENTITIES),
    ("entities", json.dumps([[["author"], ["person"], "Ada"]]), Reason.GATE_ENTITIES),
    ("entities", "no list", Reason.GATE_ENTITIES),
    ("entities", None, Reason.GATE_ENTITIES),
    ("relations", json.dumps([["eats", ["package", "a"], ["package", "b"]]]), Reason.GATE_ENTITIES),
    ("relations", json.dumps([["requires", ["package", "a"]]]), Reason.GATE_ENTITIES),
    ("relations", json.dumps([["requires", ["package", "a"], ["package", ""]]]), Reason.GATE_ENTITIES),
    ("relations", json.dumps([["requires", ["package", "a"], "b"]]), Reason.GATE_ENTITIES),
    ("links", json.dumps([["references", ""]]), Reason.GATE_ENTITIES),
    ("links", json.dumps([["points", "notes/1.md"]]), Reason.GATE_ENTITIES),
    ("links", json.dumps({"references": "notes/1.md"}), Reason.GATE_ENTITIES),
]


def test_sound_documents_pass_and_none_is_rejected() -> None:
    result = judge_documents(documents())
    assert (result.passed, result.rejected, result.evaluated) == (True, {}, DOCUMENTS)
    assert result.failed_expectations == {}
    assert result.warnings == ()


def test_one_bad_document_goes_to_quarantine_and_the_others_pass() -> None:
    result = judge_documents(with_cells(documents(), [3], "links", "[[]]"))
    assert result.passed
    assert result.rejected == {document(3): Reason.GATE_ENTITIES}
    assert result.failed_by == {document(3): ("expect_column_values_to_be_in_set(links_are_sound)",)}
    assert result.message == "The gate documents passed; 1 of 40 documents go to quarantine"


def test_each_fault_is_found_under_its_reason() -> None:
    frame = documents(len(FAULTS))
    for row, (column, value, _) in enumerate(FAULTS):
        frame = with_cells(frame, [row], column, value)
    result = judge_documents(frame, settings=SETTINGS.model_copy(update={"max_quarantined_fraction": 1.0}))
    assert result.passed
    assert result.rejected == {document(row): reason for row, (_, _, reason) in enumerate(FAULTS)}


@pytest.mark.parametrize(
    ("rows", "passes"), [(1, True), (DOCUMENTS // 20, True), (DOCUMENTS // 5, True), (DOCUMENTS // 5 + 1, False)]
)
def test_up_to_the_allowed_fraction_goes_to_quarantine_and_one_more_stops_the_run(rows: int, passes: bool) -> None:
    result = judge_documents(with_cells(documents(), range(rows), "chunk_count", 0))
    assert (result.passed, len(result.rejected)) == (passes, rows)
    if not passes:
        with pytest.raises(GateFailed, match="rejected 9 of 40 documents, more than the allowed 8"):
            result.require()


def test_a_run_of_nothing_but_bad_documents_stops() -> None:
    result = judge_documents(with_cells(documents(), range(DOCUMENTS), "damaged_characters", 400))
    assert not result.passed
    assert set(result.rejected.values()) == {Reason.ENCODING_DAMAGE}
    assert len(result.rejected) == DOCUMENTS


def test_a_document_id_that_occurs_twice_is_rejected_even_in_another_slice() -> None:
    frame = documents()
    twice = with_cells(frame, [20], "document_id", str(document(3)))
    result = judge_documents(twice.iloc[:10], twice.iloc[10:])
    assert result.rejected == {document(3): Reason.GATE_DOCUMENTS}
    assert result.failed_expectations["expect_column_values_to_be_in_set(id_is_unique)"] == 2


def test_a_row_without_document_id_fails_the_gate_because_nobody_can_be_quarantined_for_it() -> None:
    result = judge_documents(with_cells(documents(), [3], "document_id", None))
    assert not result.passed
    assert "as a whole" in result.message


def test_the_verdict_is_the_same_whatever_the_slices() -> None:
    frame = with_cells(with_cells(documents(), [3], "uri", ""), [30], "damaged_characters", 99)
    whole = judge_documents(frame)
    sliced = judge_documents(*(frame.iloc[start : start + 7] for start in range(0, DOCUMENTS, 7)))
    assert (whole.passed, whole.rejected, whole.evaluated) == (sliced.passed, sliced.rejected, sliced.evaluated)
    assert whole.expectations == sliced.expectations


def test_a_few_damaged_characters_are_no_damage_and_a_long_text_may_have_more() -> None:
    frame = with_cells(documents(), [3], "damaged_characters", SETTINGS.tolerated_damaged_characters)
    frame = with_cells(with_cells(frame, [4], "text_characters", 10_000), [4], "damaged_characters", 50)
    assert judge_documents(frame).rejected == {}


def test_a_text_in_another_language_than_the_source_declares_is_rejected() -> None:
    frame = with_cells(with_cells(documents(), [3], "language", "fr"), [3], "language_probability", 0.01)
    assert judge_documents(frame).rejected == {}
    declared = replace(ORIGIN, languages=("en",))
    assert judge_documents(frame, origin=declared).rejected == {document(3): Reason.WRONG_LANGUAGE}
    cannot_tell = with_cells(frame, [3], "language", "")
    assert judge_documents(cannot_tell, origin=declared).rejected == {}


def test_equal_texts_are_documents_of_their_own_up_to_a_limit_and_are_only_counted() -> None:
    frame = with_cells(documents(), range(SETTINGS.max_equal_documents), "said_digest", "0" * 32)
    result = judge_documents(frame)
    assert (result.passed, result.rejected) == (True, {})
    assert "9 documents say exactly what another one of the run says" in result.message


def test_of_a_text_that_too_many_documents_say_only_the_first_by_uri_is_kept() -> None:
    shuffled = documents().sample(frac=1, random_state=3).reset_index(drop=True)
    equal = [row for row, uri in enumerate(shuffled["uri"]) if uri <= "notes/010.md"]
    frame = with_cells(shuffled, equal, "said_digest", "0" * 32)
    result = judge_documents(
        frame.iloc[:25], frame.iloc[25:], settings=SETTINGS.model_copy(update={"max_quarantined_fraction": 0.5})
    )
    assert result.passed
    assert result.rejected == {document(number): Reason.DUPLICATE_CONTENT for number in range(1, 11)}


def test_a_frame_that_lacks_a_column_fails_the_gate() -> None:
    with pytest.raises(GateFailed, match="lacks the columns chunk_count"):
        judge_documents(documents().drop(columns="chunk_count"))


@pytest.mark.parametrize("column", ["chunk_count", "damaged_characters", "language_probability"])
def test_a_gate_that_itself_raises_has_failed_and_tells_no_value(column: str) -> None:
    origin = replace(ORIGIN, languages=("en",))
    with pytest.raises(GateFailed) as failed:
        judge_documents(with_cells(documents(), [3], column, "secret words"), origin=origin)
    assert "secret" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_run_without_documents_has_nothing_to_check() -> None:
    for frames in ((), (documents(0),), (pd.DataFrame({"document_id": []}),)):
        result = judge_documents(*frames)
        assert (result.passed, result.evaluated) == (True, 0)
        assert result.message == "The gate documents had nothing to check"


def test_frames_read_from_parquet_with_more_columns_are_checked_as_they_are(tmp_path: Path) -> None:
    documents().assign(base=None).to_parquet(tmp_path / "documents.parquet")
    frame = pd.read_parquet(tmp_path / "documents.parquet")
    assert judge_documents(frame).rejected == {}


def test_a_kept_verdict_counts_each_expectation_and_names_some_of_the_rejected() -> None:
    frame = with_cells(documents(), range(4), "entities", json.dumps([["author", "person", ""]]))
    result = check_documents([frame], origin=ORIGIN, settings=SETTINGS)
    kept = json.loads(json.dumps(result.as_json(max_documents=2)))
    assert (kept["gate"], kept["passed"], kept["evaluated"]) == ("documents", True, DOCUMENTS)
    assert kept["rejected_documents"] == 4
    assert len(kept["rejected"]) == 2
    assert set(kept["rejected"].values()) == {"gate_entities"}
    by_name = {one["expectation"]: one for one in kept["expectations"]}
    name = "expect_column_values_to_be_in_set(entities_are_sound)"
    assert (by_name[name]["evaluated"], by_name[name]["failed"]) == (DOCUMENTS, 4)
    assert kept["failed_expectations"] == {name: 4}
    assert kept["started_at"] <= kept["ended_at"]
    assert "Ada" not in json.dumps(kept)
