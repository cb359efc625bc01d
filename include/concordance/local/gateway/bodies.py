"""The bodies of write calls as types, checked while the JSON is parsed.

A field that is not named here is refused by its name (501); `shard_key` may come as a null, as some clients send it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from concordance.local.gateway.wire import Json

PointId = int | str
Dense = list[float]


class Sparse(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Term indices and as many values."""

    indices: list[int]
    values: list[float]


Vectors = list[float] | dict[str, list[float] | Sparse]


class PointRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A point to write: its unnamed vector or its named ones, and its payload."""

    id: PointId
    vector: Vectors
    payload: dict[str, Any] | None = None


class Columns(msgspec.Struct, forbid_unknown_fields=True):
    """Points as columns of one length."""

    ids: list[PointId]
    vectors: list[list[float]] | dict[str, list[list[float] | Sparse]]
    payloads: list[dict[str, Any] | None] | None = None


class Upsert(msgspec.Struct, forbid_unknown_fields=True):
    points: list[PointRow] | None = None
    batch: Columns | None = None
    update_filter: Json = None
    update_mode: Literal["upsert", "insert_only", "update_only"] | None = None
    shard_key: None = None


class VectorRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: PointId
    vector: Vectors


class VectorUpdate(msgspec.Struct, forbid_unknown_fields=True):
    points: list[VectorRow]
    update_filter: Json = None
    shard_key: None = None


class Selection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The points that a write is about: by ids or by filter."""

    points: list[PointId] | None = None
    filter: Json = None
    shard_key: None = None


class PayloadUpdate(Selection, kw_only=True):
    payload: dict[str, Any]
    key: str | None = None


class PayloadDelete(Selection, kw_only=True):
    keys: list[str]


class VectorDelete(Selection, kw_only=True):
    vector: list[str]


class BatchUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """Operations, each an object with one name and that operation's body."""

    operations: list[dict[str, msgspec.Raw]]
