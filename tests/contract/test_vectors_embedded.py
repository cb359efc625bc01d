"""The vector adapter on the local stack's Qdrant gateway."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from qdrant_client import QdrantClient, models

from concordance.errors import Misconfigured, OutcomeUnknown, Transient, Unavailable
from concordance.model import IndexState, IndexVersion
from concordance.settings import Settings
from concordance.stores import VectorStore, open_vectors
from concordance.stores.point_payloads import digest_of_vectors
from contract.vector_contract import SECONDS, WIDE, VectorContract, count, settle, upsert
from support.cutting_proxy import Cut, cutting
from support.index_rows import Written, index_version, points, unit_vector
from support.silent_proxy import closed_port, silent_after
from support.waiting import wait_for

# Fast failures: what is tested is the error, not the patience.
IMPATIENT = {"retry_attempts": 2, "retry_wait_seconds": 0.01, "call_timeout_seconds": 5}


def at(settings: Settings, **changes: Any) -> Settings:
    """The same server with some settings changed."""
    return settings.model_copy(update={"qdrant_url": settings.effective_qdrant_url, **IMPATIENT, **changes})


class RawQdrant:
    """Reads with a client of its own, as any other application would."""

    def __init__(self, settings: Settings) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.client = QdrantClient(
                url=settings.effective_qdrant_url,
                api_key=settings.qdrant_api_key.get_secret_value(),
                check_compatibility=False,
            )

    def live_points(self, version: IndexVersion) -> set[UUID]:
        chosen = models.Filter(must=[models.FieldCondition(key="live", match=models.MatchValue(value=True))])
        found, _ = self.client.scroll(version.collection, scroll_filter=chosen, limit=10_000, with_payload=False)
        return {UUID(str(record.id)) for record in found}


def _found_at_a_glance(raw: RawQdrant, version: IndexVersion) -> float:
    """How many of the ten nearest points a search finds that looks at ten only: all of them where it reads every
    vector, 0 to 1."""
    found = 0
    for number in range(20):
        query = unit_vector(f"query {number}", WIDE).tolist()
        tenant = models.FieldCondition(key="tenant", match=models.MatchValue(value="acme"))
        ids = [
            {
                hit.id
                for hit in raw.client.query_points(
                    version.collection,
                    query=query,
                    using="dense",
                    query_filter=models.Filter(must=[tenant]),
                    search_params=models.SearchParams(exact=exact, hnsw_ef=10),
                    limit=10,
                ).points
            }
            for exact in (True, False)
        ]
        found += len(ids[0] & ids[1])
    return found / 200


class TestEmbeddedVectors(VectorContract):
    """All of the contract, and what comes with a wire."""

    @pytest.fixture
    def vectors(self, stack: Settings) -> Iterator[VectorStore]:
        store = open_vectors(stack)
        yield store
        store.close()

    @pytest.fixture
    def raw(self, stack: Settings) -> Iterator[RawQdrant]:
        reader = RawQdrant(stack)
        yield reader
        reader.client.close()

    @pytest.fixture
    def version(self, raw: RawQdrant) -> Iterator[IndexVersion]:
        own = index_version()
        yield own
        raw.client.delete_collection(own.collection)

    def test_a_collection_is_what_the_model_names(self, raw: RawQdrant, version: IndexVersion) -> None:
        found = raw.client.get_collection(version.collection)
        dense = found.config.params.vectors["dense"]
        assert (dense.size, dense.distance) == (version.settings.model.dimension, models.Distance.DOT)
        assert found.config.params.sparse_vectors["bm25"].modifier == models.Modifier.IDF
        assert {field: str(index.data_type.value) for field, index in found.payload_schema.items()} == {
            "document_id": "keyword",
            "generation": "integer",
            "tenant": "keyword",
            "source": "keyword",
            "access": "keyword",
            "live": "bool",
        }

    def test_what_was_searched_vector_by_vector_goes_by_the_hnsw_once_it_was_built(
        self, vectors: VectorStore, raw: RawQdrant
    ) -> None:
        wide = index_version(dimension=WIDE)
        # As an earlier release made it: the server indexes it by itself, and searches read every vector all the same.
        raw.client.create_collection(
            wide.collection,
            vectors_config={"dense": models.VectorParams(size=WIDE, distance=models.Distance.DOT)},
            sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100),
        )
        try:
            vectors.prepare(wide)
            upsert(vectors, wide, Written("a", texts=[f"text {number}" for number in range(1_000)]))
            wait_for(lambda: vectors.index_state(wide).indexed == 1_000, what="the server's own index")
            assert _found_at_a_glance(raw, wide) == 1
            with pytest.raises(Unavailable, match="1000 of 1000 vectors"):
                vectors.build_hnsw(wide, timeout_seconds=1)
            vectors.build_hnsw(wide, timeout_seconds=120)
            assert _found_at_a_glance(raw, wide) < 0.95
            config = raw.client.get_collection(wide.collection).config
            assert config.optimizer_config.indexing_threshold == 10_000
            assert config.hnsw_config.full_scan_threshold == 100
        finally:
            vectors.drop(wide, timeout_seconds=SECONDS)

    def test_while_a_version_is_built_the_server_indexes_nothing_and_the_usual_threshold_comes_back(
        self, vectors: VectorStore, raw: RawQdrant
    ) -> None:
        wide = index_version(dimension=WIDE)
        vectors.prepare(wide)
        try:
            raw.client.update_collection(
                wide.collection, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100)
            )
            vectors.defer_indexing(wide)
            upsert(vectors, wide, Written("a", texts=[f"text {number}" for number in range(1_000)]))
            found = raw.client.get_collection(wide.collection)
            # All that there is to do is done, and no dense vector is indexed: sparse ones count as such from the start.
            assert found.status == models.CollectionStatus.GREEN
            assert found.indexed_vectors_count == 1_000
            assert found.config.optimizer_config.indexing_threshold == 0
            vectors.build_hnsw(wide, timeout_seconds=120)
            assert vectors.index_state(wide) == IndexState(points=1_000, indexed=1_000)
            config = raw.client.get_collection(wide.collection).config
            assert config.optimizer_config.indexing_threshold == 10_000
        finally:
            vectors.drop(wide, timeout_seconds=SECONDS)

    def test_an_index_that_is_being_built_is_not_put_off_again(self, vectors: VectorStore, raw: RawQdrant) -> None:
        own = index_version()
        vectors.prepare(own)
        try:
            # As a build leaves it whose time was over; another one takes the version up.
            raw.client.update_collection(
                own.collection, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1)
            )
            vectors.defer_indexing(own)
            assert raw.client.get_collection(own.collection).config.optimizer_config.indexing_threshold == 1
        finally:
            vectors.drop(own, timeout_seconds=SECONDS)

    def test_a_drop_whose_answer_was_lost_is_finished_by_the_next_one(
        self, stack: Settings, vectors: VectorStore
    ) -> None:
        doomed = index_version()
        vectors.prepare(doomed)
        upsert(vectors, doomed, Written("a"))
        with cutting(("127.0.0.1", stack.qdrant_port), lambda: lambda sent: sent.startswith(b"DELETE ")) as proxy:
            store = open_vectors(at(stack, qdrant_url=f"http://127.0.0.1:{proxy.port}", retry_attempts=1))
            proxy.cut(Cut.ANSWER_LOST)
            try:
                with pytest.raises(OutcomeUnknown, match=doomed.collection):
                    store.drop(doomed, timeout_seconds=SECONDS)
                for _ in range(2):
                    store.drop(doomed, timeout_seconds=SECONDS)
                    assert doomed.version not in vectors.kept()
            finally:
                store.close()

    def test_a_payload_is_what_the_model_names(
        self, vectors: VectorStore, raw: RawQdrant, version: IndexVersion
    ) -> None:
        document = Written("a", texts=("only words",), access=("public", "staff"))
        (point,) = upsert(vectors, version, document)
        settle(vectors, version, document)
        (record,) = raw.client.retrieve(version.collection, [str(point.chunk_id)])
        assert record.payload == {
            "document_id": str(document.document_id),
            "generation": 1,
            "index": 0,
            "tenant": "acme",
            "source": "manuals",
            "uri": "a",
            "title": "A title",
            "heading_path": ["Guide", "Part 0"],
            "text": "only words",
            "text_digest": point.text_digest,
            "vectors_digest": digest_of_vectors(point),
            "access": ["public", "staff"],
            "live": True,
        }

    def test_requests_are_cut_by_their_bytes(self, stack: Settings, version: IndexVersion) -> None:
        document = Written("a", texts=["\x01" * 4_000 + str(number) for number in range(40)])
        store = open_vectors(at(stack, upsert_bytes=65_536))
        try:
            upsert(store, version, document)
            assert count(store, version) == 40
        finally:
            store.close()

    def test_the_raw_alias_leads_to_the_collection(
        self, vectors: VectorStore, raw: RawQdrant, version: IndexVersion
    ) -> None:
        upsert(vectors, version, Written("a"))
        vectors.point_to(version)
        assert raw.client.count("concordance").count == 2

    def test_an_alias_that_names_something_else_is_a_clear_error(
        self, vectors: VectorStore, raw: RawQdrant, version: IndexVersion
    ) -> None:
        name = f"somebody_elses_{version.version}"
        raw.client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
        alias = models.CreateAlias(collection_name=name, alias_name="concordance")
        gone = models.DeleteAlias(alias_name="concordance")
        operations = [models.CreateAliasOperation(create_alias=alias)]
        if vectors.pointer() is not None:
            operations.insert(0, models.DeleteAliasOperation(delete_alias=gone))
        raw.client.update_collection_aliases(operations)
        try:
            with pytest.raises(Misconfigured, match=name):
                vectors.pointer()
        finally:
            raw.client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=gone)])
            raw.client.delete_collection(name)
        assert vectors.pointer() is None

    def test_a_wrong_key_says_which_setting_to_check(self, stack: Settings) -> None:
        store = open_vectors(at(stack, qdrant_api_key=SecretStr("not the key")))
        try:
            with pytest.raises(Misconfigured, match="qdrant_api_key") as refused:
                store.ping()
            assert "not the key" not in str(refused.value)
        finally:
            store.close()

    def test_a_server_that_is_not_there_is_unavailable(self, stack: Settings) -> None:
        port, version = closed_port(), index_version()
        store = open_vectors(at(stack, qdrant_url=f"http://127.0.0.1:{port}"))
        try:
            with pytest.raises(Unavailable, match=str(port)):
                store.ping()
            with pytest.raises(Unavailable):
                upsert(store, version, Written("a"))
        finally:
            store.close()

    def test_an_address_that_is_none_is_misconfigured(self, stack: Settings) -> None:
        with pytest.raises(Misconfigured, match="qdrant_url"):
            open_vectors(at(stack, qdrant_url="ftp://127.0.0.1:1"))

    def test_a_server_that_stops_answering_does_not_hold_a_call(self, stack: Settings, version: IndexVersion) -> None:
        host, _, port = stack.effective_qdrant_url.rpartition("/")[2].rpartition(":")
        answers = threading.Event()
        answers.set()
        with silent_after((host, int(port)), answers=answers) as proxy:
            store = open_vectors(at(stack, qdrant_url=f"http://127.0.0.1:{proxy}"))
            try:
                upsert(store, version, Written("before"))
                answers.clear()
                started = time.monotonic()
                with pytest.raises(Transient):
                    store.upsert(version, points(version, Written("after")), timeout_seconds=1)
                # A bound on what is promised to end, many times above the promise: not a measurement.
                assert time.monotonic() - started < SECONDS
            finally:
                answers.set()
                store.close()
