"""Tenant leakage: what the store returned to a reader who must not have it. Pure.

A reader of the product is never shown it, since the ledger's row decides; but a raw reader of the store's filter would
be, and one wrong row of the ledger would do. So the next version must have none, in either list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from concordance.retrieval.ranking import Found, Reader

# No declared tenant has a space or a bracket in its name.
NO_TENANT = "(no tenant)"


@dataclass(frozen=True, slots=True)
class Leak:
    """A point that was returned although its payload or the ledger says otherwise, by the query that it answered."""

    query: str
    asked: str
    document_id: str
    by: str

    def as_json(self) -> dict[str, Any]:
        return {"query": self.query, "asked": self.asked, "document_id": self.document_id, "by": self.by}


@dataclass(frozen=True, slots=True)
class Leaks:
    """`checked` points were looked at, `found` of them leaked; `named` are some of those."""

    checked: int = 0
    found: int = 0
    named: tuple[Leak, ...] = ()

    @classmethod
    def of(cls, checked: int, leaks: Sequence[Leak], *, at_most: int) -> Leaks:
        """Of `checked` points these leaked; at most `at_most` are named."""
        return cls(checked, len(leaks), tuple(leaks[:at_most]))

    def as_json(self) -> dict[str, Any]:
        return {"points_checked": self.checked, "points_leaked": self.found}


def leaks_of(points: Iterable[Found], reader: Reader, *, query: str, asked: str) -> list[Leak]:
    """Those of the points that `reader` must not have: by their payload's word, or by the ledger's where they are
    current. (Of others the ledger shows nothing to anybody.)"""
    return [
        Leak(query, asked, str(found.point.document_id), by)
        for found in points
        if (by := _forbidden_by(found, reader)) is not None
    ]


def _forbidden_by(found: Found, reader: Reader) -> str | None:
    point = found.point
    if point.tenant != reader.tenant or set(point.access).isdisjoint(reader.access):
        return "payload"
    return "ledger" if found.row is not None and not reader.may_see(found.row) else None
