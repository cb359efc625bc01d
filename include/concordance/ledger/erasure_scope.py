"""What an erasure names: one document, a uri pattern inside a source, or a tenant."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Self

from concordance import ids
from concordance.errors import Misconfigured

MAX_URI_CHARACTERS = 4096
MAX_PATTERN_CHARACTERS = 512
MAX_NAME_CHARACTERS = 63
_WILDCARD = re.compile(r"\*\*/|\*\*|\*|\?")
_AS_REGEX = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True, slots=True)
class Scope:
    """Exactly one of: `source` and `uri`; `source` and `pattern`; `tenant`. Anything else raises `Misconfigured`.

    A pattern is a glob over whole uris: `*` and `?` stay inside one path component, `**` goes over any number of them.
    """

    source: str | None = None
    uri: str | None = None
    pattern: str | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        given = {name for name, value in asdict(self).items() if value is not None}
        if given not in ({"source", "uri"}, {"source", "pattern"}, {"tenant"}):
            raise Misconfigured(
                "An erasure names one document (source and uri), a uri pattern inside a source (source and pattern), "
                f"or a tenant; given were: {', '.join(sorted(given)) or 'none of them'}"
            )
        limits = (
            ("source", self.source, MAX_NAME_CHARACTERS),
            ("uri", self.uri, MAX_URI_CHARACTERS),
            ("pattern", self.pattern, MAX_PATTERN_CHARACTERS),
            ("tenant", self.tenant, MAX_NAME_CHARACTERS),
        )
        for name, value, most in limits:
            if value is not None and (not 1 <= len(value) <= most or not _is_text(value)):
                raise Misconfigured(f"{name} must have 1 to {most} characters of valid text, without NUL")

    def as_json(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(**stored)

    @property
    def digest(self) -> str:
        return ids.digest(self.as_json())


def glob_regex(pattern: str) -> str:
    """The glob as an anchored regular expression that PostgreSQL and Python read alike."""
    parts: list[str] = []
    end = 0
    for wildcard in _WILDCARD.finditer(pattern):
        parts += [re.escape(pattern[end : wildcard.start()]), _AS_REGEX[wildcard[0]]]
        end = wildcard.end()
    return f"^(?:{''.join(parts)}{re.escape(pattern[end:])})$"


def _is_text(value: str) -> bool:
    try:
        return b"\x00" not in value.encode()
    except UnicodeEncodeError:
        return False
