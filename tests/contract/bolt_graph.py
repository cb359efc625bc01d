"""What the tests of the Bolt servers share: a raw reader, and the promises that only a wire can break."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID

import neo4j
import pytest
from pydantic import SecretStr

from concordance import ids
from concordance.errors import Misconfigured, PoisonDocument, Transient, Unavailable
from concordance.model import IndexVersion, Reason
from concordance.operations import correlation
from concordance.settings import Settings
from concordance.stores import cypher, neo4j_versions, open_graph
from contract.graph_contract import (
    HOSTILE_NAMES,
    SECONDS,
    GraphContract,
    at_once,
    full,
    rows,
    settle,
    sweep,
    write,
)
from support.index_rows import Written, graph_batch, index_version, link_rows
from support.silent_proxy import closed_port, silent_after

# Fast failures: what is tested is the error, not the patience.
IMPATIENT = {"retry_attempts": 2, "retry_wait_seconds": 0.01, "call_timeout_seconds": 5}


class RawBoltGraph:
    """Reads with a driver of its own, as any other application would."""

    def __init__(self, settings: Settings) -> None:
        self._driver = neo4j.GraphDatabase.driver(
            settings.effective_neo4j_url,
            auth=(settings.effective_neo4j_user, settings.neo4j_password.get_secret_value()),
        )
        self._database = settings.effective_neo4j_database

    def close(self) -> None:
        self._driver.close()

    def values(self, query: str, **parameters: Any) -> list[list[Any]]:
        with self._driver.session(database=self._database) as session:
            return session.run(query, parameters).values()

    def plan(self, query: str, **parameters: Any) -> dict[str, Any]:
        """How the server would answer."""
        with self._driver.session(database=self._database) as session:
            found = session.run(f"EXPLAIN {query}", parameters).consume().plan
        assert found is not None
        return found

    def anchor(self, version: IndexVersion, document_id: UUID) -> Mapping[str, Any] | None:
        key = ids.node_key(version.version, document_id)
        found = self.values("MATCH (d:Document {key: $key}) RETURN properties(d)", key=key)
        assert len(found) <= 1
        return found[0][0] if found else None

    def live_chunks(self, version: IndexVersion) -> set[UUID]:
        query = "MATCH (c:Chunk {index_version: $version}) WHERE c.live RETURN c.id"
        return {UUID(row[0]) for row in self.values(query, version=version.version)}


def at(settings: Settings, **changes: Any) -> Settings:
    """The same server with some settings changed."""
    kept = {"neo4j_url": settings.effective_neo4j_url, "neo4j_user": settings.effective_neo4j_user}
    database = {"neo4j_database": settings.effective_neo4j_database or ""}
    return settings.model_copy(update={**kept, **database, **IMPATIENT, **changes})


class BoltGraphContract(GraphContract):
    """The graph contract and what comes with a wire. Subclasses give the session fixture `settings`."""

    @pytest.fixture
    def graph(self, settings: Settings) -> Iterator[Any]:
        store = open_graph(settings)
        store.prepare()
        yield store
        store.close()

    @pytest.fixture
    def raw(self, settings: Settings) -> Iterator[RawBoltGraph]:
        reader = RawBoltGraph(settings)
        yield reader
        reader.close()

    def test_constraints_and_indexes_are_there_and_online(self, graph: Any, raw: RawBoltGraph) -> None:
        constraints = {row[0] for row in raw.values("SHOW CONSTRAINTS YIELD name RETURN name")}
        assert {f"concordance_{label}_key" for label in ("document", "chunk", "entity")} <= constraints
        assert {row[0] for row in raw.values("SHOW INDEXES YIELD state RETURN state")} == {"ONLINE"}

    def test_a_transaction_may_say_which_run_it_belongs_to(
        self, graph: Any, raw: RawBoltGraph, version: IndexVersion
    ) -> None:
        document = Written("a", texts=("one", "two"))
        with correlation.bound(correlation_id="0123456789abcdef", run="manual__é", stage="load", shard=3):
            write(graph, version, document)
            settle(graph, version, document)
            assert len(list(graph.scan(version))) == 2
        assert raw.live_chunks(version) == set(document.chunk_ids(version))

    def test_a_node_edited_by_hand_in_any_way_is_read_and_equals_nothing(
        self, graph: Any, raw: RawBoltGraph, version: IndexVersion
    ) -> None:
        document = Written("a", texts=("one", "two"))
        write(graph, version, document)
        settle(graph, version, document)
        victim, whole = document.chunk_ids(version)[0], set(graph.scan(version))
        key = ids.node_key(version.version, victim)
        for change in (
            "c.text = 'by hand'",
            "c.text_digest = 'by hand'",
            "c.text = null",
            "c.document_id = 'nobody'",
            "c.generation = 'first'",
            "c.index = 99",
            "c.key = 'another'",
        ):
            raw.values(f"MATCH (c:Chunk {{key: $key}}) SET {change}", key=key)
            assert set(graph.scan(version)) != whole, change
            raw.values("MATCH (c:Chunk {key: 'another'}) SET c.key = $key", key=key)
            graph.rewrite(version, graph_batch(version, document), [document.row], timeout_seconds=SECONDS)
            assert set(graph.scan(version)) == whole, change
        raw.values("MATCH (c:Chunk {key: $key}) SET c.live = false", key=key)
        assert graph.contents(version, [document.key])[document.key].live == 1

    def test_a_hostile_string_never_becomes_a_label_a_type_or_the_name_of_a_property(
        self, graph: Any, raw: RawBoltGraph, version: IndexVersion
    ) -> None:
        plain, hostile = full("plain"), full("hostile", generation=2)
        write(graph, version, plain, Written("target"))
        graph.write_links(version, link_rows(plain), timeout_seconds=SECONDS)
        before = _vocabulary(raw, version)
        batch = graph_batch(version, hostile)
        for name in HOSTILE_NAMES:
            # The closed sets end at the model: an adapter must not rely on them.
            graph.write(
                version,
                replace(
                    batch,
                    entities=tuple(replace(row, type=name) for row in batch.entities),
                    document_entities=tuple(replace(row, role=name) for row in batch.document_entities),
                    relations=tuple(replace(row, kind=name) for row in batch.relations),
                ),
                timeout_seconds=SECONDS,
            )
            links = [replace(row, kind=name) for row in link_rows(hostile)]
            graph.write_links(version, links, timeout_seconds=SECONDS)
        assert _vocabulary(raw, version) == before
        assert graph.contents(version, [plain.key])[plain.key].chunks == len(plain.texts)

    def test_an_entity_under_another_name_is_found_and_written_over(
        self, graph: Any, raw: RawBoltGraph, version: IndexVersion
    ) -> None:
        document = full("a")
        write(graph, version, document)
        key = ids.node_key(version.version, graph_batch(version, document).entities[0].entity_key)
        raw.values("MATCH (e:Entity {key: $key}) SET e.name = 'somebody else'", key=key)
        assert list(graph.altered_entities(version)) == [key]
        graph.rewrite(version, graph_batch(version, document), [document.row], timeout_seconds=SECONDS)
        assert list(graph.altered_entities(version)) == []

    def test_rows_that_hang_on_nothing_are_named_and_dropped(
        self, graph: Any, raw: RawBoltGraph, version: IndexVersion
    ) -> None:
        document = full("a")
        write(graph, version, document)
        key = ids.node_key(version.version, document.document_id)
        raw.values("MATCH (c:Chunk)-[r:FROM_DOCUMENT]->(d:Document {key: $key}) DELETE r", key=key)
        assert document.key in graph.loose(version)
        sweep(graph, version, document)
        raw.values("CREATE (e:Entity {key: $key, index_version: $version})", key=f"x{key}", version=version.version)
        while graph.drop_unused(version, timeout_seconds=SECONDS):
            pass
        assert not any(rows(graph, version).values())

    def test_consecutive_chunks_of_one_generation_are_joined(
        self, graph: Any, raw: RawBoltGraph, version: IndexVersion
    ) -> None:
        documents = [
            Written("a", texts=("one", "two", "three")),
            Written("b", generation=2, texts=("one",)),
            Written("c", texts=("one", "two")),
        ]
        for _ in range(2):
            write(graph, version, *documents)
        found = raw.values(
            "MATCH (c:Chunk {index_version: $version})-[:NEXT_CHUNK]->(n:Chunk) RETURN c.id, n.id",
            version=version.version,
        )
        expected = [
            [str(one), str(two)]
            for document in documents
            for one, two in zip(document.chunk_ids(version), document.chunk_ids(version)[1:], strict=False)
        ]
        assert sorted(found) == sorted(expected)

    def test_nodes_and_edges_carry_what_the_model_names(
        self, graph: Any, raw: RawBoltGraph, version: IndexVersion
    ) -> None:
        document = full("a", links=("a",))
        write(graph, version, document)
        settle(graph, version, document)
        chunk_id = document.chunk_ids(version)[0]
        key = ids.node_key(version.version, chunk_id)
        ((chunk,),) = raw.values("MATCH (c:Chunk {key: $key}) RETURN properties(c)", key=key)
        assert chunk == {
            "key": key,
            "id": str(chunk_id),
            "document_id": str(document.document_id),
            "index_version": version.version,
            "tenant": "acme",
            "generation": 1,
            "index": 0,
            "text": "first words",
            "text_digest": ids.text_digest("first words"),
            "heading_path": ["Guide", "Part 0"],
            "live": True,
        }
        anchor = raw.anchor(version, document.document_id)
        assert anchor is not None
        assert set(anchor) == {
            "key",
            "document_id",
            "index_version",
            "tenant",
            "source",
            "uri",
            "generation",
            "title",
            "fingerprint",
            "access",
            "stamp",
            "content_digest",
            "links",
        }
        found = raw.values(
            "MATCH (a {index_version: $version})-[r]->() RETURN DISTINCT type(r), keys(r)", version=version.version
        )
        assert {kind: set(names) for kind, names in found} == {
            "FROM_DOCUMENT": set(),
            "NEXT_CHUNK": set(),
            "FROM_CHUNK": {"count"},
            "HAS_ENTITY": {"role", "generation"},
            "LINKS_TO": {"kind", "generation"},
            "RELATED_TO": {"kind", "document_id", "generation"},
        }

    def test_chunks_whose_document_was_deleted_by_hand_are_counted_and_swept(
        self, graph: Any, raw: RawBoltGraph, version: IndexVersion
    ) -> None:
        document = full("a", authors=())
        write(graph, version, document)
        raw.values("MATCH (d:Document {index_version: $version}) DETACH DELETE d", version=version.version)
        assert graph.orphans(version)["chunks_without_document"] == 2
        assert graph.read_back(version, [document.key]) == []
        assert sweep(graph, version, document) == 2
        assert set(rows(graph, version).values()) == {0}

    def test_a_drop_that_dies_in_mid_transaction_dropped_nothing_and_the_next_one_does(
        self, graph: Any, version: IndexVersion
    ) -> None:
        write(graph, version, full("a"), full("b"))
        graph.describe(version, "to be dropped")
        before = rows(graph, version)

        def work(transaction: neo4j.Transaction) -> None:
            assert neo4j_versions.drop(transaction, version, limit=5) == 5
            raise OSError("the worker dies")

        with pytest.raises(Transient):
            graph._bolt.write("dying", work, timeout_seconds=1)
        assert rows(graph, version) == before
        while graph.drop(version, limit=5, timeout_seconds=SECONDS):
            pass
        assert version.version not in graph.kept()
        assert set(rows(graph, version).values()) == {0}

    def test_chunks_that_lost_their_id_by_hand_are_dropped_with_their_version(
        self, graph: Any, raw: RawBoltGraph, version: IndexVersion
    ) -> None:
        write(graph, version, full("a"))
        raw.values("MATCH (c:Chunk {index_version: $version}) REMOVE c.id", version=version.version)
        while graph.drop(version, limit=100, timeout_seconds=SECONDS):
            pass
        assert set(rows(graph, version).values()) == {0}

    def test_a_page_begins_with_one_document_and_a_quick_server_is_given_more_in_each_transaction(
        self, graph: Any, raw: RawBoltGraph, settings: Settings, version: IndexVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        documents = [full(f"document {number}", links=()) for number in range(10)]
        write(graph, version, *documents)
        with closing(open_graph(at(settings, write_answer_seconds=60))) as patient, monkeypatch.context() as patched:
            locked = _locked(patched)
            settle(patient, version, *documents)
            assert raw.live_chunks(version) == {each for one in documents for each in one.chunk_ids(version)}
            patient.hide(version, [each.key for each in documents], timeout_seconds=SECONDS)
            assert raw.live_chunks(version) == set()
            assert sweep(patient, version, *documents) == 2 * len(documents)
        # A sweep does more for a document than the others, and begins for itself.
        assert locked == [1, 2, 4, 3, 8, 2, 1, 2, 4, 3]
        assert set(rows(graph, version).values()) == {0}

    def test_a_row_that_fails_in_mid_transaction_takes_its_batch_with_it(
        self, graph: Any, version: IndexVersion
    ) -> None:
        batch = graph_batch(version, *(full(f"document {number}") for number in range(10)))
        too_often = replace(batch.mentions[-1], count=2**63)
        with pytest.raises(PoisonDocument) as refused:
            graph.write(version, replace(batch, mentions=(*batch.mentions[:-1], too_often)), timeout_seconds=SECONDS)
        assert refused.value.reason == Reason.STORE_REFUSED
        assert set(rows(graph, version).values()) == {0}

    def test_a_wrong_password_says_which_setting_to_check(self, settings: Settings) -> None:
        store = open_graph(at(settings, neo4j_password=SecretStr("not the password")))
        try:
            with pytest.raises(Misconfigured, match="neo4j_password") as refused:
                store.ping()
            assert "not the password" not in str(refused.value)
        finally:
            store.close()

    def test_a_database_that_is_not_there_says_which_setting_to_check(self, settings: Settings) -> None:
        store = open_graph(at(settings, neo4j_database="nowhere"))
        try:
            with pytest.raises(Misconfigured, match="neo4j_database"):
                store.ping()
        finally:
            store.close()

    def test_a_server_that_is_not_there_is_unavailable(self, settings: Settings) -> None:
        port = closed_port()
        store = open_graph(at(settings, neo4j_url=f"bolt://127.0.0.1:{port}"))
        try:
            with pytest.raises(Unavailable, match=str(port)):
                store.ping()
            with pytest.raises(Unavailable):
                write(store, index_version(), Written("a"))
        finally:
            store.close()

    def test_a_server_that_stops_answering_does_not_hold_a_call(
        self, graph: Any, settings: Settings, version: IndexVersion
    ) -> None:
        host, _, port = settings.effective_neo4j_url.rpartition("/")[2].rpartition(":")
        answers = threading.Event()
        answers.set()
        with silent_after((host, int(port)), answers=answers) as proxy:
            store = open_graph(at(settings, neo4j_url=f"bolt://127.0.0.1:{proxy}", call_timeout_seconds=2))
            try:
                write(store, version, Written("before"))
                answers.clear()
                started = time.monotonic()
                with pytest.raises(Transient):
                    store.write(version, graph_batch(version, Written("after")), timeout_seconds=2)
                # A bound on what is promised to end, many times above the promise: not a measurement.
                assert time.monotonic() - started < SECONDS
            finally:
                answers.set()
                store.close()

    def test_writers_in_a_crowd_all_get_through(self, graph: Any, version: IndexVersion) -> None:
        shared = [f"shared {number}" for number in range(200)]

        def batches(writer: int) -> None:
            for number in range(5):
                write(graph, version, Written(f"{writer}/{number}", mentions={0: dict.fromkeys(shared, 1)}))

        at_once(*(lambda writer=writer: batches(writer) for writer in range(8)))
        assert rows(graph, version)["entities"] == 200
        assert rows(graph, version)["mentions"] == 8 * 5 * 200


def _locked(patched: pytest.MonkeyPatch) -> list[int]:
    """How many documents each transaction locks that begins from now on."""
    locked: list[int] = []
    run = neo4j.Transaction.run

    def heard(self: neo4j.Transaction, query: str, parameters: Any = None, /, **given: Any) -> neo4j.Result:
        if query == cypher.LOCK_DOCUMENTS:
            locked.append(len(given["keys"]))
        return run(self, query, parameters, **given)

    patched.setattr(neo4j.Transaction, "run", heard)
    return locked


def _vocabulary(raw: RawBoltGraph, version: IndexVersion) -> set[str]:
    """Every label, type and name of a property among the rows of a version."""
    queries = (
        "MATCH (n {index_version: $version}) UNWIND labels(n) + keys(n) AS word RETURN DISTINCT word",
        "MATCH ({index_version: $version})-[r]->() UNWIND [type(r)] + keys(r) AS word RETURN DISTINCT word",
    )
    return {row[0] for query in queries for row in raw.values(query, version=version.version)}
