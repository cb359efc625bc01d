"""The graph adapter on the local stack's graph."""

from __future__ import annotations

import pytest

from concordance.settings import Settings
from contract.bolt_graph import BoltGraphContract


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Settings:
    return stack


class TestEmbeddedGraph(BoltGraphContract):
    """All of the contract."""
