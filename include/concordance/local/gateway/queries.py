"""Bodies of read calls as the engine's requests."""

from __future__ import annotations

from typing import Any

from qdrant_edge import (
    CountRequest,
    Direction,
    Fusion,
    IdfParams,
    OrderBy,
    Prefetch,
    Query,
    QueryRequest,
    Sample,
    ScrollRequest,
    SearchParams,
)

from concordance.local.gateway import wire
from concordance.local.gateway.bodies import Dense, Sparse
from concordance.local.gateway.filters import filter_from, optional_filter
from concordance.local.gateway.limits import MAX_BATCHED_QUERIES, MAX_NESTING, MAX_RESULTS
from concordance.local.gateway.refusals import invalid, malformed, unsupported, wrong_input
from concordance.local.gateway.schema import UNNAMED, Schema
from concordance.local.gateway.wire import Body, Json
from concordance.local.gateway.writes import dense, sparse

_DEFAULT_LIMIT = 10
_DEFAULT_RRF_K = 2
_STAGE = {"prefetch", "query", "using", "filter", "params", "score_threshold", "limit"}
_QUERY = {*_STAGE, "offset", "with_vector", "with_payload"}


def query(value: Json, schema: Schema) -> QueryRequest:
    """`POST points/query`: nearest to a vector, fusion of prefetches, order by a field, or plain filtering."""
    body = wire.fields(value, "query", _QUERY)
    offset = wire.integer(body.get("offset") or 0, "offset", at_most=MAX_RESULTS)
    return QueryRequest(
        offset=offset,
        with_payload=wire.with_payload(body.get("with_payload"), default=False),
        with_vector=wire.with_vector(body.get("with_vector")),
        **_stage(body, schema, depth=0),
    )


def query_batch(value: Json, schema: Schema) -> list[QueryRequest]:
    """`POST points/query/batch`."""
    body = wire.fields(value, "query batch", {"searches"})
    searches = wire.array(wire.required(body, "query batch", "searches"), "searches")
    if len(searches) > MAX_BATCHED_QUERIES:
        raise invalid(f"searches: at most {MAX_BATCHED_QUERIES} queries in one batch")
    return [query(each, schema) for each in searches]


def scroll(value: Json) -> ScrollRequest:
    """`POST points/scroll`: by id from `offset` on, or by a payload field that has a range index."""
    known = {"offset", "limit", "filter", "with_payload", "with_vector", "order_by"}
    body = wire.fields(value, "scroll", known)
    order_by = body.get("order_by")
    return ScrollRequest(
        offset=None if body.get("offset") is None else wire.point_id(body["offset"]),
        limit=wire.limit(body.get("limit"), _DEFAULT_LIMIT),
        filter=optional_filter(body.get("filter")),
        with_payload=wire.with_payload(body.get("with_payload"), default=True),
        with_vector=wire.with_vector(body.get("with_vector")),
        order_by=None if order_by is None else _order_by(order_by),
    )


def count(value: Json) -> CountRequest:
    """`POST points/count`; always exact, also where an estimate would do."""
    body = wire.fields(value, "count", {"filter", "exact"})
    wire.boolean(body.get("exact"), "exact", default=True)
    return CountRequest(exact=True, filter=optional_filter(body.get("filter")))


def retrieve(value: Json) -> tuple[list[Any], Any, Any]:
    """`POST points`: ids, payload selector, vector selector."""
    body = wire.fields(value, "retrieve", {"ids", "with_payload", "with_vector"})
    return (
        wire.point_ids(wire.required(body, "retrieve", "ids"), "ids"),
        wire.with_payload(body.get("with_payload"), default=True),
        wire.with_vector(body.get("with_vector")),
    )


def _stage(body: Body, schema: Schema, *, depth: int) -> dict[str, Any]:
    """What a query and a prefetch have in common."""
    if depth > MAX_NESTING:
        raise malformed(f"prefetches are nested deeper than {MAX_NESTING}")
    prefetches = [
        Prefetch(**_stage(wire.fields(each, "prefetch", _STAGE), schema, depth=depth + 1))
        for each in wire.one_or_many(body.get("prefetch"), "prefetch")
    ]
    asked = body.get("query")
    if prefetches and asked is None:
        raise wrong_input("Query is required when merging prefetches")
    return {
        "limit": wire.limit(body.get("limit"), _DEFAULT_LIMIT),
        "query": None if asked is None else _scoring(asked, body, schema, prefetched=bool(prefetches)),
        "prefetches": prefetches,
        "filter": optional_filter(body.get("filter")),
        "params": _params(body.get("params")),
        "score_threshold": wire.optional_number(body.get("score_threshold"), "score_threshold"),
    }


def _scoring(value: Json, body: Body, schema: Schema, *, prefetched: bool) -> Any:
    if isinstance(value, list) or (isinstance(value, dict) and "indices" in value):
        return _nearest(value, body, schema)
    if not isinstance(value, dict):
        raise unsupported("a query by point id")
    if value.get("nearest") is not None:
        return _nearest(wire.fields(value, "a nearest query", {"nearest"})["nearest"], body, schema)
    if value.get("order_by") is not None:
        return _order_by(wire.fields(value, "an order-by query", {"order_by"})["order_by"])
    if value.get("sample") is not None:
        if value["sample"] != "random":
            raise malformed("sample must be `random`")
        return Sample.Random
    if value.get("fusion") is not None or value.get("rrf") is not None:
        if not prefetched:
            raise wrong_input("Validation failed: cannot apply Fusion without prefetches")
        return _fusion(value)
    raise unsupported(f"the query `{next(iter(value), '{}')}`")


def _nearest(value: Json, body: Body, schema: Schema) -> Any:
    using = UNNAMED if body.get("using") is None else wire.text(body["using"], "using")
    if isinstance(value, dict) and "indices" not in value:
        raise unsupported(f"a query by `{next(iter(value), '{}')}`")
    if not isinstance(value, (list, dict)):
        raise unsupported("a query by point id")
    if using in schema.dense:
        if isinstance(value, dict):
            raise wrong_input("Wrong usage of sparse vectors")
        if value and isinstance(value[0], list):
            raise unsupported("multi-vectors")
        return Query.Nearest(dense(wire.converted(value, Dense), expected=schema.dense[using]), using=using)
    if using in schema.sparse:
        if isinstance(value, list):
            raise wrong_input("Wrong usage of sparse vectors")
        return Query.Nearest(sparse(wire.converted(value, Sparse)), using=using)
    raise wrong_input(f"Not existing vector name error: {using}")


def _fusion(value: Body) -> Any:
    if value.get("rrf") is not None:
        rrf = wire.fields(wire.fields(value, "an rrf query", {"rrf"})["rrf"], "rrf", {"k", "weights"})
        k = _DEFAULT_RRF_K if rrf.get("k") is None else wire.integer(rrf["k"], "rrf.k", at_least=1)
        weights = rrf.get("weights")
        numbers = None if weights is None else [wire.number(each, "weight") for each in wire.array(weights, "weights")]
        return Fusion.Rrf(k, numbers)
    kind = wire.fields(value, "a fusion query", {"fusion"})["fusion"]
    if kind == "rrf":
        return Fusion.Rrf(_DEFAULT_RRF_K)
    if kind == "dbsf":
        return Fusion.Dbsf()
    raise malformed("fusion must be `rrf` or `dbsf`")


def _order_by(value: Json) -> OrderBy:
    if isinstance(value, str):
        return OrderBy(value)
    body = wire.fields(value, "order_by", {"key", "direction", "start_from"})
    direction = body.get("direction")
    if direction not in (None, "asc", "desc"):
        raise malformed("order_by.direction must be `asc` or `desc`")
    start_from = body.get("start_from")
    if isinstance(start_from, bool) or not isinstance(start_from, (int, float, str, type(None))):
        raise malformed("order_by.start_from must be a number or a date and time")
    return OrderBy(
        wire.text(wire.required(body, "order_by", "key"), "order_by.key"),
        direction=Direction.Desc if direction == "desc" else Direction.Asc,
        start_from=start_from,
    )


def _params(value: Json) -> SearchParams | None:
    if value is None:
        return None
    body = wire.fields(value, "params", {"hnsw_ef", "exact", "indexed_only", "idf"})
    ef = body.get("hnsw_ef")
    return SearchParams(
        hnsw_ef=None if ef is None else wire.integer(ef, "params.hnsw_ef"),
        exact=wire.boolean(body.get("exact"), "params.exact"),
        indexed_only=wire.boolean(body.get("indexed_only"), "params.indexed_only"),
        idf=None if body.get("idf") is None else _idf(body["idf"]),
    )


def _idf(value: Json) -> IdfParams:
    """IDF statistics over the points of a filter, instead of over the whole collection."""
    if value == "global":
        return IdfParams()
    body = wire.fields(value, "params.idf", {"corpus"})
    return IdfParams(filter_from(wire.required(body, "params.idf", "corpus")))
