"""What the gateway refuses, how it says so, and that a refused request leaves nothing behind."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from qdrant_client import QdrantClient

from concordance.local.gateway.calls import READS, WRITES
from concordance.local.gateway.limits import MAX_BODY_BYTES
from support.gateway_points import DIMENSION, create_collection, made_points, upsert
from support.gateways import KEY, RunningGateway, gateway, start

VECTOR = [0.25] * DIMENSION
POINTS = made_points(3)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with gateway(tmp_path_factory.mktemp("gateway")) as started:
        client = started.client()
        create_collection(client)
        upsert(client, POINTS)
        client.close()
        yield started


@pytest.fixture
def client(running: RunningGateway) -> Iterator[QdrantClient]:
    opened = running.client()
    yield opened
    opened.close()


def points(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"points": rows}).encode()


UPSERT = ("PUT", "/collections/docs/points?wait=true")
QUERY = ("POST", "/collections/docs/points/query")
REFUSED = [
    # method and path, body, status, a part of the message
    (UPSERT, b"", 400, "the body is empty"),
    (UPSERT, b"{", 400, "Format error in JSON body"),
    (UPSERT, b"[]", 400, "Format error in JSON body"),
    (UPSERT, b'{"points": 1}', 400, "Format error in JSON body"),
    (UPSERT, b'{"points": [{"id": 1, "vector": {"dense": [NaN]}}]}', 400, "Format error in JSON body"),
    (UPSERT, b'{"points": [{"id": 1, "vector": {"dense": [Infinity]}}]}', 400, "Format error in JSON body"),
    (UPSERT, b'{"points": [{"id": 1, "vector": {"dense": [1e999]}}]}', 400, "Format error in JSON body"),
    (UPSERT, b"[" * 100_000, 400, "Format error in JSON body"),
    (UPSERT, b'{"points": [{"id": 1, "vector": {}, "payload": {"a": "\\ud800"}}]}', 400, "Format error in JSON body"),
    (UPSERT, points({"id": 9, "vector": {"dense": [True] * DIMENSION}}), 400, "Expected `float`, got `bool`"),
    (UPSERT, points({"id": 9, "vector": {"dense": [None] * DIMENSION}}), 400, "Expected `float`, got `null`"),
    (UPSERT, points({"id": 9, "vector": {"dense": [1.0]}}), 400, "expected dim: 16, got 1"),
    (UPSERT, points({"id": 8, "vector": {"dense": VECTOR}}, {"id": 9, "vector": {"dense": []}}), 400, "got 0"),
    (UPSERT, points({"id": 9, "vector": VECTOR}), 400, "Not existing vector name error"),
    (UPSERT, points({"id": 9, "vector": {"other": VECTOR}}), 400, "Not existing vector name error: other"),
    (UPSERT, points({"id": 9, "vector": {"bm25": VECTOR}}), 400, "Wrong usage of sparse vectors"),
    (UPSERT, points({"id": 9, "vector": {"dense": {"indices": [1], "values": [1]}}}), 400, "Wrong usage of sparse"),
    (UPSERT, points({"id": 9, "vector": {"bm25": {"indices": [1, 2], "values": [1]}}}), 422, "same length"),
    (UPSERT, points({"id": 9, "vector": {"bm25": {"indices": [1, 1], "values": [1, 2]}}}), 422, "must be unique"),
    (UPSERT, points({"id": 9, "vector": {"bm25": {"indices": [-1], "values": [1]}}}), 400, "unsigned 32-bit"),
    (UPSERT, points({"id": 9, "vector": {"bm25": {"indices": [2**32], "values": [1]}}}), 400, "unsigned 32-bit"),
    (UPSERT, points({"id": "x", "vector": {"dense": VECTOR}}), 400, "UUID"),
    (UPSERT, points({"id": -1, "vector": {"dense": VECTOR}}), 400, "Format error"),
    (UPSERT, points({"id": True, "vector": {"dense": VECTOR}}), 400, "Format error"),
    (UPSERT, points({"id": 9}), 400, "missing required field `vector`"),
    (UPSERT, points({"id": 9, "vector": {}, "payload": []}), 400, "Format error"),
    (UPSERT, points({"id": 9, "vector": {}, "colour": 1}), 501, "field `colour`"),
    (UPSERT, {"points": [], "shard_key": "a"}, 400, "shard_key"),
    (UPSERT, {"batch": {"ids": [1, 2], "vectors": {"dense": [VECTOR]}}}, 422, "same length"),
    (("PUT", "/collections/none/points"), points(), 404, "Collection `none` doesn't exist!"),
    (("PUT", "/collections/docs/points?colour=1"), points(), 501, "query parameter `colour`"),
    (("POST", "/collections/docs/points/delete"), {}, 422, "either `points` or `filter`"),
    (("POST", "/collections/docs/points/delete"), {"filter": {"must": [{"key": "a"}]}}, 400, "needs one of"),
    (("POST", "/collections/docs/points/payload"), {"payload": {}, "points": [77]}, 404, "No point with id 77"),
    (("POST", "/collections/docs/points/scroll"), {"filter": {"must": [{"colour": 1}]}}, 501, "field `colour`"),
    (("POST", "/collections/docs/points/scroll"), {"limit": 0}, 422, "limit"),
    (("POST", "/collections/docs/points/scroll"), {"limit": 10**9}, 422, "limit"),
    (("POST", "/collections/docs/points/scroll"), {"offset": "nobody"}, 400, "UUID"),
    (
        ("POST", "/collections/docs/points/count"),
        {"filter": {"must": [{"key": "a[", "match": {"value": 1}}]}},
        400,
        "a[",
    ),
    (
        ("POST", "/collections/docs/points/count"),
        {"filter": {"must": [{"key": "a", "geo_radius": {"radius": 1}}]}},
        501,
        "field `geo_radius`",
    ),
    (QUERY, {"query": VECTOR, "using": "dense", "lookup_from": {"collection": "a"}}, 501, "field `lookup_from`"),
    (QUERY, {"query": [1.0], "using": "dense"}, 400, "expected dim: 16, got 1"),
    (QUERY, {"query": VECTOR}, 400, "Not existing vector name error"),
    (QUERY, {"query": VECTOR, "using": "bm25"}, 400, "Wrong usage of sparse vectors"),
    (QUERY, {"query": 1, "using": "dense"}, 501, "a query by point id"),
    (QUERY, {"query": {"nearest": POINTS[0].id}, "using": "dense"}, 501, "a query by point id"),
    (QUERY, {"query": {"recommend": {"positive": [1]}}, "using": "dense"}, 501, "the query `recommend`"),
    (QUERY, {"query": {"nearest": {"text": "a", "model": "b"}}, "using": "dense"}, 501, "a query by `text`"),
    (QUERY, {"query": {"fusion": "rrf"}}, 400, "without prefetches"),
    (QUERY, {"prefetch": [{"query": VECTOR, "using": "dense"}]}, 400, "Query is required"),
    (QUERY, {"query": VECTOR, "using": "dense", "params": {"quantization": {}}}, 501, "field `quantization`"),
    (("PUT", "/collections/new"), {"vectors": {"size": 4, "distance": "Round"}}, 400, "unknown distance"),
    (("PUT", "/collections/new"), {"vectors": {"size": 0, "distance": "Dot"}}, 422, "size"),
    (("PUT", "/collections/new"), {"vectors": {"d": {"distance": "Dot"}}}, 400, "missing field `size`"),
    (("PUT", "/collections/new"), {}, 422, "at least one vector"),
    (("PUT", "/collections/new"), {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2}, 501, "shard_number"),
    (
        ("PUT", "/collections/new"),
        {"vectors": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
        501,
        "field `multivector_config`",
    ),
    (
        ("PUT", "/collections/new"),
        {"vectors": {"size": 4, "distance": "Dot"}, "quantization_config": {"scalar": {"type": "int8"}}},
        501,
        "field `quantization_config`",
    ),
    (("PUT", "/collections/%2Fetc"), {"vectors": {"size": 4, "distance": "Dot"}}, 501, "does not support the call"),
    (("PUT", "/collections/a%5Cb"), {"vectors": {"size": 4, "distance": "Dot"}}, 422, "name"),
    (("PUT", "/collections/docs/index"), {"field_name": "a", "field_schema": "colour"}, 400, "colour"),
    (("POST", "/collections/aliases"), {"actions": [{"paint_alias": {}}]}, 501, "field `paint_alias`"),
    (("POST", "/collections/docs/points/query/groups"), {}, 501, "POST /collections/docs/points/query/groups"),
    (("POST", "/collections/docs/facet"), {"key": "a"}, 501, "POST /collections/docs/facet"),
    (("GET", "/cluster"), None, 501, "GET /cluster"),
    (("POST", "/collections/docs/snapshots"), {}, 501, "POST /collections/docs/snapshots"),
]


@pytest.mark.parametrize(
    ("call", "body", "status", "message"),
    REFUSED,
    ids=[f"{each[2]}-{each[3][:40]}-{n}" for n, each in enumerate(REFUSED)],
)
def test_a_bad_request_is_refused_with_its_reason_and_changes_nothing(
    running: RunningGateway, client: QdrantClient, call: tuple[str, str], body: Any, status: int, message: str
) -> None:
    answered, answer = running.request(*call, body)
    assert (answered, answer.keys()) == (status, {"status", "time"}), answer
    assert message in answer["status"]["error"]
    assert [each.name for each in client.get_collections().collections] == ["docs"]
    found, _ = client.scroll("docs", limit=100)
    assert {str(each.id): each.payload for each in found} == {each.id: each.payload for each in POINTS}


def test_filters_and_prefetches_are_not_nested_without_end(running: RunningGateway) -> None:
    chosen: dict[str, Any] = {"key": "a", "match": {"value": 1}}
    stage: dict[str, Any] = {"query": VECTOR, "using": "dense"}
    for _ in range(200):
        chosen, stage = {"must": [chosen]}, {"prefetch": [stage], "query": VECTOR, "using": "dense"}
    for body in ({"filter": chosen}, stage):
        status, answer = running.request("POST", "/collections/docs/points/query", body)
        assert status == 400
        assert "nested deeper" in answer["status"]["error"]


def test_a_body_over_32_mib_is_refused_as_the_server_does(running: RunningGateway, client: QdrantClient) -> None:
    payload = {"points": [{"id": 1, "vector": {}, "payload": {"text": "x" * MAX_BODY_BYTES}}]}
    status, answer = running.request("PUT", "/collections/docs/points", payload)
    assert status == 400
    assert "larger than allowed (limit: 33554432 bytes)" in answer["status"]["error"]
    below = {"points": [{"id": 1, "vector": {}, "payload": {"text": "x" * (MAX_BODY_BYTES - 100)}}]}
    assert running.request("PUT", "/collections/docs/points", below)[0] == 200
    client.delete("docs", [1])


def test_a_missing_or_wrong_key_opens_nothing_but_the_health_pages(running: RunningGateway) -> None:
    calls = [("GET", "/collections"), ("PUT", "/collections/docs/points"), ("GET", "/nothing"), ("GET", "/telemetry")]
    for method, path in calls:
        for headers in ({}, {"api-key": "wrong"}, {"authorization": "Bearer wrong"}, {"api-key": KEY + "x"}):
            status, answer = running.request(method, path, headers=headers)
            assert status == 401, (method, path, headers)
            assert KEY not in str(answer)
    for path in ("/", "/healthz", "/readyz", "/livez"):
        assert running.request("GET", path, headers={})[0] == 200
    assert running.request("GET", "/collections", headers={"authorization": f"Bearer {KEY}"})[0] == 200


def test_without_a_key_everybody_on_the_machine_may_ask(tmp_path: Path) -> None:
    with gateway(tmp_path, key="") as running:
        assert running.request("GET", "/collections", headers={})[0] == 200


BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/index"): {"field_name": "a", "field_schema": "keyword"},
    ("POST", "/points"): {"ids": []},
    ("PUT", "/points"): {"points": []},
    ("POST", "/points/delete"): {"points": []},
    ("POST", "/points/payload"): {"payload": {}, "points": []},
    ("PUT", "/points/payload"): {"payload": {}, "points": []},
    ("POST", "/points/payload/delete"): {"keys": [], "points": []},
    ("POST", "/points/payload/clear"): {"points": []},
    ("PUT", "/points/vectors"): {"points": []},
    ("POST", "/points/vectors/delete"): {"vector": [], "points": []},
    ("POST", "/points/batch"): {"operations": []},
    ("POST", "/points/query/batch"): {"searches": []},
}


def test_every_call_that_is_served_names_a_missing_collection(running: RunningGateway) -> None:
    prefix = "/collections/{name}"
    otherwise = {("PUT", prefix), ("DELETE", prefix), ("GET", f"{prefix}/exists")}
    about_one = {call for call in (*READS, *WRITES) if call[1].startswith(prefix)} - otherwise
    assert len(about_one) > 15
    for method, path in about_one:
        body = None if method == "GET" else BODIES.get((method, path.removeprefix(prefix)), {})
        url = path.replace("{name}", "none").replace("{id}", "1").replace("{field}", "a")
        status, answer = running.request(method, url, body)
        assert (status, answer["status"]["error"]) == (404, "Not found: Collection `none` doesn't exist!"), (
            method,
            path,
        )


def test_a_client_that_hangs_up_in_the_middle_of_a_body_harms_nobody(
    running: RunningGateway, client: QdrantClient
) -> None:
    address = urlsplit(running.url)
    with socket.create_connection((address.hostname, address.port)) as raw:
        raw.sendall(f"PUT /collections/docs/points HTTP/1.1\r\nhost: a\r\napi-key: {KEY}\r\n".encode())
        raw.sendall(b'content-length: 1000\r\n\r\n{"points": [')
    assert client.count("docs").count == len(POINTS)


def test_a_chunked_body_is_read_like_any_other(running: RunningGateway) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"exact"'
        yield b": true}"

    answer = httpx.post(running.url + "/collections/docs/points/count", content=parts(), headers={"api-key": KEY})
    assert answer.json()["result"] == {"count": len(POINTS)}


def test_a_second_gateway_over_the_same_data_says_who_has_it(running: RunningGateway) -> None:
    second = start(running.data)
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 2
    assert len(errors.splitlines()) == 1
    assert f"belongs to a gateway that runs already (process {running.process.pid})" in errors


def test_a_port_in_use_is_one_clear_sentence(running: RunningGateway, tmp_path: Path) -> None:
    second = start(tmp_path, port=urlsplit(running.url).port or 0)
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 2
    assert len(errors.splitlines()) == 1
    assert "stop what uses it, or give another --port" in errors


def test_a_broken_catalogue_stops_the_start_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "catalog.json").write_text('{"collections": ')
    process = start(tmp_path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "restore it, or empty the data folder" in errors


def test_answers_carry_the_time_they_took(running: RunningGateway) -> None:
    began = time.perf_counter()
    _, answer = running.request("GET", "/collections")
    assert answer["status"] == "ok"
    assert 0 < answer["time"] <= time.perf_counter() - began
