"""Bodies of write calls as the engine's update operations.

Everything is checked here before the first operation runs: a request is applied as a whole or refused as a whole, and
nothing that the engine would stumble over reaches its log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qdrant_edge import Point, PointVectors, SparseVector, UpdateMode, UpdateOperation

from concordance.local.gateway import wire
from concordance.local.gateway.filters import filter_from, optional_filter
from concordance.local.gateway.refusals import invalid, malformed, wrong_input
from concordance.local.gateway.schema import UNNAMED, Schema
from concordance.local.gateway.wire import Body, Json

_NUMBERS = {float, int}
_MODES = {
    "upsert": UpdateMode.Upsert,
    "insert_only": UpdateMode.InsertOnly,
    "update_only": UpdateMode.UpdateOnly,
}


def upsert(value: Json, schema: Schema) -> list[UpdateOperation]:
    """`PUT points`, as a list of points or as a batch of columns."""
    body = wire.fields(value, "upsert", {"points", "batch", "update_filter", "update_mode"})
    listed = body.get("points")
    rows = _rows(body.get("batch")) if listed is None else wire.array(listed, "points")
    mode = body.get("update_mode")
    if mode is not None and mode not in _MODES:
        raise malformed(f"unknown update_mode `{mode}`")
    points = [_point(row, schema) for row in rows]
    condition = optional_filter(body.get("update_filter"))
    return [UpdateOperation.upsert_points(points, condition, None if mode is None else _MODES[mode])]


def delete(value: Json, schema: Schema) -> list[UpdateOperation]:
    """`POST points/delete`, by ids or by filter."""
    body = wire.fields(value, "delete", {"points", "filter"})
    if body.get("points") is not None:
        return [UpdateOperation.delete_points(wire.point_ids(body["points"], "points"))]
    return [UpdateOperation.delete_points_by_filter(filter_from(wire.required(body, "delete", "filter")))]


def set_payload(value: Json, schema: Schema) -> list[UpdateOperation]:
    """`POST points/payload`: the given keys are set, the others stay."""
    return _payload(value, UpdateOperation.set_payload, UpdateOperation.set_payload_by_filter)


def overwrite_payload(value: Json, schema: Schema) -> list[UpdateOperation]:
    """`PUT points/payload`: the payload is replaced."""
    return _payload(value, UpdateOperation.overwrite_payload, UpdateOperation.overwrite_payload_by_filter)


def delete_payload(value: Json, schema: Schema) -> list[UpdateOperation]:
    """`POST points/payload/delete`: the given keys go."""
    body = wire.fields(value, "delete payload", {"keys", "points", "filter"})
    keys = wire.texts(wire.required(body, "delete payload", "keys"), "keys")
    return _selected(
        body,
        lambda ids: UpdateOperation.delete_payload(ids, keys),
        lambda chosen: UpdateOperation.delete_payload_by_filter(chosen, keys),
    )


def clear_payload(value: Json, schema: Schema) -> list[UpdateOperation]:
    """`POST points/payload/clear`: the whole payload goes."""
    body = wire.fields(value, "clear payload", {"points", "filter"})
    return _selected(body, UpdateOperation.clear_payload, UpdateOperation.clear_payload_by_filter)


def update_vectors(value: Json, schema: Schema) -> list[UpdateOperation]:
    """`PUT points/vectors`: the given vectors replace those of the same name."""
    body = wire.fields(value, "update vectors", {"points", "update_filter"})
    points = []
    for row in wire.array(wire.required(body, "update vectors", "points"), "points"):
        given = wire.fields(row, "a point", {"id", "vector"})
        point_id = wire.point_id(wire.required(given, "a point", "id"))
        points.append(PointVectors(point_id, _vectors(wire.required(given, "a point", "vector"), schema)))
    return [UpdateOperation.update_vectors(points, optional_filter(body.get("update_filter")))]


def delete_vectors(value: Json, schema: Schema) -> list[UpdateOperation]:
    """`POST points/vectors/delete`: the named vectors go, the points stay."""
    body = wire.fields(value, "delete vectors", {"points", "filter", "vector"})
    names = wire.texts(wire.required(body, "delete vectors", "vector"), "vector")
    for name in names:
        if name not in schema.dense and name not in schema.sparse:
            raise _no_vector(name)
    return _selected(
        body,
        lambda ids: UpdateOperation.delete_vectors(ids, names),
        lambda chosen: UpdateOperation.delete_vectors_by_filter(chosen, names),
    )


def batch(value: Json, schema: Schema) -> list[UpdateOperation]:
    """`POST points/batch`: several of the above, in their order."""
    body = wire.fields(value, "batch update", {"operations"})
    operations: list[UpdateOperation] = []
    for each in wire.array(wire.required(body, "batch update", "operations"), "operations"):
        ((name, given),) = wire.fields(each, "an operation", _OPERATIONS).items() if len(each) == 1 else _one_name()
        operations += _OPERATIONS[name](given, schema)
    return operations


_OPERATIONS: dict[str, Callable[[Json, Schema], list[UpdateOperation]]] = {
    "upsert": upsert,
    "delete": delete,
    "set_payload": set_payload,
    "overwrite_payload": overwrite_payload,
    "delete_payload": delete_payload,
    "clear_payload": clear_payload,
    "update_vectors": update_vectors,
    "delete_vectors": delete_vectors,
}


def _one_name() -> Any:
    raise malformed(f"an operation is an object with one of {', '.join(_OPERATIONS)}")


def _payload(
    value: Json, by_ids: Callable[..., UpdateOperation], by_filter: Callable[..., UpdateOperation]
) -> list[UpdateOperation]:
    body = wire.fields(value, "payload update", {"payload", "points", "filter", "key"})
    payload = _object(wire.required(body, "payload update", "payload"))
    key = None if body.get("key") is None else wire.text(body["key"], "key")
    return _selected(body, lambda ids: by_ids(ids, payload, key), lambda chosen: by_filter(chosen, payload, key))


def _selected(
    body: Body, by_ids: Callable[[list[Any]], UpdateOperation], by_filter: Callable[[Any], UpdateOperation]
) -> list[UpdateOperation]:
    if body.get("points") is not None:
        return [by_ids(wire.point_ids(body["points"], "points"))]
    if body.get("filter") is not None:
        return [by_filter(filter_from(body["filter"]))]
    raise invalid("either `points` or `filter` must be given")


def _rows(value: Json) -> list[Body]:
    """The points of a batch of columns."""
    columns = wire.fields(value, "batch", {"ids", "vectors", "payloads"})
    ids = wire.array(wire.required(columns, "batch", "ids"), "batch.ids")
    vectors = columns.get("vectors")
    payloads = wire.array(columns.get("payloads") or [None] * len(ids), "batch.payloads")
    if isinstance(vectors, dict):
        named = {name: wire.array(column, f"batch.vectors.{name}") for name, column in vectors.items()}
        if any(len(column) != len(ids) for column in named.values()):
            raise invalid("batch.vectors: as many as ids are needed")
        vectors = [{name: column[row] for name, column in named.items()} for row in range(len(ids))]
    vectors = wire.array(vectors, "batch.vectors")
    if not len(ids) == len(vectors) == len(payloads):
        raise invalid("batch: ids, vectors and payloads must be of one length")
    return [
        {"id": each, "vector": vector, "payload": payload}
        for each, vector, payload in zip(ids, vectors, payloads, strict=True)
    ]


_POINT = {"id", "vector", "payload"}


def _point(row: Json, schema: Schema) -> Point:
    body = wire.fields(row, "a point", _POINT)
    payload = body.get("payload")
    return Point(
        wire.point_id(wire.required(body, "a point", "id")),
        _vectors(wire.required(body, "a point", "vector"), schema),
        None if payload is None else _object(payload),
    )


def _object(value: Json) -> Body:
    if not isinstance(value, dict):
        raise malformed("a payload must be an object")
    return value


def _vectors(value: Json, schema: Schema) -> dict[str, Any]:
    if isinstance(value, list):
        value = {UNNAMED: value}
    if not isinstance(value, dict):
        raise malformed("a vector must be an array or an object of named vectors")
    return {name: _named(name, given, schema) for name, given in value.items()}


def _named(name: str, given: Json, schema: Schema) -> Any:
    if name in schema.dense:
        return dense(given, expected=schema.dense[name])
    if name in schema.sparse:
        return sparse(given)
    raise _no_vector(name)


def dense(value: Json, *, expected: int) -> list[float]:
    """A dense vector of `expected` numbers."""
    if not isinstance(value, list):
        raise malformed("a dense vector must be an array of numbers")
    if not _NUMBERS.issuperset(map(type, value)):
        raise malformed("a dense vector must hold numbers only")
    if len(value) != expected:
        raise wrong_input(f"Vector dimension error: expected dim: {expected}, got {len(value)}")
    return value


def sparse(value: Json) -> SparseVector:
    """A sparse vector: distinct indices below 2^32 and as many values. (Unequal lengths make the engine panic.)"""
    body = wire.fields(value, "a sparse vector", {"indices", "values"})
    indices = wire.array(wire.required(body, "a sparse vector", "indices"), "indices")
    values = wire.array(wire.required(body, "a sparse vector", "values"), "values")
    if not {int}.issuperset(map(type, indices)) or not _NUMBERS.issuperset(map(type, values)):
        raise malformed("a sparse vector holds unsigned indices and numbers")
    if len(indices) != len(values):
        raise invalid("values: must be the same length as indices")
    if len(set(indices)) != len(indices):
        raise invalid("indices: must be unique")
    if indices and (min(indices) < 0 or max(indices) >= 2**32):
        raise malformed("a sparse vector's indices are unsigned 32-bit integers")
    return SparseVector(indices, values)


def _no_vector(name: str) -> Exception:
    return wrong_input(f"Not existing vector name error: {name}")
