"""Vectors that are copied into a next version were encoded long ago: nothing is encoded for it, not even canaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from concordance.embedding.hashing import HashEmbedder
from concordance.ledger import Ledger
from concordance.model import IndexVersion, ModelFingerprint
from concordance.parsing.parser import Parser
from concordance.pipeline import index
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings
from support.rebuilding import made_ungated, swapped
from support.small_house import SmallHouse


@dataclass(frozen=True)
class Drifted:
    """A model whose libraries have changed: its files are the same, its vectors no longer."""

    fingerprint: ModelFingerprint

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return -HashEmbedder(self.fingerprint.dimension).encode(texts)


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    house = SmallHouse(ledger, stack, staging=tmp_path, parser=parser)
    house.texts["river"] = "# River\n\nA river keeps its name while its water goes.\n"
    house.run()
    return house


def _rebuilt(adapters: Adapters) -> tuple[IndexVersion, IndexVersion]:
    report = swapped(made_ungated("again", adapters=adapters), adapters=adapters)
    assert report.before is not None
    return adapters.ledger.versions.get(report.before), adapters.ledger.versions.get(report.version)


def test_canaries_go_with_the_vectors_that_are_copied(house: SmallHouse) -> None:
    adapters = house.adapters
    before, after = _rebuilt(replace(adapters, embedder=Drifted(adapters.embedder.fingerprint)))
    kept, taken = index.canaries_of(before, adapters), index.canaries_of(after, adapters)
    assert kept is not None
    assert taken is not None
    np.testing.assert_array_equal(taken.vectors, kept.vectors)
    assert house.check().is_sound


def test_another_model_brings_canaries_of_its_own(house: SmallHouse) -> None:
    adapters = replace(house.adapters, embedder=HashEmbedder(dimension=32))
    settings = house.settings.model_copy(update={"kept_models": "hash=16"})
    adapters = replace(adapters, kept_models=type(adapters.kept_models)(settings))
    _, after = _rebuilt(adapters)
    taken = index.canaries_of(after, adapters)
    assert taken is not None
    assert taken.vectors.shape == (len(taken.texts), 32)
