"""What is checked of vectors before anything keeps them.

A vector store accepts NaN, infinite and all-zero vectors, and such points then vanish from every search. So a faulty
backend must be noticed here: the checks run when texts were embedded, and again before an artefact or a store.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from concordance.errors import Misconfigured, PoisonDocument, Terminal
from concordance.model import ModelFingerprint, Reason

NORM_TOLERANCE = 1e-3


def check_vectors(vectors: npt.NDArray[Any], *, dimension: int, count: int) -> None:
    """All of `vectors` are float32, finite, of unit norm; the shape is (count, dimension).

    Raises `Terminal` for a wrong shape or type, which no single text explains, and `PoisonDocument` (`bad_vector`) that
    names the first wrong row. Who embeds the texts of several documents together asks `bad_rows` which of them it is.
    """
    if vectors.shape != (count, dimension) or vectors.dtype != np.float32:
        raise Terminal(
            f"the embedding backend gave {vectors.dtype} of shape {vectors.shape} instead of float32 of shape "
            f"{(count, dimension)}: check that model_dir names the model of the index version"
        )
    for row, fault in bad_rows(vectors).items():
        raise PoisonDocument(f"vector {row} {fault}: check the embedding backend", reason=Reason.BAD_VECTOR)


def normalised(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows divided by their norms, in double precision; a row without a norm stays as it is, for the check to name."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        usable = np.isfinite(norms) & (norms > 0)
        return np.where(usable, vectors / np.where(usable, norms, 1.0), vectors).astype(np.float32)


def require_shape(vectors: npt.NDArray[Any], fingerprint: ModelFingerprint, *, count: int) -> None:
    """Raises `Misconfigured` when these are not `count` vectors of the model's dimension."""
    if vectors.shape != (count, fingerprint.dimension):
        raise Misconfigured(
            f"The model {fingerprint.name} gave vectors of shape {vectors.shape} for {count} texts, not of "
            f"{fingerprint.dimension} dimensions: set AIRFLOW__CONCORDANCE__MODEL_DIR to the model that the index was "
            "built with"
        )


def bad_rows(vectors: npt.NDArray[np.float32]) -> dict[int, str]:
    """What is wrong, by row of `vectors`, in ascending order; empty when all is well."""
    if not len(vectors):
        return {}
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    # A comparison with NaN is false, so NaN and infinity fail it like any wrong norm.
    wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE))
    return {int(row): _fault(vectors[row], float(norms[row])) for row in wrong}


def _fault(vector: npt.NDArray[np.float32], norm: float) -> str:
    if np.isnan(vector).any():
        return "holds NaN"
    if not np.isfinite(vector).all():
        return "holds an infinite value"
    if norm == 0:
        return "is zero everywhere"
    return f"has norm {norm:g} instead of 1"
