"""What a collection is made of: the body of its creation, as the engine's configuration and as collection info.

The body is kept as the client sent it (it is the catalogue's record of the collection) and is read here, in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdrant_edge import (
    BoolIndexParams,
    DatetimeIndexParams,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    FloatIndexParams,
    GeoIndexParams,
    HnswIndexConfig,
    IntegerIndexParams,
    KeywordIndexParams,
    Modifier,
    PayloadSchemaType,
    TextIndexParams,
    TokenizerType,
    UuidIndexParams,
    VectorStorageDatatype,
)

from concordance.local.gateway import wire
from concordance.local.gateway.limits import FLUSH_SECONDS, MAX_DIMENSION
from concordance.local.gateway.refusals import malformed, unsupported
from concordance.local.gateway.wire import Body, Json

UNNAMED = ""
"""The name under which the engine keeps the vector of a collection with a single, unnamed one."""

_HNSW_DEFAULTS = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000, "max_indexing_threads": 0}
_OPTIMIZER_DEFAULTS = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "indexing_threshold": 10_000,
}
_HNSW = {*_HNSW_DEFAULTS, "on_disk", "payload_m", "inline_storage"}
_OPTIMIZERS = {*_OPTIMIZER_DEFAULTS, "max_segment_size", "flush_interval_sec"}
_DISTANCES = {each: getattr(Distance, each) for each in ("Cosine", "Euclid", "Dot", "Manhattan")}
_DATATYPES = {
    "float32": VectorStorageDatatype.Float32,
    "float16": VectorStorageDatatype.Float16,
    "uint8": VectorStorageDatatype.Uint8,
}
_CREATE = {
    "vectors",
    "sparse_vectors",
    "on_disk_payload",
    "hnsw_config",
    "optimizers_config",
    "shard_number",
    "replication_factor",
    "write_consistency_factor",
}
_UPDATE = {"hnsw_config", "optimizers_config"}


@dataclass(frozen=True, slots=True)
class Schema:
    """The vectors of a collection (dense: name to dimension) and when its index is worth building."""

    dense: Mapping[str, int]
    sparse: frozenset[str]
    indexing_threshold_kb: int
    deleted_threshold: float
    vacuum_min_points: int

    @property
    def point_kb(self) -> float:
        """KB of one point's dense vectors, as the engine's threshold counts them."""
        return sum(self.dense.values()) * 4 / 1024


def schema_of(create: Body) -> Schema:
    """Raises `Refused` where the body is malformed or asks for what is not served."""
    body = wire.fields(create, "the collection", _CREATE)
    for single in ("shard_number", "replication_factor", "write_consistency_factor"):
        if body.get(single) not in (None, 1):
            raise unsupported(f"a `{single}` other than 1")
    optimizers = _optimizers(body)
    vectors = _vectors(body)
    return Schema(
        dense={
            name: wire.integer(params["size"], "size", at_least=1, at_most=MAX_DIMENSION) for name, params in vectors
        },
        sparse=frozenset(name for name, _ in _sparse(body)),
        indexing_threshold_kb=optimizers["indexing_threshold"],
        deleted_threshold=optimizers["deleted_threshold"],
        vacuum_min_points=optimizers["vacuum_min_vector_number"],
    )


def updated(create: Body, change: Json) -> Body:
    """The creation body after a collection update (optimizers and HNSW)."""
    body = wire.fields(change, "the collection update", _UPDATE)
    merged = {**create}
    for name, given in body.items():
        if given is not None:
            merged[name] = {**(create.get(name) or {}), **wire.fields(given, name, _HNSW | _OPTIMIZERS)}
    schema_of(merged)
    engine_config(merged)
    return merged


def needs_another_index(former: Body, create: Body) -> bool:
    """Whether an HNSW that was built as `former` says is not what `create` says: the server builds such a one anew."""
    one, other = (
        {**_HNSW_DEFAULTS, **_given(body.get("hnsw_config")), "max_indexing_threads": 0} for body in (former, create)
    )
    return one != other


def engine_config(create: Body) -> EdgeConfig:
    """The engine's configuration of a collection with this creation body."""
    optimizers = _optimizers(create)
    return EdgeConfig(
        vectors={name: _dense_params(params) for name, params in _vectors(create)},
        sparse_vectors={name: _sparse_params(params) for name, params in _sparse(create)},
        on_disk_payload=wire.boolean(create.get("on_disk_payload"), "on_disk_payload", default=True),
        hnsw_config=_hnsw(create.get("hnsw_config")),
        optimizers=EdgeOptimizersConfig(
            deleted_threshold=optimizers["deleted_threshold"],
            vacuum_min_vector_number=optimizers["vacuum_min_vector_number"],
            default_segment_number=optimizers["default_segment_number"],
            max_segment_size=optimizers.get("max_segment_size"),
            indexing_threshold=optimizers["indexing_threshold"],
        ),
    )


def described(create: Body) -> dict[str, Json]:
    """`config` of collection info."""
    on_disk_payload = wire.boolean(create.get("on_disk_payload"), "on_disk_payload", default=True)
    params: dict[str, Json] = {
        "vectors": create.get("vectors") or {},
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": on_disk_payload,
    }
    if create.get("sparse_vectors"):
        params["sparse_vectors"] = create["sparse_vectors"]
    return {
        "params": params,
        "hnsw_config": {**_HNSW_DEFAULTS, "on_disk": False, **_given(create.get("hnsw_config"))},
        "optimizer_config": {"flush_interval_sec": int(FLUSH_SECONDS), **_optimizers(create)},
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
    }


def payload_index(value: Json) -> Any:
    """The engine's schema of a payload index, from a type name or from its parameters."""
    if isinstance(value, str):
        value = {"type": value}
    kind = wire.text(wire.required(wire.fields(value, "field_schema", value), "field_schema", "type"), "type")
    if kind not in _INDEXES:
        raise malformed(f"unknown payload index type `{kind}`; there are {', '.join(_INDEXES)}")
    simple, params, known = _INDEXES[kind]
    given = _given(wire.fields(value, f"a {kind} index", {"type", *known}))
    del given["type"]
    if not given:
        return simple
    if "tokenizer" in given:
        tokenizer = wire.text(given["tokenizer"], "tokenizer")
        if tokenizer not in _TOKENIZERS:
            raise malformed(f"unknown tokenizer `{tokenizer}`")
        given["tokenizer"] = _TOKENIZERS[tokenizer]
    return params(**given)


def _given(value: Body | None) -> Body:
    return {name: each for name, each in (value or {}).items() if each is not None}


def _optimizers(body: Body) -> Body:
    given = _given(wire.fields(body.get("optimizers_config") or {}, "optimizers_config", _OPTIMIZERS))
    given.pop("flush_interval_sec", None)  # the gateway flushes on its own interval
    for name, each in given.items():
        if name == "deleted_threshold":
            wire.number(each, name)
        else:
            wire.integer(each, name)
    return {**_OPTIMIZER_DEFAULTS, **given}


def _hnsw(value: Json) -> HnswIndexConfig:
    given = _given(wire.fields(value or {}, "hnsw_config", _HNSW))
    for name, each in given.items():
        if name in ("on_disk", "inline_storage"):
            wire.boolean(each, name)
        else:
            wire.integer(each, name)
    return HnswIndexConfig(**{**_HNSW_DEFAULTS, **given})


def _vectors(body: Body) -> list[tuple[str, Body]]:
    """Names and parameters of the dense vectors; a lone parameters object is the unnamed vector."""
    vectors = body.get("vectors") or {}
    if isinstance(vectors, dict) and isinstance(vectors.get("size"), int):
        vectors = {UNNAMED: vectors}
    known = {"size", "distance", "on_disk", "hnsw_config", "datatype"}
    found = []
    for name, params in wire.fields(vectors, "vectors", vectors).items():
        read = wire.fields(params, f"vector `{name}`", known)
        wire.required(read, f"vector `{name}`", "size")
        found.append((name, read))
    return found


def _dense_params(params: Body) -> EdgeVectorParams:
    distance = wire.text(wire.required(params, "a vector", "distance"), "distance")
    if distance not in _DISTANCES:
        raise malformed(f"unknown distance `{distance}`; there are {', '.join(_DISTANCES)}")
    return EdgeVectorParams(
        size=params["size"],
        distance=_DISTANCES[distance],
        on_disk=None if params.get("on_disk") is None else wire.boolean(params["on_disk"], "on_disk"),
        datatype=_datatype(params.get("datatype")),
        hnsw_config=None if params.get("hnsw_config") is None else _hnsw(params["hnsw_config"]),
    )


def _sparse(body: Body) -> list[tuple[str, Body]]:
    vectors = wire.fields(body.get("sparse_vectors") or {}, "sparse_vectors", body.get("sparse_vectors") or {})
    return [(name, wire.fields(params, f"`{name}`", {"index", "modifier"})) for name, params in vectors.items()]


def _sparse_params(params: Body) -> EdgeSparseVectorParams:
    modifier = params.get("modifier")
    if modifier not in (None, "none", "idf"):
        raise malformed("a sparse vector's modifier is `none` or `idf`")
    index = wire.fields(params.get("index") or {}, "a sparse index", {"full_scan_threshold", "on_disk", "datatype"})
    threshold, on_disk = index.get("full_scan_threshold"), index.get("on_disk")
    return EdgeSparseVectorParams(
        modifier=Modifier.Idf if modifier == "idf" else None,
        full_scan_threshold=None if threshold is None else wire.integer(threshold, "full_scan_threshold"),
        on_disk=None if on_disk is None else wire.boolean(on_disk, "on_disk"),
        datatype=_datatype(index.get("datatype")),
    )


def _datatype(value: Json) -> VectorStorageDatatype | None:
    if value is None:
        return None
    if value not in _DATATYPES:
        raise unsupported(f"the datatype `{value}`")
    return _DATATYPES[value]


_TOKENIZERS = {each.lower(): getattr(TokenizerType, each) for each in ("Prefix", "Whitespace", "Word", "Multilingual")}
_TUNING = ("on_disk", "enable_hnsw")
_INDEXES: dict[str, tuple[PayloadSchemaType, Any, tuple[str, ...]]] = {
    "keyword": (PayloadSchemaType.Keyword, KeywordIndexParams, ("is_tenant", "prefix", *_TUNING)),
    "integer": (PayloadSchemaType.Integer, IntegerIndexParams, ("lookup", "range", "is_principal", *_TUNING)),
    "float": (PayloadSchemaType.Float, FloatIndexParams, ("is_principal", *_TUNING)),
    "bool": (PayloadSchemaType.Bool, BoolIndexParams, _TUNING),
    "geo": (PayloadSchemaType.Geo, GeoIndexParams, _TUNING),
    "datetime": (PayloadSchemaType.Datetime, DatetimeIndexParams, ("is_principal", *_TUNING)),
    "uuid": (PayloadSchemaType.Uuid, UuidIndexParams, ("is_tenant", *_TUNING)),
    "text": (
        PayloadSchemaType.Text,
        TextIndexParams,
        ("tokenizer", "min_token_len", "max_token_len", "lowercase", "ascii_folding", "phrase_matching", *_TUNING),
    ),
}
PAYLOAD_TYPE_NAMES: dict[str, str] = {kind.capitalize(): kind for kind in _INDEXES}
"""The engine's name of a payload type to the interface's."""
