"""What a person or the schedule may ask of a night, and of an index version: checked before anything is done."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from concordance.reindex.references import BuildRequest


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

    def request(
        self, build_id: str, *, requested_by: str, is_scheduled: bool, weekday: int, run_after: datetime
    ) -> BuildRequest:
        """The build that this asks for; the limits of its numbers are those of the settings."""
        from concordance.reindex.references import OVERRIDES, BuildRequest

        chosen: dict[str, Any] = {name: getattr(self, name) for name in OVERRIDES}
        return BuildRequest(
            build_id,
            mode=self.mode,
            is_weekly_night=is_scheduled and run_after.weekday() == weekday,
            overrides={name: value for name, value in chosen.items() if value is not None},
            publish=self.publish,
            requested_by=requested_by[:200],
        )


class VersionConf(BaseModel):
    """What may be asked of one index version."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    action: Literal["publish", "rollback", "drop"]
    version: int = Field(ge=1, le=2**31 - 1)
    accepts: str = Field("", max_length=500)
