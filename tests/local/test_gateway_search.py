"""Searches through the gateway give what a reading of all points gives, before and after an index is built."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from support.gateway_points import (
    DIMENSION,
    VOCABULARY,
    Made,
    best_dense,
    best_sparse,
    create_collection,
    made_points,
    upsert,
)
from support.gateways import RunningGateway, gateway
from support.waiting import wait_for

POINTS = made_points(800, seed=11)
DICE = random.Random(5)
DENSE = [np.float32(np.random.default_rng(seed).standard_normal(DIMENSION)).tolist() for seed in range(10)]
SPARSE = [{term: 1.0 for term in DICE.sample(range(VOCABULARY), 4)} for _ in range(10)]
KEEPS: list[tuple[models.Filter | None, Callable[[Made], bool]]] = [
    (None, lambda _: True),
    (
        models.Filter(
            must=[
                models.FieldCondition(key="tenant", match=models.MatchValue(value="north")),
                models.FieldCondition(key="access", match=models.MatchAny(any=["board"])),
            ]
        ),
        lambda each: each.payload["tenant"] == "north" and "board" in each.payload["access"],
    ),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantClient]:
    with gateway(tmp_path_factory.mktemp("gateway")) as running:
        opened = running.client()
        create_collection(opened)
        for field in ("tenant", "access"):
            opened.create_payload_index("docs", field, models.PayloadSchemaType.KEYWORD)
        upsert(opened, POINTS)
        yield opened
        opened.close()


def sparse_vector(terms: dict[int, float]) -> models.SparseVector:
    return models.SparseVector(indices=list(terms), values=list(terms.values()))


def pairs(response: Any) -> list[tuple[str, float]]:
    return [(str(each.id), each.score) for each in response.points]


def assert_same(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    """The same scores in the same order; points of (nearly) equal score may change places."""
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-5, abs=1e-6)
    clear = {each for each, score in expected if score > expected[-1][1] + 1e-5}
    assert clear <= {each for each, _ in found}


@pytest.mark.parametrize("chosen", KEEPS, ids=["all", "filtered"])
def test_dense_search_equals_reading_every_point(
    client: QdrantClient, chosen: tuple[models.Filter | None, Callable[[Made], bool]]
) -> None:
    for query in DENSE:
        found = client.query_points("docs", query=query, using="dense", query_filter=chosen[0], limit=10)
        assert_same(pairs(found), best_dense(POINTS, query, 10, chosen[1]))


@pytest.mark.parametrize("chosen", KEEPS, ids=["all", "filtered"])
def test_sparse_search_scores_bm25_with_the_collections_idf(
    client: QdrantClient, chosen: tuple[models.Filter | None, Callable[[Made], bool]]
) -> None:
    for query in SPARSE:
        found = client.query_points("docs", query=sparse_vector(query), using="bm25", query_filter=chosen[0], limit=10)
        assert_same(pairs(found), best_sparse(POINTS, query, 10, chosen[1]))


def test_offset_limit_and_threshold_cut_the_same_list(client: QdrantClient) -> None:
    query = DENSE[0]
    expected = best_dense(POINTS, query, 30)
    found = client.query_points("docs", query=query, using="dense", limit=10, offset=20)
    assert_same(pairs(found), expected[20:])
    threshold = (expected[7][1] + expected[8][1]) / 2
    above = client.query_points("docs", query=query, using="dense", limit=30, score_threshold=threshold)
    assert [each for each, _ in pairs(above)] == [each for each, _ in expected[:8]]


def test_rrf_adds_reciprocal_ranks(client: QdrantClient) -> None:
    dense, sparse = DENSE[1], SPARSE[1]
    ranks: dict[str, float] = {}
    for ranking in (best_dense(POINTS, dense, 20), best_sparse(POINTS, sparse, 20)):
        for rank, (each, _) in enumerate(ranking):
            ranks[each] = ranks.get(each, 0) + 1 / (2 + rank)
    found = client.query_points("docs", prefetch=prefetches(dense, sparse), query=fused("rrf"), limit=10)
    assert_same(pairs(found), sorted(ranks.items(), key=lambda pair: -pair[1])[:10])
    sharper = client.query_points(
        "docs", prefetch=prefetches(dense, sparse), query=models.RrfQuery(rrf=models.Rrf(k=60))
    )
    assert pairs(sharper)[0][1] < 2 / 60


def test_dbsf_adds_scores_scaled_by_three_deviations(client: QdrantClient) -> None:
    dense, sparse = DENSE[2], SPARSE[2]
    total: dict[str, float] = {}
    for ranking in (best_dense(POINTS, dense, 20), best_sparse(POINTS, sparse, 20)):
        scores = np.array([score for _, score in ranking])
        low = scores.mean() - 3 * scores.std(ddof=1)
        high = scores.mean() + 3 * scores.std(ddof=1)
        for each, score in ranking:
            total[each] = total.get(each, 0) + float((score - low) / (high - low))
    found = client.query_points("docs", prefetch=prefetches(dense, sparse), query=fused("dbsf"), limit=10)
    assert_same(pairs(found), sorted(total.items(), key=lambda pair: -pair[1])[:10])


def test_a_filter_of_the_whole_query_holds_for_its_prefetches(client: QdrantClient) -> None:
    only_north, keeps = KEEPS[1]
    found = client.query_points(
        "docs", prefetch=prefetches(DENSE[3], SPARSE[3]), query=fused("rrf"), query_filter=only_north, limit=50
    )
    kept = {each.id for each in POINTS if keeps(each)}
    assert found.points
    assert {str(each.id) for each in found.points} <= kept


def test_rescoring_takes_candidates_from_the_prefetch(client: QdrantClient) -> None:
    candidates = {each for each, _ in best_sparse(POINTS, SPARSE[4], 20)}
    found = client.query_points(
        "docs",
        prefetch=models.Prefetch(query=sparse_vector(SPARSE[4]), using="bm25", limit=20),
        query=DENSE[4],
        using="dense",
        limit=5,
    )
    assert_same(pairs(found), best_dense(POINTS, DENSE[4], 5, lambda each: each.id in candidates))


def test_a_batch_of_queries_answers_each_in_its_place(client: QdrantClient) -> None:
    requests = [models.QueryRequest(query=query, using="dense", limit=3) for query in DENSE[:4]]
    requests.append(models.QueryRequest(query=sparse_vector(SPARSE[0]), using="bm25", limit=3, with_payload=["index"]))
    found = client.query_batch_points("docs", requests)
    for query, response in zip(DENSE[:4], found, strict=False):
        assert_same(pairs(response), best_dense(POINTS, query, 3))
    assert_same(pairs(found[4]), best_sparse(POINTS, SPARSE[0], 3))
    assert all(each.payload is None for each in found[0].points)
    assert all(list(each.payload or ()) == ["index"] for each in found[4].points)


def test_hits_carry_the_payload_and_vectors_that_were_asked_for(client: QdrantClient) -> None:
    (hit,) = client.query_points(
        "docs", query=DENSE[0], using="dense", limit=1, with_payload=True, with_vectors=True
    ).points
    made = next(each for each in POINTS if each.id == hit.id)
    assert hit.payload == made.payload
    assert isinstance(hit.vector, dict)
    assert hit.vector["dense"] == made.dense
    excluding = models.PayloadSelectorExclude(exclude=["text"])
    (other,) = client.query_points("docs", query=DENSE[0], using="dense", limit=1, with_payload=excluding).points
    assert (other.payload or {}).keys() == made.payload.keys() - {"text"}


def test_points_are_listed_by_filter_order_and_chance_without_a_vector(client: QdrantClient) -> None:
    only_north, keeps = KEEPS[1]
    found = client.query_points("docs", query_filter=only_north, limit=1000)
    assert {str(each.id) for each in found.points} == {each.id for each in POINTS if keeps(each)}
    drawn = client.query_points("docs", query=models.SampleQuery(sample=models.Sample.RANDOM), limit=7)
    assert len({each.id for each in drawn.points}) == 7


def test_a_point_without_terms_is_found_by_its_dense_vector_only(tmp_path: Any) -> None:
    with gateway(tmp_path) as running:
        client = running.client()
        create_collection(client)
        client.upsert("docs", [models.PointStruct(id=1, vector={"dense": POINTS[0].dense}, payload={})])
        assert len(client.query_points("docs", query=DENSE[0], using="dense").points) == 1
        assert client.query_points("docs", query=sparse_vector({1: 1.0}), using="bm25").points == []
        client.close()


def test_an_unnamed_vector_is_searched_without_a_name(tmp_path: Any) -> None:
    with gateway(tmp_path) as running:
        client = running.client()
        client.create_collection("plain", vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE))
        client.upsert("plain", [models.PointStruct(id=each, vector=[1.0, each, 0.0]) for each in range(3)])
        found = client.query_points("plain", query=[1.0, 0.0, 0.0], limit=1, with_vectors=True).points
        assert [(each.id, each.vector) for each in found] == [(0, [1.0, 0.0, 0.0])]
        client.close()


def test_the_index_is_built_in_the_background_and_agrees_with_the_exact_search(tmp_path: Any) -> None:
    dimension = 64
    points = made_points(3000, seed=3, dimension=dimension)
    with gateway(tmp_path) as running:
        client = running.client()
        create_collection(client, dimension=dimension, indexing_threshold=300)
        upsert(client, points[:2500])
        upsert(client, points[2500:])
        wait_for(lambda: is_indexed(client, dense=2500), seconds=120, what="the index")
        info = client.get_collection("docs")
        assert info.points_count == 3000
        # Sparse vectors count as indexed from the start: without them, only what the HNSW index holds is left.
        assert 2500 <= (info.indexed_vectors_count or 0) - 3000 <= 3000
        queries = np.random.default_rng(1).standard_normal((20, dimension)).astype(np.float32).tolist()
        hits = total = 0
        for query in queries:
            expected = {each for each, _ in best_dense(points, query, 10)}
            exact = client.query_points("docs", query=query, using="dense", search_params=EXACT)
            approximate = client.query_points("docs", query=query, using="dense")
            assert {each for each, _ in pairs(exact)} == expected
            hits += len({each for each, _ in pairs(approximate)} & expected)
            total += 10
        assert hits / total > 0.9
        client.close()


def test_writes_and_searches_go_on_while_an_index_is_built(
    running_with_index_due: tuple[RunningGateway, list[Made]],
) -> None:
    running, points = running_with_index_due
    client = running.client()
    wait_for(lambda: client.get_collection("docs").status == models.CollectionStatus.YELLOW, what="the build")
    fresh = made_points(400, seed=99)
    deleted, changed = points[:50], points[50:100]
    written = 0
    while client.get_collection("docs").status == models.CollectionStatus.YELLOW and written < len(fresh):
        upsert(client, fresh[written : written + 10])
        written += 10
        assert client.query_points("docs", query=DENSE[0], using="dense").points
    client.delete("docs", [each.id for each in deleted])
    client.set_payload("docs", {"live": True}, points=[each.id for each in changed])
    wait_for(lambda: client.get_collection("docs").status == models.CollectionStatus.GREEN, seconds=120, what="green")
    found, _ = client.scroll("docs", limit=10_000)
    expected = {each.id for each in points[50:]} | {each.id for each in fresh[:written]}
    assert {str(each.id) for each in found} == expected
    assert {str(each.id) for each in found if each.payload and each.payload["live"]} == {each.id for each in changed}
    client.close()


@pytest.fixture
def running_with_index_due(tmp_path: Any) -> Iterator[tuple[RunningGateway, list[Made]]]:
    with gateway(tmp_path) as running:
        client = running.client()
        create_collection(client, indexing_threshold=200)
        points = made_points(4000, seed=21)
        upsert(client, points)
        client.close()
        yield running, points


EXACT = models.SearchParams(exact=True)


def prefetches(dense: list[float], sparse: dict[int, float]) -> list[models.Prefetch]:
    return [
        models.Prefetch(query=dense, using="dense", limit=20),
        models.Prefetch(query=sparse_vector(sparse), using="bm25", limit=20),
    ]


def fused(kind: str) -> models.FusionQuery:
    return models.FusionQuery(fusion=models.Fusion(kind))


def is_indexed(client: QdrantClient, *, dense: int) -> bool:
    info = client.get_collection("docs")
    settled = info.status == models.CollectionStatus.GREEN
    return settled and (info.indexed_vectors_count or 0) >= (info.points_count or 0) + dense
