"""A faulty vector is named before anything keeps it."""

from __future__ import annotations

import numpy as np
import pytest

from concordance.embedding.checks import bad_rows, check_vectors
from concordance.errors import PoisonDocument, Terminal
from concordance.model import Reason

DIMENSION = 4


def unit_rows(count: int) -> np.ndarray:
    return np.tile(np.array([1, 0, 0, 0], dtype=np.float32), (count, 1))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ([np.nan, 0, 0, 0], "NaN"),
        ([np.inf, 0, 0, 0], "infinite"),
        ([-np.inf, np.nan, 0, 0], "NaN"),
        ([0, 0, 0, 0], "zero"),
        ([2, 0, 0, 0], "norm 2 "),
        ([1e30, 1e30, 0, 0], "norm 1.41421e\\+30"),
        ([0.99, 0, 0, 0], "norm 0.99"),
    ],
)
def test_a_faulty_row_is_named_with_what_is_wrong(row: list[float], fault: str):
    vectors = unit_rows(5)
    vectors[3] = row
    assert list(bad_rows(vectors)) == [3]
    with pytest.raises(PoisonDocument, match=rf"vector 3 .*{fault}") as caught:
        check_vectors(vectors, dimension=DIMENSION, count=5)
    assert caught.value.reason == Reason.BAD_VECTOR


def test_a_value_that_float32_cannot_hold_is_infinite():
    with np.errstate(over="ignore"):
        vectors = np.array([[1e39, 0, 0, 0]], dtype=np.float64).astype(np.float32)
    assert "infinite" in bad_rows(vectors)[0]


@pytest.mark.parametrize(
    "vectors",
    [
        unit_rows(4),
        unit_rows(5)[:, :3],
        unit_rows(5).astype(np.float64),
        np.zeros((5, 5), dtype=np.float32),
        np.zeros(5),
    ],
    ids=["too-few", "too-narrow", "double", "too-wide", "flat"],
)
def test_a_wrong_shape_or_type_is_no_single_documents_fault(vectors: np.ndarray):
    with pytest.raises(Terminal, match="model_dir") as caught:
        check_vectors(vectors, dimension=DIMENSION, count=5)
    assert not isinstance(caught.value, PoisonDocument)


def test_several_faulty_rows_are_all_found():
    vectors = unit_rows(600)
    vectors[[1, 77, 599]] = 0
    assert list(bad_rows(vectors)) == [1, 77, 599]


def test_good_vectors_and_no_vectors_pass():
    check_vectors(unit_rows(5), dimension=DIMENSION, count=5)
    check_vectors(np.zeros((0, DIMENSION), dtype=np.float32), dimension=DIMENSION, count=0)
