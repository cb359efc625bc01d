"""Report: how the run ended, recorded in the ledger; the source's lease is given back."""

from __future__ import annotations

from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import PlanReference, RunReport


def report(plan: PlanReference, *, adapters: Adapters) -> RunReport:
    """The run's report from the ledger's outcomes. Every document of the plan has exactly one (I6)."""
    if plan.refused:
        state, counts = "refused", dict(plan.counts)
    elif plan.is_dry:
        state, counts = "planned", dict(plan.counts)
    elif plan.is_noop:
        # Nothing was to be written, so there is nothing to publish: the plan ends here.
        adapters.ledger.plans.close(plan.plan_id)
        state, counts = "nothing", dict(plan.counts)
    else:
        state, counts = "published", {**plan.counts, **adapters.ledger.plans.outcomes(plan.plan_id)}
    notices = (*plan.notices, *((plan.refused,) if plan.refused else ()))
    ended = RunReport(run_id=plan.run_id, source=plan.source, state=state, counts=counts, notices=notices)
    adapters.ledger.runs.finish(run_id=plan.run_id, source=plan.source, state=state, report=ended.as_json())
    for outcome in ("committed", "deleted", "quarantined", "superseded", "erased", "unchanged"):
        telemetry.count("documents", counts.get(outcome, 0), outcome=outcome, source=plan.source)
    return ended


def fail(plan_or_none: PlanReference | None, *, run_id: str, source: str, why: str, adapters: Adapters) -> None:
    """Record a run that failed for good: its open generations are closed, the lease is given back."""
    if plan_or_none is not None:
        adapters.ledger.plans.close(plan_or_none.plan_id)
    adapters.ledger.runs.finish(run_id=run_id, source=source, state="failed", report={"why": why})
