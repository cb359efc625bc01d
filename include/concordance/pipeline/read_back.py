"""What both stores give back of generations, beside what the ledger promises of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from concordance.ledger.reading import Snapshot
from concordance.model import GenerationKey, IndexVersion, StoredChunk
from concordance.operations import telemetry
from concordance.operations.correlation import Threads
from concordance.pipeline.adapters import Adapters
from concordance.resilience import Store

Expected = Mapping[GenerationKey, Sequence[StoredChunk]]
Found = Mapping[GenerationKey, set[StoredChunk]]


def expected_of(snapshot: Snapshot, version: IndexVersion, generations: Sequence[GenerationKey]) -> Expected:
    """The chunks that these generations wrote, by the ledger."""
    expected: dict[GenerationKey, list[StoredChunk]] = {key: [] for key in generations}
    for chunk in snapshot.chunks_of(version, generations):
        expected[GenerationKey(chunk.document_id, chunk.generation)].append(chunk)
    return expected


def compare_stores(
    version: IndexVersion, expected: Expected, *, adapters: Adapters, lanes: int = 1
) -> list[dict[str, Any]]:
    """One row a generation (`tables.EVIDENCE`): how many chunks are expected and there, and if they are the same.

    With two `lanes` both stores are read at the same time.
    """
    wanted = [chunk.chunk_id for chunks in expected.values() for chunk in chunks]
    if lanes == 1:
        in_graph = _in_graph(version, list(expected), adapters)
        in_vectors = _in_vectors(version, wanted, adapters)
    else:
        with Threads(1, thread_name_prefix="read-back") as lane:
            beside = lane.submit(_in_vectors, version, wanted, adapters)
            in_graph = _in_graph(version, list(expected), adapters)
            in_vectors = beside.result()
    return [
        {
            "document_id": str(key.document_id),
            "generation": key.generation,
            "chunks_expected": len(chunks),
            "chunks_in_graph": len(in_graph.get(key, ())),
            "points_in_vectors": len(in_vectors.get(key, ())),
            "digests_agree": set(chunks) == in_graph.get(key, set()) == in_vectors.get(key, set()),
        }
        for key, chunks in expected.items()
    ]


def _in_graph(version: IndexVersion, generations: Sequence[GenerationKey], adapters: Adapters) -> Found:
    with telemetry.timer("store.read_back", store=Store.GRAPH):
        return _by_generation(adapters.graph.read_back(version, generations))


def _in_vectors(version: IndexVersion, chunk_ids: Sequence[UUID], adapters: Adapters) -> Found:
    with telemetry.timer("store.read_back", store=Store.VECTORS):
        return _by_generation(adapters.vectors.read_back(version, chunk_ids))


def _by_generation(chunks: Sequence[StoredChunk]) -> dict[GenerationKey, set[StoredChunk]]:
    found: dict[GenerationKey, set[StoredChunk]] = {}
    for chunk in chunks:
        found.setdefault(GenerationKey(chunk.document_id, chunk.generation), set()).add(chunk)
    return found
