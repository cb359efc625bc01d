"""What the steps of a build hand to each other: references and counts, as plain JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from concordance.operations import correlation

OVERRIDES = ("chunk_min_tokens", "chunk_max_tokens", "header_max_tokens", "bm25_k1", "bm25_b", "bm25_average_tokens")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What a person or the schedule asks for.

    `mode`: rebuild (whatever changed or did not) or auto (only when what is frozen with the live version has changed,
    or `is_weekly_night`). `overrides` are settings of the new version. With `version` the build goes on with that one,
    which is unfinished or was held. With `publish` the version goes live once its gates have passed, else it is held.
    `accepts` is why a person lets a failed relevance gate pass.
    """

    build_id: str
    mode: str = "auto"
    is_weekly_night: bool = False
    overrides: dict[str, float] = field(default_factory=dict)
    version: int | None = None
    publish: bool = True
    accepts: str = ""
    requested_by: str = ""
    correlation_id: str = field(default="", compare=False)
    """What its lines and calls carry, by default what its trigger does."""

    def __post_init__(self) -> None:
        if not self.correlation_id:
            object.__setattr__(self, "correlation_id", correlation.for_run(self.build_id))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class BuildReference:
    """A build that has begun: the version that it makes, the live one that it is made from, and why."""

    build_id: str
    version: int
    from_version: int
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": list(self.reasons)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(**{**stored, "reasons": tuple(stored["reasons"])})


@dataclass(frozen=True, slots=True)
class BuildReport:
    """How a build ended. `said` is what its steps found: counts, gates, the swap, seconds."""

    build_id: str
    state: str
    version: int | None
    said: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
