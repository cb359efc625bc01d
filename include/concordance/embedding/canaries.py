"""Canary texts: fixed texts whose vectors are kept with an index version, and computed again whenever a run encodes.

A fingerprint says which files a model was loaded from. The canaries say what it really does: a library that was
upgraded, another precision, a tokenizer or a backend that moved gives other vectors under the same fingerprint.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from concordance.embedding.checks import require_shape
from concordance.embedding.port import Embedder
from concordance.errors import Corrupt

# Prose, code, numbers, other scripts, a single word, and a text that outgrows every window: each leans on another part
# of a model and of its tokenizer. They are kept with a version, so that other ones here move no index.
TEXTS = (
    "The harbour keeps a list of the ships that may enter, and a second list of those that already have.",
    "def parse(line: str) -> tuple[str, int]:\n    name, _, count = line.partition('=')\n    return name, int(count)",
    "On 2024-02-29 the pump moved 1,204.75 m³ in 3 h 12 min, 17 % more than in the week before.",
    "Der Zähler läuft rückwärts, sobald die Straße überflutet ist – niemand weiß, warum.",
    "仓库里的每一本书都有一个编号，读者可以按编号借书。",
    "lantern",
    "WARNING: disk /dev/sda1 is 97% full (see https://status.example.org/disks?id=7#today) :-( [retry=3]",
    "A gate opens, a gate closes, and the river between the two walls rises by the width of a hand. " * 40,
)
_LARGEST_DISTANCE = 2.0


@dataclass(frozen=True, slots=True)
class Canaries:
    """Texts and their vectors, float32, shape (len(texts), dimension)."""

    texts: tuple[str, ...]
    vectors: npt.NDArray[np.float32]

    @classmethod
    def of(cls, embedder: Embedder, texts: tuple[str, ...] = TEXTS) -> Self:
        """Encode the texts. Raises `Misconfigured` when the model gives vectors of another shape than it says."""
        vectors = embedder.encode(texts)
        require_shape(vectors, embedder.fingerprint, count=len(texts))
        return cls(texts, vectors)

    def distance(self, found: npt.NDArray[np.float32] | None) -> float:
        """The largest cosine distance (0 to 2) between a text's kept vector and the one found now; 2 where it is not
        comparable."""
        if found is None or found.shape != self.vectors.shape or not np.isfinite(found).all():
            return _LARGEST_DISTANCE
        kept, now = self.vectors.astype(np.float64), found.astype(np.float64)
        norms = np.linalg.norm(kept, axis=1) * np.linalg.norm(now, axis=1)
        if not norms.all():
            return _LARGEST_DISTANCE
        cosines = np.einsum("ij,ij->i", kept, now) / norms
        return float(np.clip(1.0 - cosines, 0.0, _LARGEST_DISTANCE).max())

    def as_json(self) -> dict[str, Any]:
        return {"texts": list(self.texts), "vectors": base64.b64encode(self.vectors.astype("<f4").tobytes()).decode()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Self | None:
        """What `as_json` gave, None for a version that was made before there were canaries. Raises `Corrupt`."""
        if stored is None:
            return None
        try:
            texts = tuple(map(str, stored["texts"]))
            flat = np.frombuffer(base64.b64decode(stored["vectors"], validate=True), dtype="<f4")
            return cls(texts, flat.reshape(len(texts), -1).astype(np.float32))
        except (KeyError, TypeError, ValueError):
            raise Corrupt(
                "The canary texts of the index version are damaged in the ledger: restore it from a backup"
            ) from None
