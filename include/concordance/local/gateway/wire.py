"""Reading JSON bodies: types are checked before the engine sees a value, unknown fields are refused by name.

The engine writes an operation to its log before it applies it, and some malformed values make it panic there: what
passes these functions must be applicable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec
from qdrant_edge import PayloadSelector

from concordance.local.gateway.limits import MAX_RESULTS
from concordance.local.gateway.refusals import invalid, malformed, unsupported

Json = Any
Built = TypeVar("Built")

_UNKNOWN = "Object contains unknown "
Body = dict[str, Json]


def decode(body: bytes | msgspec.Raw) -> Json:
    """The JSON value of a body. NaN and infinities are no JSON and are refused, as the server does."""
    return typed(body, Any)


def typed(body: bytes | msgspec.Raw, kind: Any) -> Any:
    """A body as a value of the type `kind`, checked while it is parsed (several times faster than after it)."""
    if not memoryview(body):
        raise malformed("the body is empty")
    return _checked(lambda: msgspec.json.decode(body, type=kind))


def converted(value: Json, kind: Any) -> Any:
    """A parsed value as one of the type `kind`."""
    return _checked(lambda: msgspec.convert(value, type=kind))


def _checked(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except msgspec.ValidationError as error:
        message = str(error)
        if message.startswith(_UNKNOWN):
            raise unsupported(f"the {message.removeprefix(_UNKNOWN)}") from None
        raise malformed(message) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise malformed(str(error)) from None


def fields(value: Json, where: str, known: Collection[str]) -> Body:
    """`value` as an object with no other fields than `known` (a null counts as absent)."""
    if not isinstance(value, dict):
        raise malformed(f"{where} must be an object")
    for name, given in value.items():
        if name not in known and given is not None:
            raise unsupported(f"the field `{name}` of {where}")
    return value


def required(body: Mapping[str, Json], where: str, name: str) -> Json:
    value = body.get(name)
    if value is None:
        raise malformed(f"missing field `{name}` of {where}")
    return value


def text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise malformed(f"{where} must be a string")
    return value


def boolean(value: Json, where: str, default: bool = False) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise malformed(f"{where} must be a boolean")
    return value


def integer(value: Json, where: str, *, at_least: int = 0, at_most: int = 2**32 - 1) -> int:
    if type(value) is not int:
        raise malformed(f"{where} must be an integer")
    if not at_least <= value <= at_most:
        raise invalid(f"{where}: value {value} invalid, must be {at_least} to {at_most}")
    return value


def number(value: Json, where: str) -> float:
    if type(value) not in (int, float):
        raise malformed(f"{where} must be a number")
    return float(value)


def optional_number(value: Json, where: str) -> float | None:
    return None if value is None else number(value, where)


def array(value: Json, where: str) -> list[Json]:
    if not isinstance(value, list):
        raise malformed(f"{where} must be an array")
    return value


def one_or_many(value: Json, where: str) -> list[Json]:
    """Qdrant takes a lone object where it takes a list of them."""
    if value is None:
        return []
    return value if isinstance(value, list) else [_object(value, where)]


def texts(value: Json, where: str) -> list[str]:
    return [text(each, where) for each in array(value, where)]


def point_id(value: Json) -> int | str:
    if type(value) is int or isinstance(value, str):
        return value  # the engine checks range and UUID syntax, when it builds the request
    raise malformed("a point id must be an unsigned integer or a UUID")


def point_ids(value: Json, where: str) -> list[Any]:
    return [point_id(each) for each in array(value, where)]


def limit(value: Json, default: int) -> int:
    return default if value is None else integer(value, "limit", at_least=1, at_most=MAX_RESULTS)


def with_payload(value: Json, default: bool) -> Any:
    """The engine's payload selector: a flag, names, or include/exclude."""
    if value is None or isinstance(value, bool):
        return default if value is None else value
    if isinstance(value, list):
        return texts(value, "with_payload")
    body = fields(value, "with_payload", {"include", "exclude"})
    if body.get("include") is not None:
        return PayloadSelector.Include(texts(body["include"], "with_payload.include"))
    return PayloadSelector.Exclude(texts(required(body, "with_payload", "exclude"), "with_payload.exclude"))


def with_vector(value: Json) -> bool | list[str]:
    if value is None or isinstance(value, bool):
        return bool(value)
    return texts(value, "with_vector")


def _object(value: Json, where: str) -> Body:
    if not isinstance(value, dict):
        raise malformed(f"{where} must be an object or an array")
    return value
