"""The gate of chunks and vectors on frames: what passes, what goes to quarantine, what stops the run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concordance import ids
from concordance.embedding.canaries import Canaries
from concordance.errors import GateFailed
from concordance.model import Reason
from concordance.quality import Encoding, ShardFrames, check_chunks
from support.gate_frames import (
    CANARIES,
    DIMENSION,
    DOCUMENTS,
    MODEL,
    SETTINGS,
    VERSION_SETTINGS,
    body,
    chunks,
    document,
    documents,
    header,
    judge_chunks,
    vectors,
    with_cells,
    with_text,
)

ALL_MAY_GO = SETTINGS.model_copy(update={"max_quarantined_fraction": 1.0})
# Cells of the first chunk of a document.
FAULTS = [
    ("text", "Note 1\n\nanother text than the digest's", Reason.GATE_CHUNKS),
    ("text", "Heading\n\nbroken \ud800", Reason.GATE_CHUNKS),
    ("text", None, Reason.GATE_CHUNKS),
    ("token_count", MODEL.window_tokens + 1, Reason.GATE_CHUNKS),
    ("token_count", 0, Reason.GATE_CHUNKS),
    ("token_count", None, Reason.GATE_CHUNKS),
    ("ordinal", 7, Reason.GATE_CHUNKS),
    ("ordinal", 1, Reason.GATE_CHUNKS),
    ("heading_path", None, Reason.GATE_CHUNKS),
    ("heading_path", "Heading", Reason.GATE_CHUNKS),
    ("heading_path", ["Heading", ""], Reason.GATE_CHUNKS),
    ("heading_path", ["Heading", 3], Reason.GATE_CHUNKS),
    ("heading_path", ["Heading"] * 7, Reason.GATE_CHUNKS),
    ("heading_path", ["a" * 400], Reason.GATE_CHUNKS),
    ("heading_path", ["Another heading"], Reason.GATE_CHUNKS),
    ("mentions", json.dumps([["package", "", 1]]), Reason.GATE_ENTITIES),
    ("mentions", json.dumps([["planet", "Mars", 1]]), Reason.GATE_ENTITIES),
    ("mentions", json.dumps([["package", "alpha", 0]]), Reason.GATE_ENTITIES),
    ("mentions", "[", Reason.GATE_ENTITIES),
]


def unit(*values: float) -> np.ndarray[Any, Any]:
    return np.array([*values, *[0.0] * (DIMENSION - len(values))], dtype=np.float32)


BAD_VECTORS = [
    (unit(float("nan")), "vector_is_finite"),
    (unit(float("inf")), "vector_is_finite"),
    ([1e39] + [0.0] * (DIMENSION - 1), "vector_is_finite"),
    (unit(0.0), "vector_is_of_unit_norm"),
    (unit(2.0), "vector_is_of_unit_norm"),
    (np.ones(DIMENSION + 1, dtype=np.float32), "vector_has_dimension"),
    (np.ones((DIMENSION, 1), dtype=np.float32), "vector_has_dimension"),
    ([], "vector_has_dimension"),
    ("text", "vector_has_dimension"),
]


def test_sound_chunks_pass() -> None:
    result = judge_chunks(chunks())
    assert (result.passed, result.rejected, result.evaluated) == (True, {}, DOCUMENTS)
    assert (result.failed_expectations, result.warnings) == ({}, ())


def test_each_fault_of_a_chunk_is_found_under_its_reason() -> None:
    frame = chunks(len(FAULTS))
    for number, (column, value, _) in enumerate(FAULTS):
        frame = with_cells(frame, [2 * number], column, value)
    result = judge_chunks(frame, vectors(chunks(len(FAULTS))), settings=ALL_MAY_GO)
    assert result.passed
    assert result.rejected == {document(number): reason for number, (_, _, reason) in enumerate(FAULTS)}


@pytest.mark.parametrize(
    ("rows", "passes"), [(1, True), (DOCUMENTS // 20, True), (DOCUMENTS // 5, True), (DOCUMENTS, False)]
)
def test_up_to_the_allowed_fraction_goes_to_quarantine_and_more_stops_the_run(rows: int, passes: bool) -> None:
    result = judge_chunks(with_cells(chunks(), range(0, 2 * rows, 2), "token_count", 0))
    assert (result.passed, len(result.rejected)) == (passes, rows)


@pytest.mark.parametrize("empty", ["", " \n "])
def test_a_chunk_with_a_header_and_no_body_is_rejected(empty: str) -> None:
    frame = with_text(chunks(), 3, f"{header(1)}\n\n{empty}")
    sound = documents().assign(said_characters=0)
    result = judge_chunks(frame, documents_frame=sound)
    assert result.rejected == {document(1): Reason.GATE_CHUNKS}
    assert list(result.failed_expectations) == ["expect_column_values_to_be_in_set(body_is_present)"]


@pytest.mark.parametrize(
    "made",
    [
        "Note 1 > Outer > Inner",
        "Note 1 > Inner",
        "Note > Inn",
        "Note 1",
        "",
    ],
)
def test_a_header_may_lack_outer_headings_and_may_be_cut_after_a_word(made: str) -> None:
    frame = with_cells(with_text(chunks(), 2, f"{made}\n\n{body(1)}"), [2], "heading_path", ["Outer", "Inner"])
    assert judge_chunks(frame).rejected == {}


@pytest.mark.parametrize("made", ["Inner > Outer", "Note 1 > Outer", "Note 2 > Inner", "Note 1 > Inner > Outer"])
def test_another_header_than_the_chunker_makes_of_the_path_is_rejected(made: str) -> None:
    frame = with_cells(with_text(chunks(), 2, f"{made}\n\n{body(1)}"), [2], "heading_path", ["Outer", "Inner"])
    assert judge_chunks(frame).rejected == {document(1): Reason.GATE_CHUNKS}


def test_a_chunk_of_a_document_that_the_run_does_not_have_is_rejected() -> None:
    strange = chunks(DOCUMENTS + 1)
    result = judge_chunks(strange, documents_frame=documents(DOCUMENTS))
    assert result.rejected == {document(DOCUMENTS): Reason.GATE_CHUNKS}
    assert result.evaluated == DOCUMENTS + 1


@pytest.mark.parametrize("dropped", [0, 4, 9])
def test_one_chunk_of_ten_that_the_cutting_lost_is_noticed(dropped: int) -> None:
    parts = [body(1, part) for part in range(10)]
    texts = [f"Note 1\n\n{part}" for part in parts]
    kept = [text for number, text in enumerate(texts) if number != dropped]
    one = (
        documents(2)
        .iloc[1:]
        .assign(chunk_count=len(kept), said_characters=sum(sum(map(str.isalnum, part)) for part in parts))
    )
    frame = pd.DataFrame(
        {
            "document_id": [str(document(1))] * len(kept),
            "ordinal": range(len(kept)),
            "text": kept,
            "text_digest": [ids.text_digest(text) for text in kept],
            "token_count": 20,
            "heading_path": [[] for _ in kept],
            "mentions": "[]",
        }
    )
    result = judge_chunks(frame, documents_frame=one)
    assert result.rejected == {document(1): Reason.GATE_CHUNKS}
    assert list(result.failed_expectations) == ["expect_column_values_to_be_in_set(text_is_covered)"]


def test_a_chunk_that_got_lost_after_the_cutting_is_noticed() -> None:
    result = judge_chunks(chunks().drop(index=3), vectors(chunks()), documents_frame=documents())
    assert result.rejected == {document(1): Reason.GATE_CHUNKS}
    assert "expect_column_pair_values_to_be_equal(chunk_count, chunks_found)" in result.failed_expectations


def test_a_document_all_of_whose_chunks_are_lost_is_rejected() -> None:
    result = judge_chunks(chunks().drop(index=[2, 3]), vectors(chunks()), documents_frame=documents())
    assert result.rejected == {document(1): Reason.GATE_CHUNKS}


def test_a_text_that_occurs_in_two_documents_may_have_its_vector_once_or_often() -> None:
    frame = with_text(with_text(chunks(), 0, f"Heading\n\n{body(7)}"), 4, f"Heading\n\n{body(7)}")
    every = vectors(frame)
    assert judge_chunks(frame, every.drop_duplicates("text_digest")).passed
    assert judge_chunks(frame, every).passed


def test_each_bad_vector_is_found_under_one_expectation() -> None:
    frame = chunks()
    given = vectors(frame)
    cells = given["vector"].tolist()
    for number, (vector, _) in enumerate(BAD_VECTORS):
        cells[2 * number] = vector
    result = judge_chunks(frame, given.assign(vector=pd.Series(cells, dtype=object)), settings=ALL_MAY_GO)
    assert result.passed
    assert result.rejected == {document(number): Reason.BAD_VECTOR for number in range(len(BAD_VECTORS))}
    assert result.failed_by == {
        document(number): (f"expect_column_values_to_be_in_set({expectation})",)
        for number, (_, expectation) in enumerate(BAD_VECTORS)
    }


def test_a_chunk_without_vector_is_rejected() -> None:
    result = judge_chunks(chunks(), vectors(chunks()).drop(index=3))
    assert result.rejected == {document(1): Reason.BAD_VECTOR}
    assert result.failed_expectations == {"expect_column_values_to_be_in_set(vector_is_there)": 1}


def test_no_vectors_at_all_fail_the_gate() -> None:
    result = judge_chunks(chunks(), vectors(chunks()).iloc[:0])
    assert not result.passed
    assert len(result.rejected) == DOCUMENTS


def test_an_embedder_that_gives_every_text_the_same_vector_fails_the_gate_even_if_all_may_be_quarantined() -> None:
    collapsed = vectors(chunks()).assign(vector=[unit(1.0)] * 2 * DOCUMENTS)
    result = judge_chunks(chunks(), collapsed, settings=ALL_MAY_GO)
    assert not result.passed
    assert result.rejected == {}
    assert "expect_column_values_to_be_between(distinct_vector_fraction)" in result.message


def test_two_spellings_that_a_model_does_not_tell_apart_are_no_collapse() -> None:
    frame = with_text(with_text(chunks(1), 0, "Heading\n\nÉtude one"), 1, "heading\n\netude  ONE")
    frame = with_cells(frame, [1], "heading_path", ["heading"])
    same = vectors(frame).assign(vector=[unit(1.0)] * 2)
    assert judge_chunks(frame, same, documents_frame=documents(1).assign(said_characters=10)).passed


def test_vectors_of_another_model_stop_the_run() -> None:
    result = judge_chunks(chunks(), encoding=Encoding("another", 0), settings=ALL_MAY_GO)
    assert (result.passed, result.rejected) == (False, {})
    assert "model_is_the_versions" in result.message


def moved(distance: float) -> np.ndarray[Any, Any]:
    """The canaries' vectors with one of them turned by a cosine distance."""
    found = CANARIES.vectors.copy()
    found[1, :3] = [np.sqrt(1 - (1 - distance) ** 2), 1 - distance, 0]
    return found


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        (CANARIES.vectors, True),
        (moved(SETTINGS.canary_epsilon / 2), True),
        (moved(SETTINGS.canary_epsilon * 2), False),
        (-CANARIES.vectors, False),
        (CANARIES.vectors * np.nan, False),
        (CANARIES.vectors * 0, False),
        (CANARIES.vectors[:1], False),
        (None, False),
    ],
)
def test_canaries_that_moved_stop_the_run(found: np.ndarray[Any, Any] | None, passes: bool) -> None:
    result = judge_chunks(chunks(1), encoding=Encoding(MODEL.digest, 1, found), settings=ALL_MAY_GO)
    assert (result.passed, result.rejected) == (passes, {})
    assert ("canary_distance" in result.message) is not passes


def test_a_run_that_only_copied_vectors_has_no_canaries_to_compare() -> None:
    assert judge_chunks(chunks(1), encoding=Encoding(MODEL.digest, 0, None)).passed


@pytest.mark.parametrize(
    ("vector", "encoding", "fails_on"),
    [
        (unit(1.0), Encoding(MODEL.digest, 1, CANARIES.vectors), None),
        (unit(1.0), Encoding(MODEL.digest, 0, None), None),
        (unit(1.0), Encoding("another", 5, CANARIES.vectors), "model_is_the_versions"),
        (unit(1.0), Encoding(MODEL.digest, 5, moved(1.0)), "canary_distance"),
        *((vector, Encoding(MODEL.digest, 1, CANARIES.vectors), truth) for vector, truth in BAD_VECTORS),
    ],
)
def test_vectors_of_documents_that_are_not_judged_themselves_are_judged(
    vector: Any, encoding: Encoding, fails_on: str | None
) -> None:
    """A build that took all of a shard's documents over encodes their texts anew under another model."""
    rows = pd.DataFrame({"text_digest": ["a", "b"], "vector": [unit(0.0, 1.0), vector]})
    result = judge_chunks(
        chunks(0), rows, documents_frame=documents(0), encoding=encoding, settings=ALL_MAY_GO, taken_over=("a", "b")
    )
    assert (result.passed, result.rejected) == (fails_on is None, {})
    assert "nothing to check" not in result.message
    if fails_on is not None:
        (expectation,) = result.failed_expectations
        assert fails_on in expectation
        assert fails_on in result.message


def test_beside_judged_documents_a_vector_of_one_that_was_taken_over_is_judged_for_the_run_as_a_whole() -> None:
    sound = vectors(chunks())
    beside = pd.DataFrame({"text_digest": ["beside"], "vector": [unit(2.0)]})
    result = judge_chunks(chunks(), pd.concat([sound, beside]), settings=ALL_MAY_GO, taken_over=["beside"])
    assert (result.passed, result.rejected) == (False, {})
    assert result.failed_expectations == {"vectors: expect_column_values_to_be_in_set(vector_is_of_unit_norm)": 1}
    mended = pd.concat([sound, beside.assign(vector=[unit(1.0)])])
    assert judge_chunks(chunks(), mended, taken_over=["beside"]).passed


def test_a_gate_that_is_asked_again_passes_beside_the_vectors_of_what_it_has_rejected() -> None:
    rows, rejected = vectors(chunks(2)), str(chunks(2)["document_id"].iloc[0])
    rows.at[0, "vector"] = unit(2.0)
    first = judge_chunks(chunks(2), rows, settings=ALL_MAY_GO)
    assert (first.passed, list(map(str, first.rejected))) == (True, [rejected])
    left = chunks(2)[chunks(2)["document_id"] != rejected]
    kept = documents(2)[documents(2)["document_id"] != rejected]
    again = judge_chunks(left, rows, documents_frame=kept, settings=ALL_MAY_GO)
    assert (again.passed, again.rejected) == (True, {})


def test_a_version_without_canaries_is_told_of_and_passes() -> None:
    result = judge_chunks(chunks(1), canaries=None)
    assert result.passed
    assert "made before canary texts were kept" in result.message


def test_canaries_are_kept_bit_for_bit() -> None:
    kept = Canaries.from_json(json.loads(json.dumps(CANARIES.as_json())))
    assert kept is not None
    assert kept.texts == CANARIES.texts
    assert kept.vectors.tobytes() == CANARIES.vectors.tobytes()
    assert kept.distance(CANARIES.vectors) == 0.0
    assert Canaries.from_json(None) is None


def with_common_body(documents_with_it: int) -> pd.DataFrame:
    frame = chunks()
    for number in range(documents_with_it):
        frame = with_text(frame, 2 * number + 1, f"{header(number)}\n\n{body(0, 1)}")
    return frame


def test_a_body_that_recurs_in_many_documents_is_told_of_and_its_documents_stay() -> None:
    few = SETTINGS.min_repeated_documents - 1
    assert judge_chunks(with_common_body(few)).warnings == ()
    result = judge_chunks(with_common_body(few + 1))
    assert (result.passed, result.rejected) == (True, {})
    assert "1 chunk bodies recur in many documents and are 10 of the run's 80 chunks" in result.message


def test_a_run_most_of_whose_chunks_recur_stops() -> None:
    frame = with_common_body(DOCUMENTS)
    frame = with_text(frame, 0, f"Heading\n\n{body(0, 1)}")
    result = judge_chunks(frame, settings=ALL_MAY_GO)
    assert (result.passed, result.rejected) == (False, {})
    assert "repeated_chunk_fraction" in result.message


def test_the_verdict_is_the_same_whatever_the_shards_and_slices() -> None:
    frame = with_cells(with_cells(chunks(), [3], "token_count", 0), [60], "mentions", "[")
    given, rows = vectors(frame), documents()

    def shard(first: int, last: int) -> ShardFrames:
        own = frame.iloc[2 * first : 2 * last]
        return ShardFrames(
            documents=rows.iloc[first:last],
            chunks=[own.iloc[start : start + 6] for start in range(0, len(own), 6)],
            vectors=[given.iloc[start : start + 9] for start in range(0, len(given), 9)],
            encoding=Encoding(MODEL.digest, 1, CANARIES.vectors),
        )

    shards = [shard(0, 15), shard(15, 16), shard(16, DOCUMENTS)]
    sliced = check_chunks(shards, canaries=CANARIES, version_settings=VERSION_SETTINGS, settings=SETTINGS)
    whole = judge_chunks(frame, given)
    assert (whole.passed, whole.rejected, whole.evaluated) == (sliced.passed, sliced.rejected, sliced.evaluated)
    assert whole.failed_expectations == sliced.failed_expectations
    assert whole.figures == sliced.figures


def test_the_figures_of_a_run_are_its_means() -> None:
    figures = judge_chunks(chunks()).figures
    lengths = [len(text) for text in chunks()["text"]]
    assert figures == {
        "checked_documents": DOCUMENTS,
        "chunk_characters": sum(lengths) / len(lengths),
        "entities_per_chunk": 1.0,
    }


def test_a_jump_warns_or_stops_by_the_setting() -> None:
    earlier = [{"checked_documents": 40.0, "chunk_characters": 5.0, "entities_per_chunk": 1.0}] * 3
    result = judge_chunks(chunks(), earlier=earlier)
    assert result.passed
    assert "The mean length of a chunk in characters is" in result.message
    stops = SETTINGS.model_copy(update={"jumps_stop": True})
    result = judge_chunks(chunks(), earlier=earlier, settings=stops)
    assert (result.passed, result.rejected) == (False, {})
    assert "jumps_stop" in result.message


def test_a_raising_check_has_failed_and_tells_no_value() -> None:
    for column in ("ordinal", "token_count"):
        with pytest.raises(GateFailed, match="gate chunks") as failed:
            judge_chunks(with_cells(chunks(), [1], column, "secret words"))
        assert "secret" not in str(failed.value)


def test_a_run_without_chunks_has_nothing_to_check() -> None:
    assert judge_chunks(chunks(0), vectors(chunks(0)), documents_frame=documents(0)).passed
    assert check_chunks((), canaries=None, version_settings=VERSION_SETTINGS, settings=SETTINGS).evaluated == 0


def test_a_verdict_is_json_of_counts_and_ids_and_holds_no_text() -> None:
    result = judge_chunks(with_cells(chunks(), [3], "text", "Note 1\n\nprivate words"), vectors(chunks()))
    shown = json.dumps(result.as_json(max_documents=10))
    assert "private" not in shown
    assert "Sentence" not in shown
    assert json.loads(shown)["rejected"] == {str(document(1)): "gate_chunks"}
