"""What both stores give back of generations, beside what the ledger promises of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from concordance.ledger.reading import Snapshot
from concordance.model import GenerationKey, IndexVersion, StoredChunk
from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.resilience import Store

Expected = Mapping[GenerationKey, Sequence[StoredChunk]]


def expected_of(snapshot: Snapshot, version: IndexVersion, generations: Sequence[GenerationKey]) -> Expected:
    """The chunks that these generations wrote, by the ledger."""
    expected: dict[GenerationKey, list[StoredChunk]] = {key: [] for key in generations}
    for chunk in snapshot.chunks_of(version, generations):
        expected[GenerationKey(chunk.document_id, chunk.generation)].append(chunk)
    return expected


def compare_stores(version: IndexVersion, expected: Expected, *, adapters: Adapters) -> list[dict[str, Any]]:
    """One row a generation (`tables.EVIDENCE`): how many chunks are expected and there, and if they are the same."""
    with telemetry.timer("store.read_back", store=Store.GRAPH):
        in_graph = _by_generation(adapters.graph.read_back(version, list(expected)))
    wanted = [chunk.chunk_id for chunks in expected.values() for chunk in chunks]
    with telemetry.timer("store.read_back", store=Store.VECTORS):
        in_vectors = _by_generation(adapters.vectors.read_back(version, wanted))
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


def _by_generation(chunks: Sequence[StoredChunk]) -> dict[GenerationKey, set[StoredChunk]]:
    found: dict[GenerationKey, set[StoredChunk]] = {}
    for chunk in chunks:
        found.setdefault(GenerationKey(chunk.document_id, chunk.generation), set()).add(chunk)
    return found
