"""Vectors as columns of truths: each by itself, and in short enough to compare those of a whole run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from concordance import ids
from concordance.stores.checks import NORM_TOLERANCE

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

_COLLAPSE_DECIMALS = 5


def vector_truths(slices: Iterable[pd.DataFrame], *, dimension: int) -> pd.DataFrame:
    """By text digest whether its vector has the dimension, is finite and of unit norm (where a digest occurs more than
    once, all of its vectors must), and `vector_key`, a number for the rounded vector; 0 for one of another shape.

    Each slice has `VECTOR_COLUMNS`. What is kept of a vector is 11 bytes, its digest aside.
    """
    import pandas as pd

    frames = [_truths(frame, dimension=dimension) for frame in slices]
    frame = pd.concat(frames) if frames else _truths(pd.DataFrame({"text_digest": [], "vector": []}), dimension=1)
    if frame.index.is_unique:
        return frame
    together = frame.groupby(level=0)
    return together.agg({**dict.fromkeys(frame.columns, "all"), "vector_key": "first"})


def _truths(vectors: pd.DataFrame, *, dimension: int) -> pd.DataFrame:
    import pandas as pd

    matrix, fits = as_matrix(vectors["vector"].tolist(), dimension=dimension)
    is_finite = np.isfinite(matrix).all(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    # A vector of another shape has no values to judge, and one that is not finite no norm: one fault, one finding.
    is_unit = (np.abs(norms - 1.0) <= NORM_TOLERANCE) | ~is_finite
    rounded = np.round(matrix, _COLLAPSE_DECIMALS) + 0.0  # adding zero makes -0.0 the same bytes as 0.0
    return pd.DataFrame(
        {
            "vector_has_dimension": fits,
            "vector_is_finite": is_finite | ~fits,
            "vector_is_of_unit_norm": is_unit | ~fits,
            "vector_key": np.array(
                [key_of(row.tobytes()) if fit else 0 for row, fit in zip(rounded, fits, strict=True)], dtype=np.uint64
            ),
        },
        index=pd.Index(vectors["text_digest"], name="text_digest"),
    )


def key_of(content: bytes) -> int:
    """Some of the content's digest as a number: enough to count what is equal in one run, and exact as a float too."""
    return int(ids.bytes_digest(content)[:13], 16)


def as_matrix(cells: list[Any], *, dimension: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The vectors as rows, shape (len(cells), dimension), and which of them have that dimension; the others are 0."""
    rows = [_row(cell) for cell in cells]
    fits = np.array([row is not None and row.shape == (dimension,) for row in rows], dtype=bool)
    matrix = np.zeros((len(cells), dimension), dtype=np.float32)
    if fits.any():
        matrix[fits] = np.stack([row for row, fit in zip(rows, fits, strict=True) if fit and row is not None])
    return matrix, fits


def _row(cell: Any) -> npt.NDArray[np.float32] | None:
    try:
        with np.errstate(over="ignore"):
            return np.asarray(cell, dtype=np.float32)
    except (TypeError, ValueError):
        return None
