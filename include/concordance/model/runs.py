"""What a run decides about its documents."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
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


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one document left a run: where, the reason's code, and a detail without any of its text."""

    document_id: UUID
    stage: str
    reason: Reason
    detail: str
    stamp: str


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

    def as_json(self) -> list[Any]:
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
