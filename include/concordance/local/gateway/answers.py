"""The engine's points as the JSON of the interface."""

from __future__ import annotations

from typing import Any

from qdrant_edge import Record, ScoredPoint, SparseVector

from concordance.local.gateway.schema import UNNAMED
from concordance.local.gateway.wire import Body, Json


def record(found: Record) -> Body:
    """A retrieved or scrolled point. (The encoder writes UUIDs as text.)"""
    answer: Body = {"id": found.id, "payload": found.payload}
    if found.vector is not None:
        answer["vector"] = _vectors(found.vector)
    if found.order_value is not None:
        answer["order_value"] = found.order_value
    return answer


def scored(found: ScoredPoint) -> Body:
    """A hit of a query."""
    answer: Body = {"id": found.id, "version": found.version, "score": found.score}
    if found.payload is not None:
        answer["payload"] = found.payload
    if found.vector is not None:
        answer["vector"] = _vectors(found.vector)
    if found.order_value is not None:
        answer["order_value"] = found.order_value
    return answer


def _vectors(value: Any) -> Json:
    if not isinstance(value, dict):
        return _vector(value)
    if value.keys() == {UNNAMED}:
        return _vector(value[UNNAMED])
    return {name: _vector(each) for name, each in value.items()}


def _vector(value: Any) -> Json:
    if isinstance(value, SparseVector):
        return {"indices": value.indices, "values": value.values}
    return value
