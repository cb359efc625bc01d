"""The backend of a prepared model: tokenizers, OpenVINO and numpy; torch is never imported.

A batch holds texts of one length in tokens, so nothing is padded: that wastes no work, and a text's vector is the same
bit by bit whatever else is encoded, at fp32 and at int8 (padding moves int8 by a cosine distance of 1e-4).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from concordance.embedding import prepared, profile
from concordance.embedding.batches import batches_of
from concordance.embedding.checks import check_vectors, normalised
from concordance.embedding.library import load_openvino
from concordance.embedding.prepared import PreparedModel
from concordance.embedding.profile import Profile
from concordance.errors import Misconfigured, Terminal
from concordance.model import ModelFingerprint
from concordance.settings import Settings
from concordance.slices import slices

_PROBED_TEXTS = 256  # fewer are encoded sooner than a probe ends

Tokens = npt.NDArray[np.int64]
# The library's bindings look up what they need of numpy in the first call, and wait there for the interpreter's lock:
# two first calls in two threads may wait for each other for ever (seen in one process of twelve, OpenVINO 2026.4.1).
_FIRST_CALL = threading.Lock()


@dataclass(slots=True)
class Encoder:
    """The compiled graph: one request for each stream, borrowed by whoever encodes a batch."""

    requests: queue.SimpleQueue[Any]
    streams: int

    @classmethod
    def compiled(cls, folder: Path, *, streams: int) -> Encoder:
        """Raises `Misconfigured` when the library does not take the files."""
        try:
            compiled = (
                load_openvino()
                .Core()
                .compile_model(
                    str(folder / prepared.GRAPH),
                    "CPU",
                    # A CPU with bfloat16 would take it by itself, and give other vectors.
                    {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": str(streams)},
                )
            )
            requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
            for _ in range(streams):
                requests.put(compiled.create_infer_request())
            encoder = cls(requests, streams)
            with _FIRST_CALL:
                encoder.encode(np.zeros((1, 1), dtype=np.int64))
        except RuntimeError:
            raise Misconfigured(f"OpenVINO cannot load {folder}: {prepared.ADVICE} --force") from None
        return encoder

    def encode(self, tokens: Tokens) -> npt.NDArray[np.float32]:
        """Pooled vectors, shape (rows, dimension), of rows of equal length; halved for as long as memory is short.

        Raises RuntimeError or MemoryError when one row alone fails.
        """
        try:
            return self._infer(tokens)
        except (RuntimeError, MemoryError):
            if len(tokens) == 1:
                raise
        middle = len(tokens) // 2
        return np.concatenate([self.encode(tokens[:middle]), self.encode(tokens[middle:])])

    def _infer(self, tokens: Tokens) -> npt.NDArray[np.float32]:
        request = self.requests.get()
        try:
            request.infer({"input_ids": tokens, "attention_mask": np.ones_like(tokens)})
            return np.array(request.get_output_tensor(0).data, dtype=np.float32)
        finally:
            self.requests.put(request)


class PreparedEmbedder:
    """`Embedder` over a prepared folder. The graph is loaded once, by the first call that needs it."""

    def __init__(
        self, folder: Path, *, model: PreparedModel, fingerprint: ModelFingerprint, settings: Settings
    ) -> None:
        self._folder = folder
        self._prepared = model
        self._settings = settings
        self._fingerprint = fingerprint
        self._encoder: Encoder | None = None
        self._tokenizer: Tokenizer | None = None
        self._profile: Profile | None = None
        self._loading = threading.Lock()

    @property
    def fingerprint(self) -> ModelFingerprint:
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, float32, shape (len(texts), dimension), in the order of `texts`; bit-equal whatever else is
        encoded with a text. Raises `Misconfigured`, `Terminal`, `PoisonDocument` (`bad_vector`)."""
        dimension = self._fingerprint.dimension
        distinct = sorted(set(texts), key=lambda text: (-len(text), text))
        if not distinct:
            return np.zeros((0, dimension), dtype=np.float32)
        encoder, tokenizer, budget = self._loaded(len(distinct))
        encoded = np.concatenate(
            [
                self._encode_pool(pool, encoder, tokenizer, budget_tokens=budget)
                for pool in slices(distinct, self._settings.embed_pool_texts)
            ]
        )
        # The shape is checked before the norms divide, the norms after.
        if encoded.shape == (len(distinct), dimension):
            encoded = normalised(encoded)
        check_vectors(encoded, dimension=dimension, count=len(distinct))
        row_of = {text: row for row, text in enumerate(distinct)}
        return np.ascontiguousarray(encoded[[row_of[text] for text in texts]])

    def _encode_pool(
        self, pool: Sequence[str], encoder: Encoder, tokenizer: Tokenizer, *, budget_tokens: int
    ) -> npt.NDArray[np.float32]:
        tokens = [encoding.ids for encoding in tokenizer.encode_batch(list(pool))]
        batches = batches_of([len(row) for row in tokens], budget_tokens=budget_tokens)
        arrays: Iterator[Tokens] = (np.array([tokens[row] for row in rows], dtype=np.int64) for rows in batches)
        try:
            if len(batches) == 1 or encoder.streams == 1:
                found = list(map(encoder.encode, arrays))
            else:
                with ThreadPoolExecutor(encoder.streams, thread_name_prefix="encode") as threads:
                    found = list(threads.map(encoder.encode, arrays))
        except (RuntimeError, MemoryError) as error:
            # The message may hold a text's tokens.
            raise Terminal(
                f"the prepared model in {self._folder} failed on one of {len(pool)} texts ({type(error).__name__}): "
                f"give the process more memory, or {prepared.ADVICE} --force"
            ) from None
        vectors = np.concatenate(found)
        placed = np.empty_like(vectors)
        placed[[row for rows in batches for row in rows]] = vectors
        return placed

    def _loaded(self, texts: int) -> tuple[Encoder, Tokenizer, int]:
        """Encoder, tokenizer and the budget of a batch; probes a machine without a profile when there is much to do."""
        with self._loading:
            if self._tokenizer is None:
                self._prepared.check_files(self._folder)
                self._tokenizer = Tokenizer.from_file(str(self._folder / prepared.TOKENIZER))
                self._profile = profile.read_profile(self._folder)
            if self._profile is None and texts >= _PROBED_TEXTS:
                self._profile, self._encoder = self._probed(), None
            chosen = self._profile or profile.usual()
            if self._encoder is None:
                self._encoder = Encoder.compiled(self._folder, streams=chosen.streams)
            return self._encoder, self._tokenizer, min(chosen.batch_tokens, self._settings.embed_batch_tokens)

    def probe(self) -> Profile:
        """Choose streams and batches for this machine and keep the choice beside the model."""
        with self._loading:
            self._profile, self._encoder = self._probed(), None
            return self._profile

    def _probed(self) -> Profile:
        return profile.probed(
            lambda streams: Encoder.compiled(self._folder, streams=streams),
            folder=self._folder,
            window_tokens=self._fingerprint.window_tokens,
            seconds=self._settings.embed_probe_seconds,
        )
