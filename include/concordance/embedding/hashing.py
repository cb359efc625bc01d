"""The reference embedder: deterministic, without a model, and fast enough to measure everything else.

A text is the sum of pseudo-random sparse vectors of its words (feature hashing: K. Weinberger et al., 2009), so that
texts that share words are similar. For tests and benchmarks; it knows nothing of meaning.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from concordance import ids
from concordance.embedding.checks import check_vectors
from concordance.model import ModelFingerprint

_REVISION = "1"
_PLACES = 8
_FULL_WEIGHT_CHARACTERS = 8
_ENCODED_AT_ONCE = 1024
_WORD = re.compile(r"\w+")


class HashEmbedder:
    """`Embedder` over word hashes. A text beyond the window of 256 words is cut there."""

    def __init__(self, dimension: int = 384) -> None:
        self._fingerprint = ModelFingerprint(
            name="hash",
            revision=_REVISION,
            files_digest=ids.digest(["hash", _REVISION, dimension]),
            dimension=dimension,
            window_tokens=256,
            precision="fp32",
            backend="hash",
        )

    @property
    def fingerprint(self) -> ModelFingerprint:
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, float32, shape (len(texts), dimension); bit-equal whatever else is encoded with a text."""
        vectors = np.zeros((len(texts), self._fingerprint.dimension), dtype=np.float32)
        for start in range(0, len(texts), _ENCODED_AT_ONCE):
            part = texts[start : start + _ENCODED_AT_ONCE]
            vectors[start : start + len(part)] = self._encode(part)
        check_vectors(vectors, dimension=self._fingerprint.dimension, count=len(texts))
        return vectors

    def _encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        dimension = self._fingerprint.dimension
        numbers: dict[str, int] = {}
        # An empty word opens each text, so that a text without words has a vector too.
        rows = [
            [numbers.setdefault(word, len(numbers)) for word in ("", *_words(text, self._fingerprint.window_tokens))]
            for text in texts
        ]
        places, weights = _hashed(list(numbers), dimension)
        owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        words = np.fromiter((number for row in rows for number in row), dtype=np.int64, count=len(owners))
        cells = owners[:, None] * dimension + places[words]
        sums = np.bincount(cells.ravel(), weights=weights[words].ravel(), minlength=len(rows) * dimension)
        sums = sums.reshape(len(rows), dimension)
        # Words may cancel out exactly; such a text gets the first axis.
        sums[~sums.any(axis=1), 0] = 1.0
        vectors: npt.NDArray[np.float32] = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
        return vectors


def _words(text: str, window: int) -> list[str]:
    return _WORD.findall(text.casefold())[:window]


def _hashed(words: Sequence[str], dimension: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Places and signed weights of each word's vector, shape (len(words), _PLACES). Long words weigh more."""
    digests = b"".join(
        hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4 * _PLACES).digest() for word in words
    )
    hashes = np.frombuffer(digests, dtype="<u4").reshape(len(words), _PLACES).astype(np.int64)
    signs = 1.0 - 2.0 * (hashes & 1)
    lengths = np.array([min(max(len(word), 1), _FULL_WEIGHT_CHARACTERS) for word in words], dtype=np.float64)
    return (hashes >> 1) % dimension, signs * (lengths / _FULL_WEIGHT_CHARACTERS)[:, None]
