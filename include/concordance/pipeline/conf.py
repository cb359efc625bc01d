"""What a person or a program may ask of a run by its conf: checked before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from concordance.errors import Misconfigured
from concordance.model import QuarantineFilter, Reason
from concordance.operations.correlation import ID_PATTERN
from concordance.sources.subpath import normalise_subpath

if TYPE_CHECKING:
    from concordance.pipeline.references import RunRequest

Conf = TypeVar("Conf", bound=BaseModel)


class _QuarantineConf(BaseModel):
    """What may be asked of the quarantine. A key that is not here is refused: it would do nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    reason: Reason | None = Field(None, strict=False)
    older_than_hours: float | None = Field(None, ge=0, le=1e6, strict=False)

    def meant(self, source: str | None) -> QuarantineFilter:
        return QuarantineFilter(source=source, reason=self.reason, older_than_hours=self.older_than_hours)


class RunConf(_QuarantineConf):
    """What a person or a program may ask of one run."""

    source: str = Field(min_length=1, max_length=64)
    subpath: str = ""
    mode: Literal["incremental", "full"] = "incremental"
    dry_run: bool = False
    exact: bool = False
    approved: bool = False
    max_documents: int | None = Field(None, ge=1, le=100_000_000)
    only_quarantined: bool = False
    correlation_id: str | None = Field(None, pattern=ID_PATTERN)

    def request(self, run_id: str) -> RunRequest:
        """The request of the run of this name."""
        from concordance.pipeline.references import RunRequest

        replay = self.meant(self.source) if self.only_quarantined else None
        chosen = self.model_dump(exclude={"exact", "only_quarantined", "correlation_id", *_QuarantineConf.model_fields})
        return RunRequest(run_id=run_id, **chosen, replay=replay, correlation_id=self.correlation_id or "")

    @model_validator(mode="after")
    def _chooses_from_the_quarantine(self) -> Self:
        if not self.only_quarantined and (self.reason is not None or self.older_than_hours is not None):
            raise ValueError("reason and older_than_hours choose from the quarantine: set only_quarantined with them")
        return self

    @model_validator(mode="after")
    def _rehearses_only_what_is_not_done(self) -> Self:
        if self.exact and not self.dry_run:
            raise ValueError("exact is for a plan that is only looked at: set dry_run with it")
        return self

    @field_validator("subpath")
    @classmethod
    def _stays_inside(cls, subpath: str) -> str:
        try:
            return normalise_subpath(subpath)
        except Misconfigured as error:
            raise ValueError(str(error)) from None


class ReplayConf(_QuarantineConf):
    """Which documents in quarantine a person wants to be tried again."""

    source: str | None = Field(None, min_length=1, max_length=64)

    def run_conf(self, source: str) -> dict[str, Any]:
        """The conf of the ingest of one source that tries them again."""
        return {"source": source, "only_quarantined": True, **self.model_dump(mode="json", exclude={"source"})}


def run_conf(conf: Mapping[str, Any] | None, params: Mapping[str, Any]) -> RunConf:
    """The checked request of an ingest. Raises `Misconfigured`."""
    return checked_conf(RunConf, conf, params)


def checked_conf(model: type[Conf], conf: Mapping[str, Any] | None, params: Mapping[str, Any]) -> Conf:
    """The checked request of a run: the form's values, and nothing that the form does not know.

    Airflow merges `conf` into `params` and accepts any key, so both are looked at. Raises `Misconfigured`, naming each
    key that is unknown or has a wrong value.
    """
    unknown = sorted(set(conf or {}) - set(model.model_fields))
    if unknown:
        raise Misconfigured(
            f"the run's conf has unknown keys: {', '.join(unknown)[:500]}. Known are: {', '.join(model.model_fields)}"
        )
    try:
        return model.model_validate({name: params[name] for name in model.model_fields if name in params})
    except ValidationError as error:
        lines = "; ".join(
            ": ".join(filter(None, (".".join(map(str, line["loc"])), line["msg"]))) for line in error.errors()
        )
        raise Misconfigured(f"the run's conf is refused: {lines}. Trigger it again with valid values") from None
