"""What the stages hand to each other: references and counts, small enough for XCom, as plain JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self
from uuid import UUID

from concordance.model import QuarantineFilter
from concordance.operations import correlation
from concordance.staging import Artefact


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a person or the schedule asks for. `mode` is incremental (trust the listing's stamps) or full (read all).

    `approved`: a person has agreed to what is unusual about the plan. With `replay` the run tries again what is meant
    of the source's quarantine, and touches nothing else. With `plan_id` it does exactly what that plan said, by its
    run's request. `correlation_id` is what its lines and calls carry, its trigger's by default: not a part of what is
    asked for.
    """

    source: str
    run_id: str
    subpath: str = ""
    mode: str = "incremental"
    dry_run: bool = False
    approved: bool = False
    max_documents: int | None = None
    replay: QuarantineFilter | None = None
    plan_id: UUID | None = None
    correlation_id: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.correlation_id:
            object.__setattr__(self, "correlation_id", correlation.for_run(self.run_id))

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "replay": None if self.replay is None else self.replay.as_json(),
            "plan_id": None if self.plan_id is None else str(self.plan_id),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        replay, plan_id = stored.get("replay"), stored.get("plan_id")
        nested = {
            "replay": None if replay is None else QuarantineFilter.from_json(replay),
            "plan_id": None if plan_id is None else UUID(plan_id),
        }
        return cls(**{**stored, **nested})


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What an exact plan has extracted of one shard: the run that does exactly this need not do it again."""

    documents: Artefact
    chunks: Artefact
    rejections: Artefact

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(**{name: Artefact.from_json(artefact) for name, artefact in stored.items()})


@dataclass(frozen=True, slots=True)
class PlanReference:
    """A plan: what the run will do, and nothing else.

    `unusual` says what is above a threshold, so that a person must approve it; a plan that waits for that is closed,
    and holds nothing. `impact` is what readers would notice; `estimated_from` says where the estimates come from.
    """

    plan_id: UUID
    run_id: str
    source: str
    index_version: int
    entries: Artefact
    shards: int
    settings_digest: str
    counts: dict[str, int]
    estimates: dict[str, float] = field(default_factory=dict)
    is_dry: bool = False
    notices: tuple[str, ...] = ()
    unusual: tuple[str, ...] = ()
    is_approved: bool = False
    impact: dict[str, int] = field(default_factory=dict)
    estimated_from: str = ""
    rehearsed: tuple[Rehearsed, ...] = ()
    from_version: int | None = None
    """Of a build's plan: the live version that it was made from; an ingest's has none, and writes into the live one."""

    @property
    def is_build(self) -> bool:
        return self.from_version is not None

    @property
    def is_noop(self) -> bool:
        """Nothing to write: no document was added, changed or deleted."""
        return not any(self.counts[action] for action in ("added", "changed", "deleted"))

    @property
    def needs_approval(self) -> bool:
        """A person must agree before it goes on."""
        return bool(self.unusual) and not (self.is_approved or self.is_dry)

    @property
    def goes_on(self) -> bool:
        return not (self.is_dry or self.needs_approval or self.is_noop)

    def as_json(self) -> dict[str, Any]:
        listed = {
            "notices": list(self.notices),
            "unusual": list(self.unusual),
            "rehearsed": [asdict(shard) for shard in self.rehearsed],
        }
        return {**asdict(self), "plan_id": str(self.plan_id), **listed}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(
            **{
                **stored,
                "plan_id": UUID(stored["plan_id"]),
                "entries": Artefact.from_json(stored["entries"]),
                "notices": tuple(stored["notices"]),
                "unusual": tuple(stored["unusual"]),
                "rehearsed": tuple(map(Rehearsed.from_json, stored.get("rehearsed", ()))),
            }
        )


@dataclass(frozen=True, slots=True)
class ShardReference:
    """One shard on its way: what extract left, then what embed and load added."""

    shard: int
    documents: Artefact
    chunks: Artefact
    vectors: Artefact | None = None
    evidence: Artefact | None = None
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """What each stage took for this shard."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        artefacts = {
            name: None if stored[name] is None else Artefact.from_json(stored[name])
            for name in ("documents", "chunks", "vectors", "evidence")
        }
        return cls(**{**stored, **artefacts})


@dataclass(frozen=True, slots=True)
class GateReport:
    """What a gate between two stages said: counts only; `report` is the kept result."""

    gate: str
    evaluated: int
    rejected: int
    message: str
    report: Artefact

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run ended: its state, documents by outcome, and what it cost: `seconds` by stage, over its shards."""

    run_id: str
    source: str
    state: str
    counts: dict[str, int]
    notices: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "notices": list(self.notices)}
