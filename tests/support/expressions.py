"""PromQL as far as tests read it: which metrics an expression names, and which labels it asks them for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_STRING = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)\s*(?:\{(?P<matchers>[^}]*)\})?")
_MATCHER = re.compile(rf"(\w+)\s*(?:=~|!~|!=|=)\s*{_STRING}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_NAMELESS = re.compile(r"(?<![\w:])\{[^}]*\}")
_DURATION = re.compile(r"\boffset\s+\w+")
_WORDS = frozenset({"and", "or", "unless", "offset", "bool"})


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric that an expression names, with the labels that its matchers name."""

    name: str
    labels: frozenset[str]


def selectors(expression: str) -> Iterator[Selector]:
    """The metrics of an expression, in order. Grafana's variables stand in matchers and ranges and do not matter."""
    rest = expression
    for left_out in (_RANGE, _DURATION, _GROUPING, _NAMELESS):
        rest = left_out.sub(" ", rest)
    for found in _SELECTOR.finditer(rest):
        is_function = rest[found.end() :].lstrip().startswith("(")
        if not is_function and found["name"] not in _WORDS:
            yield Selector(found["name"], frozenset(_MATCHER.findall(found["matchers"] or "")))


def grouping_labels(expression: str) -> set[str]:
    """The labels by which an expression groups or matches."""
    return {label.strip() for group in _GROUPING.findall(expression) for label in group.split(",") if label.strip()}
