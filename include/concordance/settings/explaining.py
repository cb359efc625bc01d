"""What is wrong with a value, and what it is, in words for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@]{0,200}):[^\s/@]{1,500}@", re.IGNORECASE)
MASK = "********"
ENVIRONMENT_PREFIX = "AIRFLOW__CONCORDANCE__"


def explained(
    error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str], fields: Mapping[str, FieldInfo]
) -> str:
    """Every wrong value with its variable, where it came from and what is allowed; no secret's."""
    return "; ".join(_sentence(line, values, origins, fields) for line in error.errors())


def _sentence(line: Any, values: Mapping[str, Any], origins: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> str:
    if not line["loc"]:
        return str(line["msg"]).removeprefix("Value error, ")
    name = str(line["loc"][0])
    variable = ENVIRONMENT_PREFIX + name.upper()
    return (
        f"{variable} = {masked(name, values.get(name), fields)!s} (from {origins.get(name, 'default')}): {line['msg']}"
        f"{_allowed(fields[name]) if name in fields else ''}"
    )


def _allowed(field: FieldInfo) -> str:
    bounds = {
        word: getattr(limit, key)
        for limit in field.metadata
        for key, word in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("pattern", "matching"))
        if getattr(limit, key, None) is not None
    }
    return "; allowed: " + ", ".join(f"{word} {bound}" for word, bound in bounds.items()) if bounds else ""


def without_url_passwords(text: str) -> str:
    """The text, with the passwords of its URLs masked."""
    return _URL_PASSWORD.sub(rf"\1:{MASK}@", text)


def masked(name: str, value: Any, fields: Mapping[str, FieldInfo]) -> str:
    """The value as a person may see it: a secret only as being there or not."""
    if name not in fields or fields[name].annotation is not SecretStr:
        return without_url_passwords(str(value))
    plain = value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")
    return MASK if plain else "(not set)"
