"""The gates on frames: what passes, what goes to quarantine, what stops the run. Great Expectations really runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import pandas as pd
import pytest

from concordance import ids
from concordance.errors import GateFailed
from concordance.model import IndexSettings, ModelFingerprint, Reason
from concordance.quality import GateResult, check_chunks, check_documents, check_stores
from concordance.quality.truths import distinct_vectors
from concordance.settings import Settings

DIMENSION = 8
SETTINGS = Settings(max_quarantined_fraction=0.2)
MODEL = ModelFingerprint(
    name="test",
    revision="1",
    files_digest="0" * 64,
    dimension=DIMENSION,
    window_tokens=64,
    precision="fp32",
    backend="hash",
)
VERSION_SETTINGS = IndexSettings(
    chunk_min_tokens=16,
    chunk_max_tokens=48,
    header_max_tokens=8,
    chunker_revision=1,
    parser_revision=1,
    entities_revision=1,
    bm25_k1=1.2,
    bm25_b=0.75,
    bm25_average_tokens=40.0,
    gazetteer_digest="0" * 64,
    model=MODEL,
)


def document(number: int) -> UUID:
    return uuid5(ids.NAMESPACE, f"document {number}")


def documents(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "document_id": [document(number) for number in range(count)],
            "uri": [f"notes/{number}.md" for number in range(count)],
            "title": [f"Note {number}" if number % 2 else None for number in range(count)],
            "fingerprint": [ids.digest(number) for number in range(count)],
            "source": ["notes"] * count,
            "size_bytes": [1000 + number for number in range(count)],
            "text_characters": [900 + number for number in range(count)],
            "chunk_count": [2] * count,
        }
    )


def chunks(count: int, *, per_document: int = 2) -> pd.DataFrame:
    texts = [f"Note {number // per_document}\n\nSentence number {number} of it." for number in range(count)]
    return pd.DataFrame(
        {
            "document_id": [document(number // per_document) for number in range(count)],
            "ordinal": [number % per_document for number in range(count)],
            "text": texts,
            "text_digest": [ids.text_digest(text) for text in texts],
            "token_count": [20] * count,
            "heading_path": [("Heading",)] * count,
        }
    )


def vectors(frame: pd.DataFrame) -> pd.DataFrame:
    random = np.random.default_rng(7)
    rows = random.normal(size=(len(frame), DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return pd.DataFrame({"text_digest": frame["text_digest"], "vector": list(rows)})


def stores(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "document_id": [document(number) for number in range(count)],
            "generation": [1] * count,
            "chunks_expected": [3] * count,
            "chunks_in_graph": [3] * count,
            "points_in_vectors": [3] * count,
            "digests_agree": [True] * count,
        }
    )


def with_cell(frame: pd.DataFrame, row: int, column: str, value: Any) -> pd.DataFrame:
    cells = frame[column].tolist()
    cells[row] = value
    return frame.assign(**{column: pd.Series(cells, dtype=object)})


def check(chunks_frame: pd.DataFrame, vectors_frame: pd.DataFrame, settings: Settings = SETTINGS) -> GateResult:
    return check_chunks(chunks_frame, vectors_frame, version_settings=VERSION_SETTINGS, settings=settings)


def test_sound_documents_pass_and_none_is_rejected() -> None:
    result = check_documents(documents(20), settings=SETTINGS)
    assert (result.passed, result.rejected, result.evaluated, result.failed_expectations) == (True, {}, 20, {})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("uri", ""),
        ("uri", None),
        ("source", None),
        ("fingerprint", "a" * 63),
        ("fingerprint", "A" * 64),
        ("fingerprint", "a" * 64 + "\n"),
        ("fingerprint", None),
        ("size_bytes", SETTINGS.max_document_bytes + 1),
        ("text_characters", 0),
        ("text_characters", None),
        ("text_characters", SETTINGS.max_text_bytes + 1),
        ("chunk_count", 0),
        ("chunk_count", SETTINGS.max_chunks_per_document + 1),
    ],
)
def test_one_bad_document_goes_to_quarantine_and_the_others_pass(column: str, value: Any) -> None:
    result = check_documents(with_cell(documents(20), 3, column, value), settings=SETTINGS)
    assert result.passed
    assert result.rejected == {document(3): Reason.GATE_DOCUMENTS}
    assert sum(result.failed_expectations.values()) >= 1


def test_a_document_id_that_occurs_twice_is_rejected() -> None:
    result = check_documents(with_cell(documents(20), 3, "document_id", document(4)), settings=SETTINGS)
    assert result.rejected == {document(4): Reason.GATE_DOCUMENTS}


def test_a_row_without_document_id_fails_the_gate_because_nobody_can_be_quarantined_for_it() -> None:
    result = check_documents(with_cell(documents(20), 3, "document_id", None), settings=SETTINGS)
    assert not result.passed
    assert "as a whole" in result.message


def test_ids_that_come_as_strings_from_an_artefact_are_ids() -> None:
    frame = documents(20)
    frame = with_cell(frame.assign(document_id=frame["document_id"].map(str)), 3, "uri", "")
    assert check_documents(frame, settings=SETTINGS).rejected == {document(3): Reason.GATE_DOCUMENTS}


def test_the_allowed_fraction_passes_and_one_document_more_fails_the_gate() -> None:
    allowed = documents(20).assign(chunk_count=[0] * 4 + [2] * 16)
    assert check_documents(allowed, settings=SETTINGS).passed
    result = check_documents(allowed.assign(chunk_count=[0] * 5 + [2] * 15), settings=SETTINGS)
    assert not result.passed
    with pytest.raises(GateFailed, match="rejected 5 of 20 documents, more than the allowed 4"):
        result.require()


def test_a_frame_that_lacks_a_column_fails_the_gate() -> None:
    with pytest.raises(GateFailed, match="lacks the columns chunk_count"):
        check_documents(documents(2).drop(columns="chunk_count"), settings=SETTINGS)


def test_a_gate_that_itself_raises_has_failed_and_tells_no_value() -> None:
    frame = with_cell(documents(20), 3, "chunk_count", "secret words")
    with pytest.raises(GateFailed) as failed:
        check_documents(frame, settings=SETTINGS)
    assert "secret" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_raising_check_of_vectors_has_failed_and_tells_no_value() -> None:
    frame = with_cell(chunks(4), 1, "ordinal", "secret words")
    with pytest.raises(GateFailed, match="gate chunks") as failed:
        check(frame, vectors(frame))
    assert "secret" not in str(failed.value)


def test_a_run_without_documents_has_nothing_to_check() -> None:
    assert check_documents(documents(0), settings=SETTINGS).passed
    assert check_documents(pd.DataFrame({"document_id": []}), settings=SETTINGS).passed
    assert check(chunks(0), vectors(chunks(0))).passed
    assert check_stores(stores(0), settings=SETTINGS).evaluated == 0


def test_sound_chunks_pass() -> None:
    frame = chunks(40)
    result = check(frame, vectors(frame))
    assert (result.passed, result.rejected, result.evaluated) == (True, {}, 20)


def test_a_text_that_occurs_in_many_documents_may_have_its_vector_once_or_often() -> None:
    frame = chunks(40)
    frame = frame.assign(text=frame["text"].where(frame["ordinal"] == 0, "\n\nThe same licence for all."))
    frame = frame.assign(text_digest=frame["text"].map(ids.text_digest))
    every = vectors(frame)
    assert check(frame, every.drop_duplicates("text_digest")).passed
    assert check(frame, every).passed


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("text", "Note 1\n\nanother text than the digest's"),
        ("token_count", MODEL.window_tokens + 1),
        ("token_count", 0),
        ("token_count", None),
        ("ordinal", 7),
        ("ordinal", 0),
    ],
)
def test_one_bad_chunk_sends_its_document_to_quarantine(column: str, value: Any) -> None:
    frame = with_cell(chunks(40), 3, column, value)
    result = check(frame, vectors(frame))
    assert result.passed
    assert result.rejected == {document(1): Reason.GATE_CHUNKS}


@pytest.mark.parametrize("body", ["", " \n "])
def test_a_chunk_with_a_header_and_no_body_is_rejected(body: str) -> None:
    frame = with_cell(chunks(40), 3, "text", f"Note 1\n\n{body}")
    frame = with_cell(frame, 3, "text_digest", ids.text_digest(f"Note 1\n\n{body}"))
    result = check(frame, vectors(frame))
    assert result.rejected == {document(1): Reason.GATE_CHUNKS}
    assert list(result.failed_expectations) == ["expect_column_values_to_be_in_set(body_is_present)"]


def test_a_lone_surrogate_is_rejected_and_does_not_stop_the_gate() -> None:
    frame = chunks(40)
    given = vectors(frame)
    assert check(with_cell(frame, 3, "text", "Note 1\n\nbroken \ud800"), given).rejected == {
        document(1): Reason.GATE_CHUNKS
    }


def unit(*values: float) -> np.ndarray[Any, Any]:
    return np.array([*values, *[0.0] * (DIMENSION - len(values))], dtype=np.float32)


@pytest.mark.parametrize(
    ("vector", "expectation"),
    [
        (unit(float("nan")), "vector_is_finite"),
        (unit(float("inf")), "vector_is_finite"),
        ([1e39] + [0.0] * (DIMENSION - 1), "vector_is_finite"),
        (unit(0.0), "vector_is_of_unit_norm"),
        (unit(2.0), "vector_is_of_unit_norm"),
        (np.ones(DIMENSION + 1, dtype=np.float32), "vector_has_dimension"),
        (np.ones((DIMENSION, 1), dtype=np.float32), "vector_has_dimension"),
        ([], "vector_has_dimension"),
        ("text", "vector_has_dimension"),
    ],
)
def test_one_bad_vector_sends_its_document_to_quarantine_under_one_expectation(vector: Any, expectation: str) -> None:
    frame = chunks(40)
    given = vectors(frame)
    cells = given["vector"].tolist()
    cells[3] = vector
    result = check(frame, pd.DataFrame({"text_digest": given["text_digest"], "vector": cells}))
    assert result.passed
    assert result.rejected == {document(1): Reason.BAD_VECTOR}
    assert result.failed_expectations == {f"expect_column_values_to_be_in_set({expectation})": 1}


def test_a_chunk_without_vector_is_rejected() -> None:
    frame = chunks(40)
    result = check(frame, vectors(frame).drop(index=3))
    assert result.rejected == {document(1): Reason.BAD_VECTOR}
    assert result.failed_expectations == {"expect_column_values_to_be_in_set(vector_is_there)": 1}


def test_no_vectors_at_all_fail_the_gate() -> None:
    frame = chunks(40)
    result = check(frame, vectors(frame).iloc[:0])
    assert not result.passed
    assert len(result.rejected) == 20


def test_an_embedder_that_gives_every_text_the_same_vector_fails_the_gate_even_if_all_may_be_quarantined() -> None:
    frame = chunks(40)
    collapsed = pd.DataFrame({"text_digest": frame["text_digest"], "vector": [unit(1.0)] * 40})
    result = check(frame, collapsed, Settings(max_quarantined_fraction=1))
    assert not result.passed
    assert result.rejected == {}
    assert "expect_column_proportion_of_unique_values_to_be_between(vector_digest)" in result.message


def test_two_spellings_that_a_model_does_not_tell_apart_are_no_collapse() -> None:
    texts = ["\n\nÉtude one", "\n\netude  ONE"]
    frame = chunks(2).assign(text=texts, text_digest=[ids.text_digest(text) for text in texts])
    same = pd.DataFrame({"text_digest": frame["text_digest"], "vector": [unit(1.0)] * 2})
    assert check(frame, same).passed
    assert len(distinct_vectors(frame, same, dimension=DIMENSION)) == 1


def test_sound_stores_pass() -> None:
    assert check_stores(stores(20), settings=SETTINGS).passed


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("chunks_in_graph", 2),
        ("chunks_in_graph", None),
        ("points_in_vectors", 4),
        ("points_in_vectors", None),
        ("digests_agree", False),
        ("chunks_expected", 0),
        ("generation", None),
    ],
)
def test_one_difference_read_back_from_a_store_fails_the_gate(column: str, value: Any) -> None:
    result = check_stores(with_cell(stores(20), 3, column, value), settings=SETTINGS)
    assert not result.passed
    assert list(result.rejected) == [document(3)]


def test_frames_read_from_parquet_with_more_columns_are_checked_as_they_are(tmp_path: Path) -> None:
    frame = chunks(40).assign(document_id=lambda frame: frame["document_id"].map(str), mentions="[]")
    given = vectors(frame)
    frame.to_parquet(tmp_path / "chunks.parquet")
    given.to_parquet(tmp_path / "vectors.parquet")
    assert check(pd.read_parquet(tmp_path / "chunks.parquet"), pd.read_parquet(tmp_path / "vectors.parquet")).passed
    notes = documents(20).assign(document_id=lambda frame: frame["document_id"].map(str), access=[["public"]] * 20)
    notes.to_parquet(tmp_path / "documents.parquet")
    assert check_documents(pd.read_parquet(tmp_path / "documents.parquet"), settings=SETTINGS).passed


def test_a_verdict_is_json_of_counts_and_ids_and_holds_no_text() -> None:
    frame = with_cell(chunks(40), 3, "text", "Note 1\n\nprivate words")
    shown = json.dumps(check(frame, vectors(frame)).as_json())
    assert "private" not in shown
    assert "Sentence" not in shown
    assert json.loads(shown)["rejected"] == {str(document(1)): "gate_chunks"}
