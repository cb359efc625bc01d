"""The Qdrant gateway against a bare loop over its engine, in one run: ratios that hold on a busy machine too.

    python bench/gateway.py [--points 20000] [--clients 2] [--json]

Writes: batches of 256 points (384 dimensions, about 60 terms, 800 bytes of payload), `wait=True`, from one client and
from several processes; the bare loop builds the same engine points from the same Python values, without HTTP and JSON.
Searches: p50 and p95 of single requests, exact (before the index) and by HNSW (once it is built).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psutil
import qdrant_edge as edge
from qdrant_client import QdrantClient, models

DIMENSION, TERMS, VOCABULARY, BATCH, SEARCHES = 384, 60, 30_000, 256, 200
INDEX_WAIT_SECONDS = 600
ROOT = Path(__file__).resolve().parents[1]


def made_points(count: int, seed: int) -> list[dict[str, Any]]:
    rng, dice = np.random.default_rng(seed), random.Random(seed)
    vectors = rng.standard_normal((count, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        {
            "id": str(UUID(int=dice.getrandbits(128))),
            "dense": vectors[row].tolist(),
            "indices": sorted(dice.sample(range(VOCABULARY), TERMS)),
            "values": rng.random(TERMS).astype(np.float32).tolist(),
            "payload": {
                "document_id": str(UUID(int=dice.getrandbits(128))),
                "generation": 1,
                "index": row,
                "tenant": "default",
                "access": ["public"],
                "live": False,
                "text": "lorem ipsum " * 50,
            },
        }
        for row in range(count)
    ]


def batches(points: list[Any]) -> list[list[Any]]:
    return [points[begin : begin + BATCH] for begin in range(0, len(points), BATCH)]


def percentiles(search: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of one search."""
    took = []
    for _ in range(SEARCHES):
        began = time.perf_counter()
        search()
        took.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": statistics.median(took), "p95_ms": statistics.quantiles(took, n=20)[-1]}


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


# --- the bare engine ----------------------------------------------------------------------------------------------


def bare(points: list[dict[str, Any]], query: list[float], folder: str) -> dict[str, Any]:
    config = edge.EdgeConfig(
        vectors={"dense": edge.EdgeVectorParams(size=DIMENSION, distance=edge.Distance.Dot)},
        sparse_vectors={"bm25": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
    )
    shard = edge.EdgeShard.create(folder, config)
    began, spent = time.perf_counter(), time.process_time()
    for batch in batches(points):
        made = [
            edge.Point(
                each["id"],
                {"dense": each["dense"], "bm25": edge.SparseVector(each["indices"], each["values"])},
                each["payload"],
            )
            for each in batch
        ]
        shard.update(edge.UpdateOperation.upsert_points(made))
    rate = len(points) / (time.perf_counter() - began)
    cpu = (time.process_time() - spent) / len(batches(points)) * 1000
    request = edge.QueryRequest(limit=10, query=edge.Query.Nearest(query, using="dense"), with_payload=True)
    exact = percentiles(lambda: shard.query(request))
    shard.optimize()
    indexed = percentiles(lambda: shard.query(request))
    shard.close()
    return {"points_per_second": rate, "cpu_ms_per_batch": cpu, "exact": exact, "hnsw": indexed}


# --- through the gateway ------------------------------------------------------------------------------------------


def connect(url: str) -> QdrantClient:
    return QdrantClient(url=url, timeout=60, check_compatibility=False)


def create(client: QdrantClient, name: str) -> None:
    client.create_collection(
        name,
        vectors_config={"dense": models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)},
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    for field in ("document_id", "tenant", "access"):
        client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)


def structs(points: list[dict[str, Any]]) -> list[models.PointStruct]:
    return [
        models.PointStruct(
            id=each["id"],
            vector={
                "dense": each["dense"],
                "bm25": models.SparseVector(indices=each["indices"], values=each["values"]),
            },
            payload=each["payload"],
        )
        for each in points
    ]


def write(client: QdrantClient, name: str, points: list[models.PointStruct]) -> None:
    for batch in batches(points):
        client.upsert(name, batch, wait=True)


def write_from_processes(url: str, name: str, *, count: int, clients: int) -> float:
    """Points a second of several clients; each says when it is ready, all begin together."""
    command = [sys.executable, __file__, "--writer", url, name, "--points", str(count // clients)]
    writers = [
        subprocess.Popen([*command, "--seed", str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for seed in range(100, 100 + clients)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    began = time.perf_counter()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    if any(writer.wait() for writer in writers):
        raise SystemExit("a writer failed")
    return (count // clients) * clients / (time.perf_counter() - began)


def writer(url: str, name: str, *, count: int, seed: int) -> None:
    points, client = structs(made_points(count, seed)), connect(url)
    client.collection_exists(name)
    print("ready", flush=True)
    sys.stdin.readline()
    write(client, name, points)


def through_gateway(points: list[dict[str, Any]], query: list[float], data: str, clients: int) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "include"), "CONCORDANCE_QDRANT_API_KEY": ""}
    command = [sys.executable, "-m", "concordance.local.gateway", "--data", data, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        client, server = connect(url), psutil.Process(process.pid)
        for name in ("one", "several"):
            create(client, name)
        sent = structs(points)
        began, spent, client_spent = time.perf_counter(), cpu_seconds(server), time.process_time()
        write(client, "one", sent)
        rate = len(points) / (time.perf_counter() - began)
        cpu = (cpu_seconds(server) - spent) / len(batches(points)) * 1000
        client_cpu = (time.process_time() - client_spent) / len(batches(points)) * 1000

        def search(*, is_exact: bool) -> Any:
            params = models.SearchParams(exact=is_exact)
            return client.query_points(
                "one", query=query, using="dense", limit=10, with_payload=True, search_params=params
            )

        began = time.perf_counter()
        while client.get_collection("one").status != models.CollectionStatus.GREEN:
            if time.perf_counter() - began > INDEX_WAIT_SECONDS:
                raise SystemExit("the index was not built in time")
            time.sleep(0.1)
        built = time.perf_counter() - began
        found = {
            "points_per_second": rate,
            "cpu_ms_per_batch": cpu,
            "client_cpu_ms_per_batch": client_cpu,
            "index_seconds": built,
            "indexed_vectors": client.get_collection("one").indexed_vectors_count,
            "exact": percentiles(lambda: search(is_exact=True)),
            "hnsw": percentiles(lambda: search(is_exact=False)),
        }
        client.delete_collection("one")
        found["points_per_second_several"] = write_from_processes(url, "several", count=len(points), clients=clients)
        return found
    finally:
        process.terminate()
        process.wait()


# --- the report ---------------------------------------------------------------------------------------------------


def measure(count: int, clients: int) -> dict[str, Any]:
    points = made_points(count, seed=1)
    query = np.random.default_rng(2).standard_normal(DIMENSION).astype(np.float32).tolist()
    with tempfile.TemporaryDirectory() as folder:
        gateway = through_gateway(points, query, str(Path(folder) / "gateway"), clients)
        plain = bare(points, query, str(Path(folder) / "bare"))
    return {
        "points": count,
        "clients": clients,
        "load_average": os.getloadavg()[0],
        "bare": plain,
        "gateway": gateway,
        "ratios": {
            "write_one_client": plain["points_per_second"] / gateway["points_per_second"],
            "write_several_clients": plain["points_per_second"] / gateway["points_per_second_several"],
            "write_cpu": gateway["cpu_ms_per_batch"] / plain["cpu_ms_per_batch"],
            "search_exact_p50": gateway["exact"]["p50_ms"] / plain["exact"]["p50_ms"],
            "search_hnsw_p50": gateway["hnsw"]["p50_ms"] / plain["hnsw"]["p50_ms"],
        },
    }


def table(found: dict[str, Any]) -> str:
    plain, gateway, ratios = found["bare"], found["gateway"], found["ratios"]
    several, rate, cpu = f"upsert, {found['clients']} clients", "points_per_second", "cpu_ms_per_batch"
    rows = [
        ("upsert, one client", "points/s", plain[rate], gateway[rate], "write_one_client"),
        (several, "points/s", plain[rate], gateway["points_per_second_several"], "write_several_clients"),
        (f"CPU a batch of {BATCH}", "ms", plain[cpu], gateway[cpu], "write_cpu"),
        ("search, exact, p50", "ms", plain["exact"]["p50_ms"], gateway["exact"]["p50_ms"], "search_exact_p50"),
        ("search, HNSW, p50", "ms", plain["hnsw"]["p50_ms"], gateway["hnsw"]["p50_ms"], "search_hnsw_p50"),
    ]
    lines = [f"{'':24} {'unit':10} {'bare engine':>12} {'gateway':>12} {'times the bare':>15}"]
    lines += [f"{name:24} {unit:10} {a:12.1f} {b:12.1f} {ratios[key]:15.2f}" for name, unit, a, b, key in rows]
    lines += [
        f"{found['points']} points; a client spends {gateway['client_cpu_ms_per_batch']:.1f} ms of CPU a batch itself",
        f"HNSW of {gateway['indexed_vectors'] - found['points']} vectors built in {gateway['index_seconds']:.1f} s",
        f"load average {found['load_average']:.1f} on {os.cpu_count()} CPUs",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--writer", nargs=2, metavar=("URL", "COLLECTION"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.writer:
        writer(*arguments.writer, count=arguments.points, seed=arguments.seed)
        return
    found = measure(arguments.points, arguments.clients)
    print(json.dumps(found, indent=2) if arguments.json else table(found))


if __name__ == "__main__":
    main()
