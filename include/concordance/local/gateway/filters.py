"""A JSON filter as the engine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from qdrant_edge import (
    FieldCondition,
    Filter,
    HasIdCondition,
    HasVectorCondition,
    IsEmptyCondition,
    IsNullCondition,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchPrefix,
    MatchSubstring,
    MatchText,
    MatchTextAny,
    MatchValue,
    MinShould,
    NestedCondition,
    RangeDateTime,
    RangeFloat,
    ValuesCount,
)

from concordance.local.gateway import wire
from concordance.local.gateway.limits import MAX_NESTING
from concordance.local.gateway.refusals import malformed
from concordance.local.gateway.wire import Body, Json

_CLAUSES = {"must", "should", "must_not", "min_should"}
_BOUNDS = {"lt", "gt", "lte", "gte"}


def filter_from(value: Json, depth: int = 0) -> Filter:
    """The engine's filter. Raises `Refused`: 400 for a malformed one, 501 for a condition that is not served."""
    body = wire.fields(value, "filter", _CLAUSES)
    min_should = body.get("min_should")
    return Filter(
        must=_conditions(body, "must", depth),
        should=_conditions(body, "should", depth),
        must_not=_conditions(body, "must_not", depth),
        min_should=None if min_should is None else _min_should(min_should, depth),
    )


def optional_filter(value: Json) -> Filter | None:
    return None if value is None else filter_from(value)


def _conditions(body: Body, clause: str, depth: int) -> list[Any] | None:
    if body.get(clause) is None:
        return None
    return [_condition(each, depth + 1) for each in wire.one_or_many(body[clause], clause)]


def _min_should(value: Json, depth: int) -> MinShould:
    body = wire.fields(value, "min_should", {"conditions", "min_count"})
    conditions = wire.array(wire.required(body, "min_should", "conditions"), "min_should.conditions")
    count = wire.integer(wire.required(body, "min_should", "min_count"), "min_should.min_count")
    return MinShould([_condition(each, depth + 1) for each in conditions], count)


def _condition(value: Json, depth: int) -> Any:
    if depth > MAX_NESTING:
        raise malformed(f"the filter is nested deeper than {MAX_NESTING}")
    if not isinstance(value, dict):
        raise malformed("a condition must be an object")
    if "key" in value:
        return _field(value)
    for name, read in _CONDITIONS.items():
        if name in value:
            return read(wire.fields(value, "condition", {name})[name])
    if "nested" in value:
        nested = wire.fields(wire.fields(value, "condition", {"nested"})["nested"], "nested", {"key", "filter"})
        key = wire.text(wire.required(nested, "nested", "key"), "nested.key")
        return NestedCondition(key, filter_from(wire.required(nested, "nested", "filter"), depth))
    return filter_from(value, depth)


def _payload_key(value: Json) -> str:
    return wire.text(wire.required(wire.fields(value, "condition", {"key"}), "condition", "key"), "key")


_CONDITIONS: dict[str, Callable[[Json], Any]] = {
    "is_empty": lambda value: IsEmptyCondition(_payload_key(value)),
    "is_null": lambda value: IsNullCondition(_payload_key(value)),
    "has_id": lambda value: HasIdCondition(set(wire.point_ids(value, "has_id"))),
    "has_vector": lambda value: HasVectorCondition(wire.text(value, "has_vector")),
}


def _field(value: Body) -> FieldCondition:
    body = wire.fields(value, "a field condition", {"key", "match", "range", "values_count", "is_empty", "is_null"})
    match, bounds, count = body.get("match"), body.get("range"), body.get("values_count")
    if all(each is None for name, each in body.items() if name != "key"):
        raise malformed("a field condition needs one of `match`, `range`, `values_count`, `is_empty`, `is_null`")
    return FieldCondition(
        wire.text(body["key"], "key"),
        match=None if match is None else _match(match),
        range=None if bounds is None else _range(bounds),
        values_count=None if count is None else _values_count(count),
        is_empty=None if body.get("is_empty") is None else wire.boolean(body["is_empty"], "is_empty"),
        is_null=None if body.get("is_null") is None else wire.boolean(body["is_null"], "is_null"),
    )


def _value(value: Json) -> Any:
    if not isinstance(value, (str, int)):
        raise malformed("match.value must be a string, an integer or a boolean")
    # The engine takes Python's booleans for the integers 0 and 1 here, which match no boolean; it takes numpy's right.
    return np.bool_(value) if isinstance(value, bool) else value


def _any(value: Json) -> list[Any]:
    values = wire.array(value, "match.any")
    kinds = set(map(type, values))
    if not (kinds <= {str} or kinds <= {int}):
        raise malformed("match.any and match.except take strings or integers, not both")
    return values


_MATCHES: dict[str, Callable[[Json], Any]] = {
    "value": lambda value: MatchValue(_value(value)),
    "any": lambda value: MatchAny(_any(value)),
    "except": lambda value: MatchExcept(_any(value)),
    "text": lambda value: MatchText(wire.text(value, "match.text")),
    "text_any": lambda value: MatchTextAny(wire.text(value, "match.text_any")),
    "phrase": lambda value: MatchPhrase(wire.text(value, "match.phrase")),
    "prefix": lambda value: MatchPrefix(wire.text(value, "match.prefix")),
    "substring": lambda value: MatchSubstring(wire.text(value, "match.substring")),
}


def _match(value: Json) -> Any:
    body = wire.fields(value, "match", _MATCHES)
    given = [name for name in _MATCHES if body.get(name) is not None]
    if len(given) != 1:
        raise malformed(f"match needs exactly one of {', '.join(_MATCHES)}")
    return _MATCHES[given[0]](body[given[0]])


def _range(value: Json) -> Any:
    body = wire.fields(value, "range", _BOUNDS)
    given = {name: bound for name, bound in body.items() if bound is not None}
    if given and all(isinstance(bound, str) for bound in given.values()):
        return RangeDateTime(**given)
    return RangeFloat(**{name: wire.number(bound, f"range.{name}") for name, bound in given.items()})


def _values_count(value: Json) -> ValuesCount:
    body = wire.fields(value, "values_count", _BOUNDS)
    given = {name: bound for name, bound in body.items() if bound is not None}
    return ValuesCount(**{name: wire.integer(bound, f"values_count.{name}") for name, bound in given.items()})
