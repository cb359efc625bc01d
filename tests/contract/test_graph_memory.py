"""The memory graph keeps the graph port's promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

import pytest

from concordance.model import IndexVersion
from concordance.stores.memory import MemoryGraph
from contract.graph_contract import GraphContract


class RawMemoryGraph:
    def __init__(self, graph: MemoryGraph) -> None:
        self._graph = graph

    def anchor(self, version: IndexVersion, document_id: UUID) -> Mapping[str, Any] | None:
        anchor = self._graph.anchor(version, document_id)
        return None if anchor is None else asdict(anchor)

    def live_chunks(self, version: IndexVersion) -> set[UUID]:
        return set(self._graph.live_chunks(version))


class TestMemoryGraph(GraphContract):
    @pytest.fixture
    def graph(self) -> MemoryGraph:
        return MemoryGraph()

    @pytest.fixture
    def raw(self, graph: MemoryGraph) -> RawMemoryGraph:
        return RawMemoryGraph(graph)
