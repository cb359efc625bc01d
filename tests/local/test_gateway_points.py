"""Points through the gateway: writing, reading, filtering and deleting, with the client that the product uses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from support.gateway_points import Made, create_collection, made_points, upsert
from support.gateways import RunningGateway, gateway


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with gateway(tmp_path_factory.mktemp("gateway")) as started:
        yield started


@pytest.fixture
def client(running: RunningGateway) -> Iterator[QdrantClient]:
    opened = running.client()
    for each in opened.get_collections().collections:
        opened.delete_collection(each.name)
    create_collection(opened)
    yield opened
    opened.close()


POINTS = made_points(500)


def having(key: str, value: str | int | bool) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key=key, match=models.MatchValue(value=value))])


def test_vectors_and_payloads_read_back_bit_for_bit(client: QdrantClient) -> None:
    upsert(client, POINTS)
    found = client.retrieve("docs", [each.id for each in POINTS], with_payload=True, with_vectors=True)
    by_id = {str(each.id): each for each in found}
    assert by_id.keys() == {each.id for each in POINTS}
    for made in POINTS:
        vector = by_id[made.id].vector
        assert isinstance(vector, dict)
        assert np.array_equal(np.float32(vector["dense"]), np.float32(made.dense))
        assert isinstance(vector["bm25"], models.SparseVector)
        assert dict(zip(vector["bm25"].indices, vector["bm25"].values, strict=True)) == made.sparse
        assert by_id[made.id].payload == made.payload


def test_an_upsert_replaces_the_point_of_the_same_id(client: QdrantClient) -> None:
    first, other = POINTS[0], POINTS[1]
    upsert(client, [first])
    upsert(client, [Made(first.id, other.dense, other.sparse, {"only": "this"})])
    (found,) = client.retrieve("docs", [first.id], with_vectors=True)
    assert found.payload == {"only": "this"}
    assert isinstance(found.vector, dict)
    assert found.vector["dense"] == other.dense
    assert client.count("docs").count == 1


def test_a_batch_of_columns_is_the_same_as_a_list_of_points(client: QdrantClient) -> None:
    client.upsert(
        "docs",
        models.Batch(
            ids=[1, 2],
            vectors={
                "dense": [each.dense for each in POINTS[:2]],
                "bm25": [models.SparseVector(indices=[5], values=[1.0])] * 2,
            },
            payloads=[{"n": 1}, {"n": 2}],
        ),
    )
    assert [each.payload for each in client.retrieve("docs", [1, 2])] == [{"n": 1}, {"n": 2}]


def test_insert_only_leaves_existing_points_alone(client: QdrantClient) -> None:
    upsert(client, POINTS[:1])
    changed = models.PointStruct(id=POINTS[0].id, vector={"dense": POINTS[1].dense}, payload={"new": 1})
    client.upsert("docs", [changed], update_mode=models.UpdateMode.INSERT_ONLY)
    assert client.retrieve("docs", [POINTS[0].id])[0].payload == POINTS[0].payload


def test_retrieve_leaves_out_what_is_not_there(client: QdrantClient) -> None:
    upsert(client, POINTS[:3])
    found = client.retrieve("docs", [POINTS[2].id, POINTS[400].id, POINTS[0].id], with_payload=["index"])
    assert {str(each.id): each.payload for each in found} == {
        POINTS[0].id: {"index": 0},
        POINTS[2].id: {"index": 2},
    }
    assert all(each.vector is None for each in found)


def test_scroll_walks_all_points_once_in_the_order_of_their_ids(client: QdrantClient) -> None:
    upsert(client, POINTS)
    seen, offset = [], None
    while True:
        found, offset = client.scroll("docs", limit=64, offset=offset, with_payload=False, with_vectors=["dense"])
        seen += [str(each.id) for each in found]
        assert all(each.payload is None and list(each.vector or ()) == ["dense"] for each in found)
        if offset is None:
            break
    assert seen == sorted(each.id for each in POINTS)


def test_scroll_by_a_field_needs_its_index_and_then_orders_by_it(client: QdrantClient) -> None:
    upsert(client, POINTS)
    with pytest.raises(Exception, match="No range index for `order_by` key: `index`"):
        client.scroll("docs", order_by="index")
    client.create_payload_index("docs", "index", models.PayloadSchemaType.INTEGER)
    found, _ = client.scroll("docs", limit=5, order_by=models.OrderBy(key="index", direction=models.Direction.DESC))
    assert [each.payload["index"] for each in found if each.payload] == [499, 498, 497, 496, 495]
    from_ten, _ = client.scroll("docs", limit=2, order_by=models.OrderBy(key="index", start_from=10))
    assert [each.order_value for each in from_ten] == [10, 11]


FILTERS = [
    (having("tenant", "north"), lambda p: p["tenant"] == "north"),
    (having("live", False), lambda p: not p["live"]),
    (
        models.Filter(must=[models.FieldCondition(key="access", match=models.MatchAny(any=["board", "staff"]))]),
        lambda p: bool({"board", "staff"} & set(p["access"])),
    ),
    (
        models.Filter(
            must=[models.FieldCondition(key="tenant", match=models.MatchExcept(**{"except": ["north"]}))],
            must_not=[models.FieldCondition(key="generation", match=models.MatchValue(value=1))],
        ),
        lambda p: p["tenant"] != "north" and p["generation"] != 1,
    ),
    (
        models.Filter(must=[models.FieldCondition(key="index", range=models.Range(gte=10, lt=20))]),
        lambda p: 10 <= p["index"] < 20,
    ),
    (
        models.Filter(
            should=[
                models.FieldCondition(key="index", match=models.MatchValue(value=3)),
                models.Filter(must=[models.FieldCondition(key="index", range=models.Range(gt=497))]),
            ]
        ),
        lambda p: p["index"] == 3 or p["index"] > 497,
    ),
    (
        models.Filter(
            min_should=models.MinShould(
                conditions=[
                    models.FieldCondition(key="tenant", match=models.MatchValue(value="south")),
                    models.FieldCondition(key="generation", match=models.MatchValue(value=2)),
                    models.FieldCondition(key="access", match=models.MatchValue(value="public")),
                ],
                min_count=2,
            )
        ),
        lambda p: (p["tenant"] == "south") + (p["generation"] == 2) + ("public" in p["access"]) >= 2,
    ),
    (models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="nothing"))]), lambda p: True),
    (models.Filter(must=[models.HasVectorCondition(has_vector="bm25")]), lambda p: True),
    (
        models.Filter(must=[models.FieldCondition(key="access", values_count=models.ValuesCount(gte=3))]),
        lambda p: False,
    ),
]


@pytest.mark.parametrize("indexed", [False, True])
def test_filters_count_what_a_reader_of_the_payloads_counts(client: QdrantClient, *, indexed: bool) -> None:
    if indexed:
        for field, kind in (("tenant", "keyword"), ("access", "keyword"), ("generation", "integer"), ("live", "bool")):
            client.create_payload_index("docs", field, models.PayloadSchemaType(kind))
    upsert(client, POINTS)
    for chosen, keeps in FILTERS:
        expected = {each.id for each in POINTS if keeps(each.payload)}
        assert client.count("docs", count_filter=chosen, exact=True).count == len(expected), chosen
        found, _ = client.scroll("docs", scroll_filter=chosen, limit=1000)
        assert {str(each.id) for each in found} == expected


def test_ids_filter_and_plain_filter_delete_exactly_their_points(client: QdrantClient) -> None:
    upsert(client, POINTS)
    client.delete("docs", [POINTS[0].id, POINTS[1].id])
    client.delete("docs", models.Filter(must=[models.HasIdCondition(has_id=[POINTS[2].id])]))
    client.delete("docs", having("tenant", "north"))
    left = {each.id for each in POINTS[3:] if each.payload["tenant"] != "north"}
    found, _ = client.scroll("docs", limit=1000)
    assert {str(each.id) for each in found} == left


def test_payload_keys_are_set_replaced_deleted_and_cleared(client: QdrantClient) -> None:
    upsert(client, POINTS)
    first = POINTS[0]

    def payload() -> dict[str, object]:
        return client.retrieve("docs", [first.id])[0].payload or {}

    client.set_payload("docs", {"live": True}, points=having("tenant", first.payload["tenant"]))
    assert payload() == {**first.payload, "live": True}
    same = sum(each.payload["tenant"] == first.payload["tenant"] for each in POINTS)
    assert client.count("docs", count_filter=having("live", True)).count == same
    client.set_payload("docs", {"inner": 1}, points=[first.id], key="nested")
    assert payload()["nested"] == {"inner": 1}
    client.delete_payload("docs", keys=["text", "nested"], points=[first.id])
    assert payload().keys() == first.payload.keys() - {"text"}
    client.overwrite_payload("docs", {"a": [1, None, {"b": "c"}]}, points=[first.id])
    assert payload() == {"a": [1, None, {"b": "c"}]}
    client.clear_payload("docs", points_selector=[first.id])
    assert payload() == {}


def test_setting_the_payload_of_an_unknown_point_is_not_found(client: QdrantClient) -> None:
    with pytest.raises(Exception, match="404"):
        client.set_payload("docs", {"a": 1}, points=[POINTS[0].id])


def test_a_batch_of_operations_runs_in_its_order(client: QdrantClient) -> None:
    upsert(client, POINTS[:3])
    answers = client.batch_update_points(
        "docs",
        [
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"step": 1}, points=[POINTS[0].id])),
            models.DeleteOperation(delete=models.PointIdsList(points=[POINTS[1].id])),
            models.UpsertOperation(upsert=models.PointsList(points=[POINTS[3].struct])),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"step": 2}, points=[POINTS[0].id])),
        ],
    )
    assert [each.status for each in answers] == [models.UpdateStatus.COMPLETED] * 4
    found, _ = client.scroll("docs", limit=10)
    assert {str(each.id) for each in found} == {POINTS[0].id, POINTS[2].id, POINTS[3].id}
    (first,) = client.retrieve("docs", [POINTS[0].id])
    assert first.payload == {**POINTS[0].payload, "step": 2}


def test_single_vectors_are_replaced_and_deleted(client: QdrantClient) -> None:
    upsert(client, POINTS[:1])
    client.update_vectors("docs", [models.PointVectors(id=POINTS[0].id, vector={"dense": POINTS[1].dense})])
    client.delete_vectors("docs", vectors=["bm25"], points=[POINTS[0].id])
    (found,) = client.retrieve("docs", [POINTS[0].id], with_vectors=True)
    assert found.vector == {"dense": POINTS[1].dense}


def test_writes_without_waiting_are_acknowledged_and_there(client: QdrantClient) -> None:
    answer = client.upsert("docs", [POINTS[0].struct], wait=False)
    assert answer.status == models.UpdateStatus.ACKNOWLEDGED
    assert client.count("docs").count == 1
