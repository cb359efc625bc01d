"""Whether a version's vectors are those that its model gives for its texts. Pure.

Words find nearly every known item by themselves, so that vectors of another model or precision hardly show in a hybrid
ranking: a sample of the stored ones is compared with what the model says of the same texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from concordance.model import Vector
from concordance.settings import Settings


@dataclass(frozen=True, slots=True)
class VectorAgreement:
    """`chunks` were compared; `worst` is the largest cosine distance between stored and encoded, None without any."""

    chunks: int
    worst: float | None

    @classmethod
    def of(cls, stored: Sequence[Vector], encoded: Sequence[Vector]) -> VectorAgreement:
        """Unit vectors of the same chunks, in one order."""
        if not stored:
            return cls(0, None)
        products = np.einsum("ij,ij->i", np.asarray(stored, np.float64), np.asarray(encoded, np.float64))
        return cls(len(stored), float(1 - products.min()))

    def failures(self, settings: Settings) -> list[str]:
        if self.worst is None or self.worst <= settings.relevance_vector_epsilon:
            return []
        return [
            f"its stored vectors are not those of its model: one of {self.chunks} is off by a cosine distance of "
            f"{self.worst:.2g}, allowed is {settings.relevance_vector_epsilon:g}. They are of another model or "
            "precision, or were altered: build the version again"
        ]

    def as_json(self) -> dict[str, Any]:
        return {"chunks_compared": self.chunks, "largest_cosine_distance": self.worst}
