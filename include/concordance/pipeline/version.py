"""The index version of a plan, as every later stage needs it; a stage refuses when the ground has moved."""

from __future__ import annotations

from concordance.errors import Conflict, Misconfigured
from concordance.model import IndexVersion
from concordance.pipeline import index
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import PlanReference
from concordance.settings import Settings


def version_of(plan: PlanReference, *, adapters: Adapters, settings: Settings) -> IndexVersion:
    """The plan's version: the live one, or the one that its build makes; renews the run's lease on the way.

    Raises `Misconfigured` when settings that decide what is written changed since the plan was made, `Conflict` when
    another version is live by now, or the build's is taken away, `Leased` when another run took the source.
    """
    if plan.settings_digest != settings.run_digest:
        raise Misconfigured(
            f"Settings that decide what is written have changed since run {plan.run_id!r} was planned: start a new run"
        )
    adapters.ledger.runs.renew(run_id=plan.run_id, source=plan.source)
    version = adapters.ledger.versions.get(plan.index_version)
    if plan.is_build and version.state not in ("building", "ready"):
        raise Conflict(f"Index version {version.version} is {version.state}, and no longer built: start a new build")
    if not plan.is_build and version.state != "live":
        raise Conflict(f"Index version {plan.index_version} is no longer live: start run {plan.run_id!r} again")
    index.require_model(adapters, version)
    return version


def read_beside(plan: PlanReference, version: IndexVersion, *, adapters: Adapters) -> list[IndexVersion]:
    """The versions in which a vector of the plan's model may stand already: its own, and the one it is made from."""
    if plan.from_version is None:
        return [version]
    beside = adapters.ledger.versions.get(plan.from_version)
    return [version, *([beside] if beside.settings.model == version.settings.model else [])]
