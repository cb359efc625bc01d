"""Points for the gateway's tests, and a search over them by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient, models

DIMENSION = 16
VOCABULARY = 50


@dataclass(frozen=True)
class Made:
    """A point as it was sent."""

    id: str
    dense: list[float]
    sparse: dict[int, float]
    payload: dict[str, Any]

    @property
    def struct(self) -> models.PointStruct:
        sparse = models.SparseVector(indices=list(self.sparse), values=list(self.sparse.values()))
        return models.PointStruct(id=self.id, vector={"dense": self.dense, "bm25": sparse}, payload=self.payload)


def made_points(count: int, *, seed: int = 7, dimension: int = DIMENSION) -> list[Made]:
    """Unit vectors, a few random terms each, and a payload like the product's."""
    rng, dice = np.random.default_rng(seed), random.Random(seed)
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Made(
            id=str(UUID(int=dice.getrandbits(128))),
            dense=vectors[row].tolist(),
            sparse={term: float(np.float32(dice.random())) for term in sorted(dice.sample(range(VOCABULARY), 6))},
            payload={
                "tenant": dice.choice(["north", "south"]),
                "access": dice.sample(["public", "staff", "board"], 2),
                "generation": dice.randrange(3),
                "index": row,
                "live": False,
                "text": f"text of point {row}",
            },
        )
        for row in range(count)
    ]


def create_collection(
    client: QdrantClient, name: str = "docs", *, dimension: int = DIMENSION, indexing_threshold: int | None = None
) -> None:
    """A collection of the product's shape."""
    optimizers = None
    if indexing_threshold is not None:
        optimizers = models.OptimizersConfigDiff(indexing_threshold=indexing_threshold)
    client.create_collection(
        name,
        vectors_config={"dense": models.VectorParams(size=dimension, distance=models.Distance.DOT)},
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        optimizers_config=optimizers,
    )


def upsert(client: QdrantClient, points: Sequence[Made], name: str = "docs", *, batch: int = 256) -> None:
    for begin in range(0, len(points), batch):
        client.upsert(name, [each.struct for each in points[begin : begin + batch]], wait=True)


def best_dense(
    points: Sequence[Made], query: Sequence[float], limit: int, keep: Callable[[Made], bool] = lambda _: True
) -> list[tuple[str, float]]:
    """Ids and scores of the nearest points by dot product, by hand."""
    kept = [each for each in points if keep(each)]
    scores = np.array([each.dense for each in kept], dtype=np.float32) @ np.array(query, dtype=np.float32)
    return _best([(each.id, float(score)) for each, score in zip(kept, scores, strict=True)], limit)


def best_sparse(
    points: Sequence[Made], query: dict[int, float], limit: int, keep: Callable[[Made], bool] = lambda _: True
) -> list[tuple[str, float]]:
    """Ids and scores by BM25 with Qdrant's IDF, ln(1 + (N - n + 0.5) / (n + 0.5)), by hand."""
    carrying = {term: sum(term in each.sparse for each in points) for term in query}
    idf = {term: math.log1p((len(points) - n + 0.5) / (n + 0.5)) for term, n in carrying.items()}
    scored = [
        (each.id, sum(weight * idf[term] * each.sparse[term] for term, weight in query.items() if term in each.sparse))
        for each in points
        if keep(each) and not query.keys().isdisjoint(each.sparse)
    ]
    return _best(scored, limit)


def _best(scored: list[tuple[str, float]], limit: int) -> list[tuple[str, float]]:
    return sorted(scored, key=lambda pair: -pair[1])[:limit]
