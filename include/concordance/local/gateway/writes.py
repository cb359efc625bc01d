"""Bodies of write calls as the engine's update operations.

Everything is checked here before the first operation runs: a request is applied as a whole or refused as a whole, and
nothing that the engine would stumble over reaches its log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from qdrant_edge import Filter, Point, PointVectors, SparseVector, UpdateMode, UpdateOperation

from concordance.local.gateway import wire
from concordance.local.gateway.bodies import (
    BatchUpdate,
    Columns,
    Dense,
    PayloadDelete,
    PayloadUpdate,
    PointRow,
    Selection,
    Sparse,
    Upsert,
    VectorDelete,
    Vectors,
    VectorUpdate,
)
from concordance.local.gateway.filters import filter_from, optional_filter
from concordance.local.gateway.refusals import Refused, invalid, malformed, unsupported, wrong_input
from concordance.local.gateway.schema import UNNAMED, Schema

Body = bytes | msgspec.Raw
Operations = list[UpdateOperation]

_MODES = {"upsert": UpdateMode.Upsert, "insert_only": UpdateMode.InsertOnly, "update_only": UpdateMode.UpdateOnly}


def upsert(body: Body, schema: Schema) -> Operations:
    """`PUT points`, as a list of points or as a batch of columns."""
    given: Upsert = wire.typed(body, Upsert)
    rows = given.points
    if rows is None:
        if given.batch is None:
            raise malformed("missing field `points` of upsert")
        rows = _rows(given.batch)
    points = [Point(row.id, _vectors(row.vector, schema), row.payload) for row in rows]
    mode = None if given.update_mode is None else _MODES[given.update_mode]
    return [UpdateOperation.upsert_points(points, optional_filter(given.update_filter), mode)]


def delete(body: Body, schema: Schema) -> Operations:
    """`POST points/delete`, by ids or by filter."""
    given: Selection = wire.typed(body, Selection)
    return _selected(given, UpdateOperation.delete_points, UpdateOperation.delete_points_by_filter)


def set_payload(body: Body, schema: Schema) -> Operations:
    """`POST points/payload`: the given keys are set, the others stay."""
    given: PayloadUpdate = wire.typed(body, PayloadUpdate)
    return _selected(
        given,
        lambda ids: UpdateOperation.set_payload(ids, given.payload, given.key),
        lambda chosen: UpdateOperation.set_payload_by_filter(chosen, given.payload, given.key),
    )


def overwrite_payload(body: Body, schema: Schema) -> Operations:
    """`PUT points/payload`: the payload is replaced."""
    given: PayloadUpdate = wire.typed(body, PayloadUpdate)
    return _selected(
        given,
        lambda ids: UpdateOperation.overwrite_payload(ids, given.payload, given.key),
        lambda chosen: UpdateOperation.overwrite_payload_by_filter(chosen, given.payload, given.key),
    )


def delete_payload(body: Body, schema: Schema) -> Operations:
    """`POST points/payload/delete`: the given keys go."""
    given: PayloadDelete = wire.typed(body, PayloadDelete)
    return _selected(
        given,
        lambda ids: UpdateOperation.delete_payload(ids, given.keys),
        lambda chosen: UpdateOperation.delete_payload_by_filter(chosen, given.keys),
    )


def clear_payload(body: Body, schema: Schema) -> Operations:
    """`POST points/payload/clear`: the whole payload goes."""
    given: Selection = wire.typed(body, Selection)
    return _selected(given, UpdateOperation.clear_payload, UpdateOperation.clear_payload_by_filter)


def update_vectors(body: Body, schema: Schema) -> Operations:
    """`PUT points/vectors`: the given vectors replace those of the same name."""
    given: VectorUpdate = wire.typed(body, VectorUpdate)
    points = [PointVectors(row.id, _vectors(row.vector, schema)) for row in given.points]
    return [UpdateOperation.update_vectors(points, optional_filter(given.update_filter))]


def delete_vectors(body: Body, schema: Schema) -> Operations:
    """`POST points/vectors/delete`: the named vectors go, the points stay."""
    given: VectorDelete = wire.typed(body, VectorDelete)
    for name in given.vector:
        if name not in schema.dense and name not in schema.sparse:
            raise _no_vector(name)
    return _selected(
        given,
        lambda ids: UpdateOperation.delete_vectors(ids, given.vector),
        lambda chosen: UpdateOperation.delete_vectors_by_filter(chosen, given.vector),
    )


def batch(body: Body, schema: Schema) -> Operations:
    """`POST points/batch`: several of the above, in their order."""
    given: BatchUpdate = wire.typed(body, BatchUpdate)
    operations: Operations = []
    for each in given.operations:
        if len(each) != 1:
            raise malformed(f"an operation is an object with one of {', '.join(_OPERATIONS)}")
        ((name, operation),) = each.items()
        if name not in _OPERATIONS:
            raise unsupported(f"the operation `{name}` of batch update")
        operations += _OPERATIONS[name](operation, schema)
    return operations


_OPERATIONS: Mapping[str, Callable[[Body, Schema], Operations]] = {
    "upsert": upsert,
    "delete": delete,
    "set_payload": set_payload,
    "overwrite_payload": overwrite_payload,
    "delete_payload": delete_payload,
    "clear_payload": clear_payload,
    "update_vectors": update_vectors,
    "delete_vectors": delete_vectors,
}


def dense(value: Dense, *, expected: int) -> Dense:
    """A dense vector of `expected` numbers. Raises `Refused` for another dimension."""
    if len(value) != expected:
        raise wrong_input(f"Vector dimension error: expected dim: {expected}, got {len(value)}")
    return value


def sparse(value: Sparse) -> SparseVector:
    """A sparse vector: distinct indices below 2^32 and as many values. (Unequal lengths make the engine panic.)"""
    indices = value.indices
    if len(indices) != len(value.values):
        raise invalid("values: must be the same length as indices")
    if len(set(indices)) != len(indices):
        raise invalid("indices: must be unique")
    if indices and (min(indices) < 0 or max(indices) >= 2**32):
        raise malformed("a sparse vector's indices are unsigned 32-bit integers")
    return SparseVector(indices, value.values)


def _vectors(value: Vectors, schema: Schema) -> dict[str, Any]:
    named = value if isinstance(value, dict) else {UNNAMED: value}
    return {name: _vector(name, given, schema) for name, given in named.items()}


def _vector(name: str, given: Dense | Sparse, schema: Schema) -> Any:
    if isinstance(given, Sparse):
        if name in schema.sparse:
            return sparse(given)
    elif name in schema.dense:
        return dense(given, expected=schema.dense[name])
    if name in schema.dense or name in schema.sparse:
        raise wrong_input("Wrong usage of sparse vectors")
    raise _no_vector(name)


def _selected(
    given: Selection, by_ids: Callable[[list[Any]], UpdateOperation], by_filter: Callable[[Filter], UpdateOperation]
) -> Operations:
    if given.points is not None:
        return [by_ids(given.points)]
    if given.filter is not None:
        return [by_filter(filter_from(given.filter))]
    raise invalid("either `points` or `filter` must be given")


def _rows(columns: Columns) -> list[PointRow]:
    count = len(columns.ids)
    payloads = columns.payloads or [None] * count
    vectors: list[Any]
    if isinstance(columns.vectors, dict):
        if any(len(column) != count for column in columns.vectors.values()):
            raise invalid("batch.vectors: must be the same length as ids")
        vectors = [{name: column[row] for name, column in columns.vectors.items()} for row in range(count)]
    else:
        vectors = columns.vectors
    if not count == len(vectors) == len(payloads):
        raise invalid("batch: ids, vectors and payloads must be of the same length")
    return [PointRow(*row) for row in zip(columns.ids, vectors, payloads, strict=True)]


def _no_vector(name: str) -> Refused:
    return wrong_input(f"Not existing vector name error: {name}")
