"""The graph adapter on the local stack's graph."""

from __future__ import annotations

from typing import Any

import pytest

from concordance.settings import Settings
from concordance.stores import cypher, cypher_reconcile
from contract.bolt_graph import BoltGraphContract, RawBoltGraph

OF_RELATIONS = (
    cypher.ENTITIES_OF_RELATIONS,
    cypher.DELETE_RELATIONS,
    cypher.ROWS_OF_DOCUMENTS[-1],
    cypher_reconcile.RELATIONS,
)


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Settings:
    return stack


class TestEmbeddedGraph(BoltGraphContract):
    """All of the contract."""

    @pytest.mark.parametrize("query", OF_RELATIONS)
    def test_relations_are_found_by_the_index_on_their_document(
        self, graph: Any, raw: RawBoltGraph, query: str
    ) -> None:
        plan = raw.plan(query, documents=["a"], generations=[["a", 1]], version=1)
        assert "[index: concordance_relation_document on document_id]" in plan["args"]["string-representation"]

    def test_a_range_of_ids_is_found_by_the_index_on_the_id(self, graph: Any, raw: RawBoltGraph) -> None:
        plan = raw.plan(cypher_reconcile.CHUNKS_OF_SPAN, after="", last="b", version=1, limit=1)
        assert "NodeIndexRangeScan" in plan["args"]["string-representation"]
