"""What every `Embedder` promises. A backend's test file subclasses this and gives the fixture `embedder`."""

from __future__ import annotations

import numpy as np
import pytest

from concordance.embedding import Embedder
from concordance.embedding.checks import bad_rows

TEXTS = (
    "Use pandas > Reading\n\nThe function read_csv loads a table from a comma separated file.",
    "Reading a table from a file of comma separated values with read_csv.",
    "A lease ends when its holder does not renew it in time.",
    "x",
    "Grüße, 東京, naïve \N{GRINNING FACE}",
    "word " * 120,
)
TOLERANCE = 1e-5


class EmbedderContract:
    @pytest.fixture
    def embedder(self) -> Embedder:
        raise NotImplementedError

    def test_every_text_gets_one_unit_vector_of_the_fingerprints_dimension(self, embedder: Embedder):
        vectors = embedder.encode(TEXTS)
        assert vectors.shape == (len(TEXTS), embedder.fingerprint.dimension)
        assert vectors.dtype == np.float32
        assert bad_rows(vectors) == {}
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)

    def test_vectors_come_in_the_order_of_the_texts(self, embedder: Embedder):
        forwards, backwards = embedder.encode(TEXTS), embedder.encode(TEXTS[::-1])
        assert np.abs(forwards - backwards[::-1]).max() <= TOLERANCE

    def test_what_else_is_in_the_batch_makes_no_difference(self, embedder: Embedder):
        together = embedder.encode(TEXTS)
        alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
        assert np.abs(together - alone).max() <= TOLERANCE

    def test_equal_texts_get_equal_vectors(self, embedder: Embedder):
        first, _, again = embedder.encode([TEXTS[0], TEXTS[2], TEXTS[0]])
        assert np.array_equal(first, again)

    def test_no_texts_give_no_vectors_of_the_right_shape(self, embedder: Embedder):
        assert embedder.encode([]).shape == (0, embedder.fingerprint.dimension)

    def test_similar_texts_are_nearer_than_others(self, embedder: Embedder):
        vectors = embedder.encode(TEXTS)
        assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2

    @pytest.mark.parametrize("text", ["", " ", "\n\n", "...", "\u0301" * 100, "\x00", "a" * 5_000], ids=repr)
    def test_a_text_without_words_has_a_vector_too(self, embedder: Embedder, text: str):
        assert bad_rows(embedder.encode([text])) == {}

    def test_a_text_beyond_the_window_is_cut_there(self, embedder: Embedder):
        begin = "graph " * (2 * embedder.fingerprint.window_tokens)
        one, other = embedder.encode([begin + "one end", begin + "another ending altogether"])
        assert np.abs(one - other).max() <= TOLERANCE

    def test_the_fingerprint_names_everything_that_decides_a_vector(self, embedder: Embedder):
        fingerprint = embedder.fingerprint
        assert fingerprint == embedder.fingerprint
        assert len(fingerprint.files_digest) == 64
        assert fingerprint.window_tokens >= 256
        assert all((fingerprint.name, fingerprint.revision, fingerprint.precision, fingerprint.backend))
