"""The packaged sentence-transformers model keeps the port's promises. It is loaded once a session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from concordance.embedding import Embedder, open_embedder
from concordance.settings import Settings
from contract.embedder_contract import TEXTS, TOLERANCE, EmbedderContract
from support.chunking import tokenizer

pytestmark = pytest.mark.timeout(600)  # the first import of torch takes a minute on a busy machine


@pytest.fixture(scope="session")
def packaged_model() -> Iterator[Embedder]:
    before = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    yield open_embedder(Settings(embedding_runtime="torch", embed_batch_texts=4, embed_pool_texts=16))
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)


class TestPackagedModel(EmbedderContract):
    @pytest.fixture
    def embedder(self, packaged_model: Embedder) -> Embedder:
        return packaged_model

    def test_pools_make_no_difference(self, packaged_model: Embedder):
        """Forty texts are three pools; each vector is that of its text alone."""
        texts = [f"{text} {number}" for number in range(7) for text in TEXTS[:6]]
        vectors = packaged_model.encode(texts)
        for place in (0, 13, 41):
            assert np.abs(vectors[place] - packaged_model.encode([texts[place]])[0]).max() <= TOLERANCE

    def test_it_reads_as_many_tokens_as_the_chunker_counts(self, packaged_model: Embedder):
        """A text that fills the window is read to its last token, one token more is not."""
        window = packaged_model.fingerprint.window_tokens
        full = " ".join(["graph"] * (window - 3) + ["lease"])
        assert len(tokenizer().encode(full).ids) == window
        without_last = " ".join(["graph"] * (window - 3))
        full_vector, shorter, beyond = packaged_model.encode([full, without_last, full + " epoch epoch"])
        assert np.abs(full_vector - shorter).max() > TOLERANCE
        assert np.abs(full_vector - beyond).max() <= TOLERANCE
