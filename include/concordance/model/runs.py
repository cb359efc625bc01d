"""What a run decides about its documents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from concordance.model.documents import Reason


class Action(StrEnum):
    """What a plan does to one document."""

    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"


class Outcome(StrEnum):
    """How one document of a plan ended; each has exactly one."""

    COMMITTED = "committed"
    DELETED = "deleted"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One document that a plan touches. `base` is the generation that was current when it was planned."""

    document_id: UUID
    uri: str
    action: Action
    base: int | None
    stamp: str
    size_bytes: int
    shard: int | None
    made_from: int | None = None
    """Of a build: the generation of the live version from which the document is made."""
    is_carried: bool = False
    """Of a build: it could not be cut anew, and is taken over as it was."""
    changed_at: datetime | None = None
    """When it changed in its source, if that tells. For the ledger alone: no part of what a plan says it will do."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one document left a run: where, the reason's code, and a detail without any of its text."""

    document_id: UUID
    stage: str
    reason: Reason
    detail: str
    stamp: str
    artefact: str = ""
    """The path in the staging area of what the stage had made of it, or of the gate's report."""


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Which documents in quarantine are meant: those that meet everything that is given. Nothing given: all.

    `older_than_hours` counts from the first rejection. What a person dismissed is meant only if it is named.
    """

    source: str | None = None
    stage: str | None = None
    reason: Reason | None = None
    older_than_hours: float | None = None
    document_ids: tuple[UUID, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "stage": self.stage,
            "reason": self.reason,
            "older_than_hours": self.older_than_hours,
            "document_ids": [str(document_id) for document_id in self.document_ids],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(
            source=stored["source"],
            stage=stored["stage"],
            reason=None if stored["reason"] is None else Reason(stored["reason"]),
            older_than_hours=stored["older_than_hours"],
            document_ids=tuple(map(UUID, stored["document_ids"])),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one generation will write, fixed before anything is written: digests in order, links, content digest."""

    document_id: UUID
    uri: str
    base: int | None
    title: str | None
    fingerprint: str
    stamp: str
    access: tuple[str, ...]
    content_digest: str
    text_digests: tuple[str, ...]
    links: tuple[tuple[UUID, str], ...]
    source_digest: str | None = None
    """What the document was in its source; the fingerprint holds it."""
    made_from: tuple[int, int] | None = None
    """(index version, generation) from which a build made this one."""
    is_stale: bool = False

    def as_json(self) -> list[Any]:
        """What is written. Where it came from is no part of it."""
        return [
            str(self.document_id),
            self.uri,
            self.base,
            self.title,
            self.fingerprint,
            self.stamp,
            list(self.access),
            self.content_digest,
            list(self.text_digests),
            [[str(target), kind] for target, kind in self.links],
        ]
