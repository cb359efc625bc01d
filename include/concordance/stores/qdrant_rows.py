"""The shape of a collection, and its answers as our values: pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from qdrant_client import models

from concordance.errors import Misconfigured
from concordance.model import ScoredPoint, SparseVector, Vector
from concordance.stores.point_payloads import DENSE, SPARSE

ALIAS = "concordance"
COLLECTION = re.compile(r"concordance_v([0-9]{6,})")
_KEYWORD, _INTEGER, _BOOL = (
    models.PayloadSchemaType.KEYWORD,
    models.PayloadSchemaType.INTEGER,
    models.PayloadSchemaType.BOOL,
)
PAYLOAD_INDEXES = {
    "document_id": _KEYWORD,
    "generation": _INTEGER,
    "tenant": _KEYWORD,
    "source": _KEYWORD,
    "access": _KEYWORD,
    "live": _BOOL,
}
SHOWN = ["document_id", "generation", "live"]
FOUND = ["document_id", "generation", "index", "tenant", "source", "uri", "title", "heading_path", "text", "access"]


def check_shape(name: str, params: models.CollectionParams, dimension: int) -> None:
    """Raises `Misconfigured` when the collection is not the one that `prepare` would make."""
    if not has_shape(params, dimension):
        raise Misconfigured(
            f"the collection {name} is there with another shape than dense Dot vectors of dimension {dimension} and "
            f"sparse {SPARSE} ones with IDF: build a new index version, or remove the collection"
        )


def has_shape(params: models.CollectionParams, dimension: int) -> bool:
    dense = params.vectors.get(DENSE) if isinstance(params.vectors, dict) else None
    sparse = (params.sparse_vectors or {}).get(SPARSE)
    return (
        dense is not None
        and dense.size == dimension
        and dense.distance == models.Distance.DOT
        and sparse is not None
        and sparse.modifier == models.Modifier.IDF
    )


def is_any_of(field: str, values: Sequence[str]) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))


def query_of(query: Vector | SparseVector) -> Any:
    if isinstance(query, SparseVector):
        return models.SparseVector(indices=list(query.indices), values=list(query.values))
    return query.tolist()


def hit(point: models.ScoredPoint) -> ScoredPoint:
    payload = point.payload or {}
    return ScoredPoint(
        score=point.score,
        chunk_id=UUID(str(point.id)),
        document_id=UUID(payload["document_id"]),
        generation=payload["generation"],
        ordinal=payload["index"],
        tenant=payload["tenant"],
        source=payload["source"],
        uri=payload["uri"],
        title=payload["title"],
        heading_path=tuple(payload["heading_path"]),
        text=payload["text"],
        access=tuple(payload["access"]),
    )
