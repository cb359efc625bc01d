"""Collections, aliases and payload indexes of the gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from support.gateway_points import create_collection, made_points, upsert
from support.gateways import RunningGateway, gateway
from support.waiting import wait_for

POINTS = made_points(20)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with gateway(tmp_path_factory.mktemp("gateway")) as started:
        yield started


@pytest.fixture
def client(running: RunningGateway) -> Iterator[QdrantClient]:
    opened = running.client()
    for each in opened.get_collections().collections:
        opened.delete_collection(each.name)
    yield opened
    opened.close()


def aliases(client: QdrantClient) -> dict[str, str]:
    return {each.alias_name: each.collection_name for each in client.get_aliases().aliases}


def create_alias(alias: str, collection: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=alias, collection_name=collection))


def test_a_collection_is_described_as_it_was_created(client: QdrantClient) -> None:
    create_collection(client, indexing_threshold=777)
    info = client.get_collection("docs")
    assert info.status == models.CollectionStatus.GREEN
    assert (info.points_count, info.segments_count) == (0, 1)
    vectors, sparse = info.config.params.vectors, info.config.params.sparse_vectors
    assert isinstance(vectors, dict)
    assert (vectors["dense"].size, vectors["dense"].distance) == (16, models.Distance.DOT)
    assert sparse is not None
    assert sparse["bm25"].modifier == models.Modifier.IDF
    assert info.config.optimizer_config.indexing_threshold == 777
    assert info.config.optimizer_config.vacuum_min_vector_number == 1000
    assert info.config.hnsw_config.m == 16


def test_a_name_is_taken_only_once(client: QdrantClient) -> None:
    create_collection(client)
    with pytest.raises(UnexpectedResponse, match="Collection `docs` already exists!") as refused:
        create_collection(client)
    assert refused.value.status_code == 409


def test_a_deleted_collection_is_gone_with_its_data_and_aliases(client: QdrantClient, running: RunningGateway) -> None:
    create_collection(client)
    upsert(client, POINTS)
    client.update_collection_aliases([create_alias("current", "docs")])
    assert client.delete_collection("docs")
    assert not client.collection_exists("docs")
    assert aliases(client) == {}
    assert list((running.data / "shards").iterdir()) == []
    with pytest.raises(UnexpectedResponse, match="Collection `docs` doesn") as refused:
        client.count("docs")
    assert refused.value.status_code == 404
    assert not client.delete_collection("docs")
    create_collection(client)
    assert client.count("docs").count == 0


def test_an_alias_reads_writes_and_describes_its_collection(client: QdrantClient) -> None:
    create_collection(client)
    client.update_collection_aliases([create_alias("current", "docs")])
    upsert(client, POINTS, "current")
    assert client.collection_exists("current")
    assert client.count("docs").count == client.get_collection("current").points_count == len(POINTS)
    assert [each.alias_name for each in client.get_collection_aliases("docs").aliases] == ["current"]


def test_an_alias_moves_in_one_step(client: QdrantClient) -> None:
    for name in ("v1", "v2"):
        create_collection(client, name)
    client.update_collection_aliases([create_alias("current", "v1")])
    client.update_collection_aliases(
        [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="current")),
            create_alias("current", "v2"),
            create_alias("former", "v1"),
        ]
    )
    assert aliases(client) == {"current": "v2", "former": "v1"}
    client.update_collection_aliases([create_alias("current", "v1")])
    assert aliases(client)["current"] == "v1"


def test_an_alias_update_that_fails_in_its_last_step_changes_nothing(client: QdrantClient) -> None:
    create_collection(client)
    client.update_collection_aliases([create_alias("current", "docs")])
    with pytest.raises(UnexpectedResponse, match="Collection `nowhere` doesn"):
        client.update_collection_aliases(
            [
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="current")),
                create_alias("current", "nowhere"),
            ]
        )
    assert aliases(client) == {"current": "docs"}


def test_an_alias_is_renamed(client: QdrantClient) -> None:
    create_collection(client)
    client.update_collection_aliases([create_alias("old", "docs")])
    rename = models.RenameAliasOperation(rename_alias=models.RenameAlias(old_alias_name="old", new_alias_name="new"))
    client.update_collection_aliases([rename])
    assert aliases(client) == {"new": "docs"}
    with pytest.raises(UnexpectedResponse, match="Alias old does not exists!"):
        client.update_collection_aliases([rename])


def test_a_collection_and_an_alias_cannot_share_a_name(client: QdrantClient) -> None:
    create_collection(client)
    with pytest.raises(UnexpectedResponse, match="same name"):
        client.update_collection_aliases([create_alias("docs", "docs")])
    client.update_collection_aliases([create_alias("current", "docs")])
    with pytest.raises(UnexpectedResponse, match="same name"):
        create_collection(client, "current")


def test_payload_indexes_are_described_with_their_parameters(client: QdrantClient) -> None:
    create_collection(client)
    upsert(client, POINTS)
    client.create_payload_index(
        "docs", "tenant", models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    )
    client.create_payload_index("docs", "generation", models.PayloadSchemaType.INTEGER)
    client.create_payload_index("docs", "live", models.PayloadSchemaType.BOOL)
    client.create_payload_index("docs", "text", models.PayloadSchemaType.TEXT)
    described = client.get_collection("docs").payload_schema
    assert {name: each.data_type.value for name, each in described.items()} == {
        "tenant": "keyword",
        "generation": "integer",
        "live": "bool",
        "text": "text",
    }
    assert isinstance(described["tenant"].params, models.KeywordIndexParams)
    assert described["tenant"].params.is_tenant
    assert described["tenant"].points == len(POINTS)
    client.create_payload_index("docs", "generation", models.PayloadSchemaType.INTEGER)
    client.delete_payload_index("docs", "live")
    assert client.get_collection("docs").payload_schema.keys() == {"tenant", "generation", "text"}


def test_everything_in_the_catalogue_outlives_a_restart(tmp_path: Path) -> None:
    with gateway(tmp_path) as first:
        client = first.client()
        create_collection(client, "v1")
        create_collection(client, "v2", indexing_threshold=123)
        client.update_collection_aliases([create_alias("current", "v2")])
        client.create_payload_index("v2", "tenant", models.PayloadSchemaType.KEYWORD)
        upsert(client, POINTS, "current")
        described = client.get_collection("v2")
        client.close()
        assert first.stop() == 0
    with gateway(tmp_path) as second:
        client = second.client()
        assert {each.name for each in client.get_collections().collections} == {"v1", "v2"}
        assert aliases(client) == {"current": "v2"}
        assert client.get_collection("v2") == described
        assert client.count("current").count == len(POINTS)
        client.close()


def test_other_optimiser_settings_apply_without_a_restart(client: QdrantClient) -> None:
    create_collection(client, indexing_threshold=0)
    upsert(client, made_points(2000))
    assert client.get_collection("docs").status == models.CollectionStatus.GREEN
    client.update_collection("docs", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=50))
    info = wait_for(
        lambda: (found := client.get_collection("docs")).indexed_vectors_count == 4000 and found,
        seconds=120,
        what="an index of all dense vectors",
    )
    assert info.config.optimizer_config.indexing_threshold == 50


def test_deleted_points_are_cleared_out_in_the_background(client: QdrantClient, running: RunningGateway) -> None:
    create_collection(client, indexing_threshold=0)
    points = made_points(3000)
    upsert(client, points)
    (before,) = (running.data / "shards").iterdir()
    client.delete("docs", [each.id for each in points[:1500]])
    wait_for(lambda: not before.exists(), seconds=120, what="the rewritten shard")
    info = wait_for(
        lambda: (found := client.get_collection("docs")).status == models.CollectionStatus.GREEN and found, what="green"
    )
    assert info.points_count == 1500
    found, _ = client.scroll("docs", limit=5000)
    assert {str(each.id) for each in found} == {each.id for each in points[1500:]}


@pytest.mark.parametrize("end", [RunningGateway.kill, RunningGateway.stop])
def test_an_index_of_other_parameters_is_built_anew_also_after_an_end_in_the_middle(
    tmp_path: Path, end: Callable[[RunningGateway], object]
) -> None:
    running = RunningGateway(tmp_path)
    client = running.client()
    create_collection(client, indexing_threshold=50)
    upsert(client, made_points(2000))
    wait_for_index(client, points=2000)
    (before,) = (tmp_path / "shards").iterdir()
    client.update_collection("docs", hnsw_config=models.HnswConfigDiff(max_indexing_threads=1))
    assert client.get_collection("docs").status == models.CollectionStatus.GREEN
    client.update_collection("docs", hnsw_config=models.HnswConfigDiff(m=8))
    assert client.get_collection("docs").status == models.CollectionStatus.YELLOW
    wait_for(lambda: len(list((tmp_path / "shards").iterdir())) == 2, what="the copy")
    end(running)
    client.close()
    assert before.exists()
    with gateway(tmp_path) as restarted:
        reader = restarted.client()
        wait_for_index(reader, points=2000)
        assert reader.get_collection("docs").config.hnsw_config.m == 8
        wait_for(lambda: not before.exists(), what="the former shard's end")
        reader.close()


def test_a_lower_threshold_indexes_what_was_left_alone_before(client: QdrantClient, running: RunningGateway) -> None:
    create_collection(client)
    points = made_points(3000)
    upsert(client, points)
    (before,) = (running.data / "shards").iterdir()
    client.delete("docs", [each.id for each in points[:1500]])
    wait_for(lambda: not before.exists(), seconds=120, what="the rewritten shard")
    wait_for(lambda: client.get_collection("docs").status == models.CollectionStatus.GREEN, what="green")
    assert client.get_collection("docs").indexed_vectors_count == 1500
    client.update_collection("docs", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=90))
    assert client.get_collection("docs").status == models.CollectionStatus.YELLOW
    wait_for_index(client, points=1500)


def test_a_collection_is_deleted_in_the_middle_of_a_build(client: QdrantClient, running: RunningGateway) -> None:
    create_collection(client, indexing_threshold=1)
    create_collection(client, "other")
    upsert(client, made_points(3000))
    wait_for(lambda: len(list((running.data / "shards").iterdir())) == 3, what="the copy")
    assert client.delete_collection("docs")
    assert not client.collection_exists("docs")
    wait_for(lambda: len(list((running.data / "shards").iterdir())) == 1, seconds=120, what="the end of its folders")
    assert client.count("other").count == 0


def test_searches_by_name_go_on_while_the_alias_moves(client: QdrantClient) -> None:
    for name in ("v1", "v2"):
        create_collection(client, name)
        upsert(client, POINTS, name)
    client.update_collection_aliases([create_alias("current", "v1")])
    is_over = threading.Event()

    def search() -> int:
        answers = 0
        while not is_over.is_set():
            for name in ("v1", "v2", "current"):
                answers += len(client.query_points(name, query=POINTS[0].dense, using="dense", limit=5).points) == 5
        return answers % 3

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(search) for _ in range(2)]
        for number in range(20):
            gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="current"))
            client.update_collection_aliases([gone, create_alias("current", ("v2", "v1")[number % 2])])
        is_over.set()
        assert [reader.result() for reader in readers] == [0, 0]


def wait_for_index(client: QdrantClient, *, points: int) -> None:
    """Sparse vectors count as indexed from the start."""
    wait_for(
        lambda: (
            (found := client.get_collection("docs")).status == models.CollectionStatus.GREEN
            and found.indexed_vectors_count == 2 * points
        ),
        seconds=120,
        what="an index of all dense vectors",
    )
