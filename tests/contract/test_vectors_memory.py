"""The memory vectors keep the vector port's promises."""

from __future__ import annotations

from uuid import UUID

import pytest

from concordance.model import IndexVersion
from concordance.stores.memory import MemoryVectors
from contract.vector_contract import VectorContract


class RawMemoryVectors:
    def __init__(self, vectors: MemoryVectors) -> None:
        self._vectors = vectors

    def live_points(self, version: IndexVersion) -> set[UUID]:
        return set(self._vectors.live_points(version))


class TestMemoryVectors(VectorContract):
    @pytest.fixture
    def vectors(self) -> MemoryVectors:
        return MemoryVectors()

    @pytest.fixture
    def raw(self, vectors: MemoryVectors) -> RawMemoryVectors:
        return RawMemoryVectors(vectors)
