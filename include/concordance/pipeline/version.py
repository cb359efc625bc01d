"""The index version of a plan, as every later stage needs it; a stage refuses when the ground has moved."""

from __future__ import annotations

from concordance.errors import Conflict, Misconfigured
from concordance.model import IndexVersion
from concordance.pipeline import index
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import PlanReference
from concordance.settings import Settings


def version_of(plan: PlanReference, *, adapters: Adapters, settings: Settings) -> IndexVersion:
    """The live version, which is the plan's; renews the source's lease on the way.

    Raises `Misconfigured` when settings that decide what is written changed since the plan was made, `Conflict` when
    another version is live by now, `Leased` when another run took the source.
    """
    if plan.settings_digest != settings.run_digest:
        raise Misconfigured(
            f"Settings that decide what is written have changed since run {plan.run_id!r} was planned: start a new run"
        )
    adapters.ledger.runs.renew(run_id=plan.run_id, source=plan.source)
    live = adapters.ledger.versions.live()
    if live is None or live.version != plan.index_version:
        raise Conflict(f"Index version {plan.index_version} is no longer live: start run {plan.run_id!r} again")
    index.require_model(adapters, live)
    return live
