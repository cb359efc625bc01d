"""The prepared model keeps the port's promises, gives torch's vectors under its fingerprint, and never imports torch.

`make test` has prepared it; where that was not done, the first test does it.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from concordance.embedding import Embedder, open_embedder
from concordance.embedding.canaries import Canaries
from concordance.embedding.openvino_model import PreparedEmbedder
from concordance.embedding.preparing import prepare
from concordance.settings import Settings
from contract.embedder_contract import TEXTS, EmbedderContract
from support.chunking import tokenizer

pytestmark = pytest.mark.timeout(900)  # preparing takes half a minute, on a busy machine minutes


@pytest.fixture(scope="session")
def prepared_model() -> Embedder:
    settings = Settings(embedding_runtime="openvino", embed_pool_texts=16, embed_batch_tokens=512)
    prepare(settings)
    return open_embedder(settings)


class TestPreparedModel(EmbedderContract):
    @pytest.fixture
    def embedder(self, prepared_model: Embedder) -> Embedder:
        return prepared_model

    def test_a_vector_is_the_same_bit_by_bit_whatever_else_is_encoded(self, prepared_model: Embedder):
        """Fifty texts are four pools and many batches."""
        texts = [f"{text} {number}" for number in range(9) for text in TEXTS]
        alone = np.concatenate([prepared_model.encode([text]) for text in texts[::7]])
        assert np.array_equal(prepared_model.encode(texts)[::7], alone)

    def test_it_reads_as_many_tokens_as_the_chunker_counts(self, prepared_model: Embedder):
        window = prepared_model.fingerprint.window_tokens
        full = " ".join(["graph"] * (window - 3) + ["lease"])
        assert len(tokenizer().encode(full).ids) == window
        without_last = " ".join(["graph"] * (window - 3))
        full_vector, shorter, beyond = prepared_model.encode([full, without_last, full + " epoch epoch"])
        assert np.abs(full_vector - shorter).max() > 1e-5
        assert np.array_equal(full_vector, beyond)


def test_canaries_of_torch_are_met_well_within_what_the_gate_allows(prepared_model: Embedder):
    torch = open_embedder(Settings(embedding_runtime="torch"))
    assert torch.fingerprint == prepared_model.fingerprint
    assert Canaries.of(torch).distance(Canaries.of(prepared_model).vectors) < Settings().canary_epsilon / 1000


def test_auto_takes_the_prepared_model_and_no_torch_is_imported(prepared_model: Embedder):
    assert isinstance(prepared_model, PreparedEmbedder)
    script = (
        "import sys; from concordance.embedding import open_embedder; from concordance.settings import Settings;"
        "open_embedder(Settings()).encode(['a text']);"
        "sys.exit(bool({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules))"
        " or sys.modules['openvino_telemetry'] is not None)"
    )
    assert subprocess.run([sys.executable, "-c", script], env=os.environ, check=False).returncode == 0
