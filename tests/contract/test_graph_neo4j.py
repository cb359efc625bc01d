"""The graph adapter on a real Neo4j Community."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from concordance.settings import Settings
from contract.bolt_graph import BoltGraphContract
from support import neo4j_server

# The first run fetches 118 MB.
pytestmark = [pytest.mark.neo4j, pytest.mark.timeout(neo4j_server.FETCH_SECONDS + 300)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    reason = neo4j_server.why_not()
    if reason is not None and neo4j_server.is_required():
        pytest.fail(f"{neo4j_server.REQUIRE}=1, but {reason}")
    if reason is not None:
        pytest.skip(reason)
    with neo4j_server.running(tmp_path_factory.mktemp("neo4j")) as running:
        yield running


class TestNeo4jGraph(BoltGraphContract):
    """All of the contract."""

    def test_it_is_the_real_thing(self, settings: Settings) -> None:
        from concordance.stores import open_graph

        graph = open_graph(settings)
        assert graph.ping() == "Neo4j/5.26.28"
        graph.close()
