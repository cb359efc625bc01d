"""H12: a faulty embedder behind its port. Nothing that is no finite unit vector comes near a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from concordance.embedding.hashing import HashEmbedder
from concordance.errors import Misconfigured
from concordance.model import Reason
from support.hostile import GOOD_DOCUMENTS, Batch

Matrix = npt.NDArray[np.float32]

FAULTS: dict[str, Callable[[Matrix], Matrix]] = {
    "nan": lambda vector: vector * np.float32("nan"),
    "one-nan": lambda vector: np.concatenate([vector[:-1], np.float32([np.nan])]),
    "infinity": lambda vector: np.concatenate([np.float32([np.inf]), vector[1:]]),
    "1e39": lambda vector: np.full_like(vector, 1e38) * np.float32(10),
    "zero": np.zeros_like,
    "too-long": lambda vector: vector * np.float32(1.01),
    "too-short": lambda vector: vector * np.float32(0.99),
    "subnormal": lambda vector: np.full_like(vector, 1e-45),
}


class FaultyEmbedder(HashEmbedder):
    """Hash vectors; each text that names a fault gets a vector with it."""

    def encode(self, texts: Sequence[str]) -> Matrix:
        vectors = super().encode(texts)
        with np.errstate(over="ignore", invalid="ignore"):
            for row, text in enumerate(texts):
                for name, spoil in FAULTS.items():
                    if f"fault {name}" in text:
                        vectors[row] = spoil(vectors[row])
        return vectors


class ShapelessEmbedder(HashEmbedder):
    """Vectors of a shape or a number that nobody asked for."""

    def __init__(self, change: Callable[[Matrix], Matrix]) -> None:
        super().__init__(dimension=16)
        self._change = change

    def encode(self, texts: Sequence[str]) -> Matrix:
        return self._change(super().encode(texts))


def test_each_fault_sends_its_own_document_to_quarantine(batch: Batch) -> None:
    """In the middle of fifty good ones, all in one pool of texts."""
    for name in FAULTS:
        batch.write(f"m-{name}.md", f"# Fault\n\nA text with the fault {name}.\n".encode())
    adapters = replace(batch.adapters(), embedder=FaultyEmbedder(dimension=16))
    batch.assert_outcome(
        batch.run(adapters),
        committed=GOOD_DOCUMENTS,
        quarantined={f"m-{name}.md": Reason.BAD_VECTOR for name in FAULTS},
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda vectors: np.hstack([vectors, vectors]),
        lambda vectors: vectors[:, :8],
        lambda vectors: vectors[1:],
        lambda vectors: np.vstack([vectors, vectors]),
    ],
    ids=["wider", "narrower", "one-too-few", "twice-as-many"],
)
def test_vectors_of_another_shape_stop_the_run_before_the_first_write(
    batch: Batch, change: Callable[[Matrix], Matrix]
) -> None:
    batch.run(batch.adapters())
    rows = batch.rows
    batch.write("m-new.md", b"# New\n\nA text that was never embedded.\n")
    adapters = replace(batch.adapters(), embedder=ShapelessEmbedder(change))
    with pytest.raises(Misconfigured, match="MODEL_DIR"):
        batch.run(adapters, run_id="again")
    assert batch.rows == rows
