"""The counters of a run: the same figures as its report, each sent once, however often a stage is repeated.

A stage tells at its end what its shard has come to; report tells what is left, and the documents by outcome. The
ledger keeps what was told (`ledger.counting`): work that is found finished is told if its process died before it could
tell, and not again if it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from concordance import fault_points
from concordance.errors import Transient
from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import PlanReference, ShardReference

log = structlog.get_logger(__name__)

# By the name in a shard's counts, which is the one in the run's report.
WORK = {
    "embedded": "chunks.embedded",
    "reused": "chunks.reused",
    "written": "chunks.written",
    "entities": "entities.written",
    "relations": "relations.written",
    "mentions": "mentions.written",
    "links": "links.written",
}
OUTCOMES = {
    "added": "documents.added",
    "changed": "documents.changed",
    "unchanged": "documents.unchanged",
    "committed": "documents.committed",
    "deleted": "documents.deleted",
    "superseded": "documents.superseded",
    "erased": "documents.erased",
}


@contextmanager
def _failing_nothing(plan: PlanReference) -> Iterator[None]:
    """A metric must not fail a run: what cannot be told now is told by a later stage, or by report."""
    try:
        yield
    except Transient as error:
        log.warning("what a stage did is not counted yet", run=plan.run_id, error=type(error).__name__)


def count_work(plan: PlanReference, shards: Iterable[ShardReference], *, adapters: Adapters) -> None:
    """At the end of a stage: what these shards have come to, and the plan's documents in quarantine by reason."""
    with _failing_nothing(plan):
        _count(plan, _work(plan, shards, adapters), adapters)


def count_outcomes(
    plan: PlanReference, shards: Iterable[ShardReference], counts: Mapping[str, int], *, adapters: Adapters
) -> None:
    """At the end of a run: its documents by outcome, as its report has them, and what no stage came to tell."""
    outcomes = {metric: counts.get(name, 0) for name, metric in OUTCOMES.items()}
    with _failing_nothing(plan):
        _count(plan, {**_work(plan, shards, adapters), **outcomes}, adapters)


def count_waiting(plan: PlanReference, *, adapters: Adapters) -> None:
    """The plan waits for a person."""
    with _failing_nothing(plan):
        _count(plan, {"run.waiting": 1}, adapters)


def _work(plan: PlanReference, shards: Iterable[ShardReference], adapters: Adapters) -> dict[str, int]:
    """What is told, by the metric's name, followed by the shard or the reason."""
    work = {f"{metric} {shard.shard}": shard.counts.get(name, 0) for shard in shards for name, metric in WORK.items()}
    reasons = adapters.ledger.plans.reasons(plan.plan_id)
    return {**work, **{f"documents.quarantined {reason}": n for reason, n in reasons.items()}}


def _count(plan: PlanReference, totals: Mapping[str, int], adapters: Adapters) -> None:
    if not any(totals.values()):
        return
    with fault_points.around("plan.count"), adapters.ledger.counting.new(plan.plan_id, totals) as new:
        for name, n in new.items():
            metric, _, detail = name.partition(" ")
            if metric == "documents.quarantined":
                telemetry.count("documents.quarantined", n, source=plan.source, reason=detail)
            else:
                telemetry.count(metric, n, source=plan.source)
