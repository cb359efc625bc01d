"""The port of the embedding backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from concordance.model import ModelFingerprint


class Embedder(Protocol):
    @property
    def fingerprint(self) -> ModelFingerprint:
        """What decides the vectors; computed without loading the model's weights into memory."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, float32, shape (len(texts), fingerprint.dimension), in the order of `texts`.

        Texts are pooled longest first inside. Every row is checked: finite and of unit norm, else `Terminal`.
        """
