"""What the chunks' suite expects, computed for whole columns: one truth a row, so that thousands of rows stay fast.

Pure NumPy and pandas over the frames of the gates; nothing here decides, the suite does.
"""

from __future__ import annotations

import hashlib
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from concordance import ids
from concordance.stores.checks import NORM_TOLERANCE

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

_COLLAPSE_DECIMALS = 5


def with_chunk_truths(chunks: pd.DataFrame, vectors: pd.DataFrame, *, dimension: int) -> pd.DataFrame:
    """The chunks with one boolean column for each truth, and without their text, which no suite needs to see.

    A chunk without a vector lacks only `vector_is_there`.
    """
    truths = vector_truths(vectors, dimension=dimension)
    of_vector = truths.reindex(chunks["text_digest"]).reset_index(drop=True)
    is_there = of_vector["vector_has_dimension"].notna().to_numpy()
    # Lists, not columns: a column of strings refuses a lone surrogate with an exception, a truth is wanted instead.
    texts = [text if isinstance(text, str) else "" for text in chunks["text"].tolist()]
    digests = chunks["text_digest"].tolist()
    return chunks[["document_id", "ordinal", "text_digest", "token_count"]].assign(
        body_is_present=[bool(text.partition("\n\n")[2].strip()) for text in texts],
        text_digest_is_of_text=[_digest(text) == digest for text, digest in zip(texts, digests, strict=True)],
        ordinals_are_complete=_ordinals_are_complete(chunks),
        vector_is_there=is_there,
        **{column: of_vector[column].fillna(True).to_numpy(dtype=bool) for column in truths.columns},
    )


def vector_truths(vectors: pd.DataFrame, *, dimension: int) -> pd.DataFrame:
    """For each text digest whether its vector has the dimension, is finite and of unit norm. Where a digest occurs more
    than once, all of its vectors must."""
    import pandas as pd

    matrix, fits = as_matrix(vectors["vector"].tolist(), dimension=dimension)
    is_finite = np.isfinite(matrix).all(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    # A vector of another shape has no values to judge, and one that is not finite no norm: one fault, one finding.
    is_unit = (np.abs(norms - 1.0) <= NORM_TOLERANCE) | ~is_finite
    frame = pd.DataFrame(
        {
            "vector_has_dimension": fits,
            "vector_is_finite": is_finite | ~fits,
            "vector_is_of_unit_norm": is_unit | ~fits,
        },
        index=pd.Index(vectors["text_digest"], name="text_digest"),
    )
    return frame.groupby(level=0).all()


def distinct_vectors(chunks: pd.DataFrame, vectors: pd.DataFrame, *, dimension: int) -> pd.DataFrame:
    """One row a text, spellings that a model may not tell apart (case, accents, spaces) taken as one, with the digest
    of its vector, rounded. Vectors of a wrong shape are left out: they are rejected already."""
    import pandas as pd

    folded = dict(zip(chunks["text_digest"].tolist(), map(_folded, chunks["text"].tolist()), strict=True))
    known = vectors[vectors["text_digest"].isin(list(folded))].drop_duplicates("text_digest")
    matrix, fits = as_matrix(known["vector"].tolist(), dimension=dimension)
    rounded = np.round(matrix, _COLLAPSE_DECIMALS) + 0.0  # adding zero makes -0.0 the same bytes as 0.0
    digests = [hashlib.sha256(row.tobytes()).hexdigest() for row in rounded]
    texts = [folded[digest] for digest in known["text_digest"].tolist()]
    frame = pd.DataFrame({"folded_digest": texts, "vector_digest": digests})
    return frame[fits].drop_duplicates("folded_digest").reset_index(drop=True)


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


def _ordinals_are_complete(chunks: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether the document of each chunk has the ordinals 0..n-1, each once."""
    ordinals = chunks.groupby("document_id", sort=False, dropna=False)["ordinal"]
    count, low, high = (ordinals.transform(name).to_numpy() for name in ("size", "min", "max"))
    different = ordinals.transform("nunique").to_numpy()
    return np.asarray((low == 0) & (high == count - 1) & (different == count), dtype=bool)


def _digest(text: str) -> str:
    try:
        return ids.text_digest(text)
    except UnicodeEncodeError:
        return ""  # a lone surrogate: no store takes it, and no digest is of it


def _folded(text: Any) -> str:
    """Digest of the text without case, accents and runs of spaces."""
    decomposed = unicodedata.normalize("NFKD", ids.normalise_name(str(text)))
    return _digest("".join(character for character in decomposed if not unicodedata.combining(character)))
