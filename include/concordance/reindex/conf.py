"""What a person or the schedule may ask of a night, and of an index version: checked before anything is done."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from concordance.reindex.references import OVERRIDES, BuildRequest


class ReindexConf(BaseModel):
    """What may be asked of a night. A key that is not here is refused: it would do nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    mode: Literal["auto", "refresh", "rebuild"] = "auto"
    source: str | None = Field(None, max_length=64)
    publish: bool = True
    chunk_min_tokens: int | None = None
    chunk_max_tokens: int | None = None
    header_max_tokens: int | None = None
    bm25_k1: float | None = Field(None, strict=False)
    bm25_b: float | None = Field(None, strict=False)
    bm25_average_tokens: float | None = Field(None, strict=False)

    @model_validator(mode="after")
    def _asks_for_nothing_in_vain(self) -> Self:
        if self.mode == "refresh" and self.overrides:
            raise ValueError(f"{', '.join(self.overrides)}: a refresh builds no version, choose mode rebuild or auto")
        if self.mode == "rebuild" and self.source is not None:
            raise ValueError("source: a rebuild is of every source and refreshes none, choose mode refresh or auto")
        return self

    @property
    def overrides(self) -> dict[str, float]:
        """Settings of the new version that were chosen for it."""
        return {name: value for name in OVERRIDES if (value := getattr(self, name)) is not None}

    def request(
        self, build_id: str, *, requested_by: str, is_scheduled: bool, weekday: int, run_after: datetime
    ) -> BuildRequest:
        """The build that this asks for; the limits of its numbers are those of the settings."""
        return BuildRequest(
            build_id,
            mode=self.mode,
            is_weekly_night=is_scheduled and run_after.weekday() == weekday,
            overrides=self.overrides,
            publish=self.publish,
            requested_by=requested_by[:200],
        )


class VersionConf(BaseModel):
    """What may be asked of one index version."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    action: Literal["publish", "rollback", "drop"]
    version: int = Field(ge=1, le=2**31 - 1)
    accepts: str = Field("", max_length=500)

    @model_validator(mode="after")
    def _accepts_only_what_is_published(self) -> Self:
        if self.accepts and self.action != "publish":
            raise ValueError(f"accepts: a {self.action} passes no gate, leave it empty")
        return self
