"""The hash embedder keeps the port's promises."""

from __future__ import annotations

import numpy as np
import pytest

from concordance.embedding import HashEmbedder
from contract.embedder_contract import TEXTS, EmbedderContract


class TestHashEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> HashEmbedder:
        return HashEmbedder()


def test_its_vectors_are_bit_equal_whatever_else_is_encoded():
    many = HashEmbedder().encode([*TEXTS, *(f"text {number}" for number in range(3_000))])
    assert np.array_equal(many[: len(TEXTS)], np.concatenate([HashEmbedder().encode([text]) for text in TEXTS]))


def test_another_dimension_is_another_fingerprint():
    assert HashEmbedder(8).encode(["text"]).shape == (1, 8)
    assert HashEmbedder(8).fingerprint.digest != HashEmbedder(16).fingerprint.digest
