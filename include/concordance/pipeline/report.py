"""Report: how the run ended, recorded in the ledger; the source's lease is given back."""

from __future__ import annotations

from collections.abc import Sequence

from concordance import fault_points
from concordance.errors import Conflict, Terminal
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.counted import WORK, count_outcomes
from concordance.pipeline.references import PlanReference, RunReport, ShardReference


def report(
    plan: PlanReference, shards: Sequence[ShardReference] = (), *, adapters: Adapters, answer: str = ""
) -> RunReport:
    """The run's report from the ledger's outcomes; every document of the plan has exactly one (I6).

    `shards` as load left them add what the run cost: texts embedded and reused, chunks, seconds. `answer` is what a
    person said to a plan that needed approval.
    """
    if plan.needs_approval:
        state, counts = "refused", dict(plan.counts)
    elif plan.is_dry:
        state, counts = "planned", dict(plan.counts)
    elif plan.is_noop:
        # Nothing was to be written, so there is nothing to publish: the plan ends here.
        with fault_points.around("plan.close"):
            adapters.ledger.plans.close(plan.plan_id)
        state, counts = "nothing", dict(plan.counts)
    else:
        state, counts = "published", {**plan.counts, **adapters.ledger.plans.outcomes(plan.plan_id)}
    for cost in ("chunks", *WORK):
        counts[cost] = sum(shard.counts.get(cost, 0) for shard in shards)
    counts["bytes"] = int(plan.estimates["bytes"])
    ended = RunReport(
        run_id=plan.run_id,
        source=plan.source,
        state=state,
        counts=counts,
        notices=(*plan.notices, *adapters.ledger.verdicts.warnings(plan.plan_id), *_on_approval(plan, answer)),
        seconds=_seconds(plan, shards),
    )
    with fault_points.around("run.finish"):
        adapters.ledger.runs.finish(run_id=plan.run_id, source=plan.source, state=state, report=ended.as_json())
    # Of a dry run, and of one that a person must approve first, nothing has happened.
    if state in ("published", "nothing"):
        count_outcomes(plan, shards, counts, adapters=adapters)
    return ended


def _seconds(plan: PlanReference, shards: Sequence[ShardReference]) -> dict[str, float]:
    """By stage. None of a run that took up what an exact plan extracted: it does not tell what the work takes."""
    if not shards or plan.rehearsed:
        return {}
    return {
        stage: round(sum(shard.seconds.get(stage, 0.0) for shard in shards), 3)
        for stage in ("extract", "embed", "load")
    }


def _on_approval(plan: PlanReference, answer: str) -> list[str]:
    if not plan.unusual:
        return []
    why = "; ".join(plan.unusual)
    if plan.is_approved:
        return [f"{answer or 'Approved'}: {why}"]
    said = answer or ("It would need approval" if plan.is_dry else "Nothing was written, it needs approval")
    return [f"{said}: {why}. To do exactly this: python -m concordance ingest --plan {plan.plan_id} --approve"]


def fail(error: Terminal, *, run_id: str, source: str, adapters: Adapters) -> None:
    """Record a run that no further attempt can mend by itself, and give its source's lease back.

    What it loaded stays open: once the cause is removed (a password, a setting), the run can be taken up again where it
    stopped, until a newer plan of the source closes it. After a `Conflict` nothing is recorded: somebody else was
    first, maybe another attempt of this very run, which goes on. Only where its plan is closed nobody does.
    """
    with fault_points.around("run.finish"):
        if isinstance(error, Conflict):
            adapters.ledger.runs.give_up(run_id=run_id, source=source)
        else:
            report = {"error": type(error).__name__}
            adapters.ledger.runs.finish(run_id=run_id, source=source, state="failed", report=report)
