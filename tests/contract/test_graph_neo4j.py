"""The graph adapter on a real Neo4j Community."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import neo4j
import pytest

from concordance import ids
from concordance.errors import BatchTooLarge, Unavailable
from concordance.model import IndexVersion
from concordance.operations import correlation
from concordance.pipeline.isolation import Refusal, write_isolating
from concordance.resilience import LostRace
from concordance.settings import Settings
from concordance.stores import cypher, cypher_reconcile, cypher_versions, open_graph
from contract.bolt_graph import BoltGraphContract, RawBoltGraph, at
from contract.graph_contract import SECONDS, rows, settle, sweep, write
from support import neo4j_server
from support.index_rows import Written
from support.waiting import wait_for

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


# What is read to its end: whole versions, what hangs on nothing, and the few nodes that describe a version.
READ_TO_THE_END = {
    "SCAN_CHUNKS",
    "SCAN_DOCUMENTS",
    "SCAN_ENTITIES",
    "COUNTS",
    "ORPHANS",
    "LOOSE",
    "DESCRIBED",
    "DROP_REST",
}
GIVEN = {
    "rows": [
        {
            **dict.fromkeys(("key", "document", "document_id", "next", "chunk", "entity", "subject"), "a"),
            **dict.fromkeys(("object", "role", "kind", "target"), "b"),
            **{"generation": 1, "count": 1, "properties": {}},
        }
    ],
    **{"keys": ["a"], "ids": ["a"], "documents": ["a"], "generations": [["a", 1]]},
    **{"version": 1, "limit": 1, "after": "", "last": "b", "name": "a", "source": "a", "description": "a"},
}


def _queries() -> Iterator[tuple[str, str]]:
    """All that the adapter sends, by the constant that holds it."""
    no_query = ("SCHEMA", "COUNTED", "RELATIONS_OF_GENERATIONS")
    for module in (cypher, cypher_reconcile, cypher_versions):
        for name, value in vars(module).items():
            if name.isupper() and not name.startswith("_") and name not in no_query:
                queries = [value] if isinstance(value, str) else value.values() if isinstance(value, dict) else value
                yield from ((name, query) for query in queries if "MATCH" in query or "MERGE" in query)


def _operators(plan: dict[str, Any]) -> Iterator[str]:
    yield plan["operatorType"].partition("@")[0]
    for child in plan.get("children", ()):
        yield from _operators(child)


class TestNeo4jGraph(BoltGraphContract):
    """All of the contract."""

    def test_it_is_the_real_thing(self, settings: Settings) -> None:
        graph = open_graph(settings)
        assert graph.ping() == "Neo4j/5.26.28"
        graph.close()

    def test_what_is_asked_for_some_rows_looks_for_these_alone(self, graph: Any, raw: RawBoltGraph) -> None:
        asked = list(_queries())
        assert {name for name, _ in asked} > READ_TO_THE_END
        for name, query in asked:
            found = list(_operators(raw.plan(query, **GIVEN)))
            assert any("Seek" in each for each in found) or name in READ_TO_THE_END, f"{name}: {found}"
            assert not any("Scan" in each for each in found) or name in READ_TO_THE_END, f"{name}: {found}"

    def test_who_looks_at_its_transactions_sees_the_run_of_each(self, graph: Any) -> None:
        def look(transaction: neo4j.Transaction) -> list[Any]:
            return transaction.run("SHOW TRANSACTIONS YIELD metaData RETURN metaData").value()

        with correlation.bound(correlation_id="0123456789abcdef", run="manual__é", stage="load", shard=3):
            seen = graph._bolt.read("looking", look)
        assert {"correlation_id": "0123456789abcdef", "run": "manual__é", "stage": "load", "shard": 3} in seen
        assert graph._bolt.read("looking", look) == [{}]

    def test_a_batch_beyond_the_memory_of_a_transaction_goes_in_by_halves_and_no_document_is_blamed(
        self, graph: Any, version: IndexVersion
    ) -> None:
        documents = [Written(f"large {number}", texts=[f"{number} " + "x" * 1_000_000]) for number in range(40)]
        pieces: list[int] = []
        refused: list[tuple[Written, Refusal]] = []

        def write_some(some: Sequence[Written]) -> None:
            pieces.append(len(some))
            write(graph, version, *some)

        written = write_isolating(documents, write_some, lambda document, error: refused.append((document, error)))
        assert refused == []
        assert written == documents
        assert len(pieces) > 1
        assert rows(graph, version)["chunks"] == len(documents)

    def test_a_document_beyond_the_memory_of_a_transaction_is_too_large_by_itself(
        self, graph: Any, version: IndexVersion
    ) -> None:
        with pytest.raises(BatchTooLarge, match="MemoryPoolOutOfMemoryError"):
            write(graph, version, Written("one", texts=[f"{number} " + "x" * 1_000_000 for number in range(40)]))
        assert rows(graph, version)["chunks"] == 0

    def test_a_drop_beyond_the_memory_of_a_transaction_goes_on_in_smaller_steps(
        self, graph: Any, version: IndexVersion
    ) -> None:
        shared = dict.fromkeys((f"shared {number}" for number in range(40)), 1)
        for number in range(3):
            texts = [f"{number}/{each} " + "x" * 1_000 for each in range(100)]
            write(graph, version, Written(f"{number}", texts=texts, mentions=dict.fromkeys(range(100), shared)))
        assert 0 < graph.drop(version, limit=300, timeout_seconds=SECONDS) < 300
        while graph.drop(version, limit=300, timeout_seconds=SECONDS):
            pass
        assert set(rows(graph, version).values()) == {0}

    def test_a_sweep_beyond_the_memory_of_a_transaction_goes_on_with_fewer_generations(
        self, graph: Any, settings: Settings, version: IndexVersion
    ) -> None:
        light = [Written(f"light {number}") for number in range(7)]
        write(graph, version, *light)
        shared = dict.fromkeys((f"shared {number}" for number in range(40)), 1)
        heavy = []
        for number in range(8):
            texts = [f"{number}/{each} " + "x" * 1_000 for each in range(100)]
            heavy.append(Written(f"{number}", texts=texts, mentions=dict.fromkeys(range(100), shared)))
            write(graph, version, heavy[-1])
        with closing(open_graph(at(settings, write_answer_seconds=60))) as patient:
            # After these it sweeps eight at once.
            assert sweep(patient, version, *light) == 2 * len(light)
            assert sweep(patient, version, *heavy) == 100 * len(heavy)
            assert patient._sweeping.rows < 8
        assert set(rows(graph, version).values()) == {0}

    def test_what_waits_for_a_lock_holds_up_nothing_of_its_page_that_comes_before_it(
        self, graph: Any, raw: RawBoltGraph, settings: Settings, version: IndexVersion
    ) -> None:
        documents = sorted(
            (Written(f"document {number}") for number in range(4)),
            key=lambda document: ids.node_key(version.version, document.document_id),
        )
        write(graph, version, *documents)
        key = ids.node_key(version.version, documents[-1].document_id)
        impatient = open_graph(at(settings, graph_timeout_seconds=0.5, write_answer_seconds=60))
        auth = (settings.effective_neo4j_user, settings.neo4j_password.get_secret_value())
        with (
            closing(impatient),
            neo4j.GraphDatabase.driver(settings.effective_neo4j_url, auth=auth) as driver,
            driver.session(database=settings.effective_neo4j_database) as session,
        ):
            holder = session.begin_transaction()
            holder.run("MATCH (d:Document {key: $key}) SET d.locked = true REMOVE d.locked", key=key).consume()
            with pytest.raises(Unavailable):
                settle(impatient, version, *documents)
            assert raw.live_chunks(version) == {each for one in documents[:-1] for each in one.chunk_ids(version)}
            holder.rollback()
            settle(impatient, version, *documents)
        assert raw.live_chunks(version) == {each for one in documents for each in one.chunk_ids(version)}

    def test_the_victim_of_a_deadlock_is_written_again(
        self, settings: Settings, version: IndexVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # It soon settles all three in one transaction, however slow the machine is.
        graph: Any = open_graph(at(settings, write_answer_seconds=60))
        lost: list[str] = []
        transact = graph._bolt._transact

        def watched(what: str, *given: Any, **options: Any) -> Any:
            try:
                return transact(what, *given, **options)
            except LostRace as error:
                lost.append(str(error))
                raise

        monkeypatch.setattr(graph._bolt, "_transact", watched)
        documents = [Written("first"), Written("second"), Written("third")]
        with closing(graph):
            graph.prepare()
            write(graph, version, *documents)
            settle(graph, version, *documents)
            _cross_locks(graph, settings, version, documents)
            assert "DeadlockDetected" in lost[0]
            assert sum(chunk.document_id == documents[0].document_id for chunk in graph.chunks(version)) == 2


def _cross_locks(graph: Any, settings: Settings, version: IndexVersion, documents: Sequence[Written]) -> None:
    """Settle three documents, which are locked in order, while a transaction that holds the last wants the first. A
    third one holds the second until both wait: one of the two must lose."""
    first, second, last = sorted(ids.node_key(version.version, document.document_id) for document in documents)
    lock = "MATCH (d:Document {key: $key}) SET d.locked = true REMOVE d.locked"
    blocked = "SHOW TRANSACTIONS YIELD status WHERE status STARTS WITH 'Blocked' RETURN count(*) AS waiting"
    auth = (settings.effective_neo4j_user, settings.neo4j_password.get_secret_value())
    with (
        neo4j.GraphDatabase.driver(settings.effective_neo4j_url, auth=auth) as driver,
        driver.session(database=settings.effective_neo4j_database) as session,
        driver.session(database=settings.effective_neo4j_database) as watcher,
    ):

        def wait_until_blocked(count: int) -> None:
            wait_for(
                lambda: watcher.run(blocked).single(strict=True)["waiting"] >= count, what=f"{count} waits for a lock"
            )

        gate = session.begin_transaction()
        gate.run(lock, key=second).consume()

        def backwards(transaction: neo4j.Transaction) -> None:
            for key in (last, first):
                transaction.run(lock, key=key).consume()

        threads = [threading.Thread(target=lambda: settle(graph, version, *documents))]
        # Which of the two the server gives up is its choice: both are the adapter's.
        other = threading.Thread(target=lambda: graph._bolt.write("locking", backwards, timeout_seconds=SECONDS))
        threads.append(other)
        for count, thread in enumerate(threads, start=1):
            thread.start()
            wait_until_blocked(count)
        gate.rollback()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
