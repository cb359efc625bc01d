"""The sentence-transformers backend: a pinned model from a folder, offline, on the CPU or a GPU. It is the reference of
prepared models, and what runs where there is none.

`import sentence_transformers` takes 12 s and much memory, so it happens at the first `encode`, and never for the
fingerprint. Texts beyond the model's window are cut there by the model (the chunker never makes one).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from concordance.embedding.checks import check_vectors, normalised
from concordance.errors import Misconfigured, Terminal
from concordance.model import ModelFingerprint
from concordance.settings import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BACKEND = "sentence-transformers"


class SentenceTransformersEmbedder:
    """`Embedder` over a model folder. The model is loaded once, by the first call that needs it."""

    def __init__(
        self, model_dir: Path, *, fingerprint: ModelFingerprint, settings: Settings, device: str = "cpu"
    ) -> None:
        self._model_dir = model_dir
        self.device = device
        self._batch_texts = settings.embed_batch_texts
        self._pool_texts = settings.embed_pool_texts
        self._fingerprint = fingerprint
        self._model: SentenceTransformer | None = None
        self._loading = threading.Lock()

    @property
    def fingerprint(self) -> ModelFingerprint:
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, float32, shape (len(texts), dimension), in the order of `texts`; equal texts have equal ones.

        Distinct texts are pooled longest first: a batch of texts of one length wastes nothing on padding, and a batch
        too large for the memory shows at once. Raises `Misconfigured`, `Terminal`, `PoisonDocument` (`bad_vector`).
        """
        dimension = self._fingerprint.dimension
        distinct = sorted(set(texts), key=lambda text: (-len(text), text))
        if not distinct:
            return np.zeros((0, dimension), dtype=np.float32)
        pools = (distinct[start : start + self._pool_texts] for start in range(0, len(distinct), self._pool_texts))
        encoded = np.concatenate([self._encode_pool(pool) for pool in pools])
        # The shape is checked before the norms divide, the norms after.
        if encoded.shape == (len(distinct), dimension):
            encoded = normalised(encoded)
        check_vectors(encoded, dimension=dimension, count=len(distinct))
        row_of = {text: row for row, text in enumerate(distinct)}
        return np.ascontiguousarray(encoded[[row_of[text] for text in texts]])

    def _encode_pool(self, pool: list[str]) -> npt.NDArray[np.float32]:
        model = self._loaded()
        try:
            found = model.encode(pool, batch_size=self._batch_texts, show_progress_bar=False, convert_to_numpy=True)
        except (RuntimeError, ValueError, IndexError) as error:
            # The message may hold a text.
            raise Terminal(
                f"the model in {self._model_dir} failed on {len(pool)} texts ({type(error).__name__}): lower "
                "embed_batch_texts if memory is short, else check the model"
            ) from None
        return np.asarray(found, dtype=np.float32)

    def _loaded(self) -> SentenceTransformer:
        with self._loading:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> SentenceTransformer:
        # The libraries read these when they are imported. Nothing may be fetched: the folder is the whole model.
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["TRANSFORMERS_OFFLINE"] = "1"
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped upstream
        try:
            model = SentenceTransformer(str(self._model_dir), device=self.device, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            raise Misconfigured(
                f"the model in {self._model_dir} cannot be loaded ({type(error).__name__}): copy the whole model to "
                "where model_dir points, or leave model_dir empty for the packaged one"
            ) from None
        dimension = model.get_embedding_dimension()
        if dimension != self._fingerprint.dimension:
            raise Misconfigured(
                f"the model in {self._model_dir} gives vectors of dimension {dimension}, its configuration says "
                f"{self._fingerprint.dimension}: copy the whole model to where model_dir points"
            )
        model.max_seq_length = self._fingerprint.window_tokens
        return model
