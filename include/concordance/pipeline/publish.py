"""Publish: one ledger transaction shows the run; then the stores' raw views follow, and what nobody needs is swept.

Everything after the transaction comes from the ledger's dirty list alone, is safe to repeat, and may be done by any
worker: this run's, the next run's, or a later attempt of this one.
"""

from __future__ import annotations

from concordance import fault_points
from concordance.model import GenerationKey, IndexVersion
from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import PlanReference
from concordance.pipeline.version import version_of
from concordance.settings import Settings
from concordance.slices import slices

_PAGE_GENERATIONS = 200
# A sweep holds locks in the graph while it looks for what its generations leave behind.
_SWEPT_AT_ONCE = 50
_MAX_SWEEP_PAGES = 2000


def publish(plan: PlanReference, *, adapters: Adapters, settings: Settings) -> dict[str, int]:
    """Show the run's documents to readers; returns the plan's documents by outcome.

    A repeated call goes on where the last one stopped. Raises `Conflict` when a newer plan, an erase or a swap was
    first, `Unavailable` when a store does not answer: what is published stays published, and the rest is done again.
    """
    version = version_of(plan, adapters=adapters, settings=settings)
    with fault_points.around("run.publish"):
        adapters.ledger.publishing.publish(plan.plan_id)
    hide(plan, version, adapters=adapters, settings=settings)
    settle(version, adapters=adapters, settings=settings)
    sweep(version, adapters=adapters, settings=settings)
    return adapters.ledger.plans.outcomes(plan.plan_id)


def settle(version: IndexVersion, *, adapters: Adapters, settings: Settings) -> int:
    """Show every dirty current generation to raw readers of both stores, then unmark it. Returns how many."""
    done = 0
    while documents := adapters.ledger.settling.to_settle(version, limit=_PAGE_GENERATIONS):
        generations = [GenerationKey(document.document_id, document.generation) for document in documents]
        with fault_points.around("graph.settle"):
            adapters.graph.settle(version, documents, timeout_seconds=settings.call_timeout_seconds)
        with fault_points.around("vectors.settle"):
            adapters.vectors.settle(version, generations, timeout_seconds=settings.call_timeout_seconds)
        with fault_points.around("generation.settled"):
            adapters.ledger.settling.settled(version, generations)
        done += len(generations)
    return done


def hide(plan: PlanReference, version: IndexVersion, *, adapters: Adapters, settings: Settings) -> None:
    """Take what the plan deleted out of the raw views at once; it is swept after the grace."""
    generations = adapters.ledger.settling.to_hide(version, plan.plan_id)
    for page in slices(generations, _PAGE_GENERATIONS):
        with fault_points.around("graph.settle"):
            adapters.graph.hide(version, page, timeout_seconds=settings.call_timeout_seconds)
        with fault_points.around("vectors.settle"):
            adapters.vectors.hide(version, page, timeout_seconds=settings.call_timeout_seconds)


def sweep(version: IndexVersion, *, adapters: Adapters, settings: Settings) -> int:
    """Delete the rows of generations that can never be current again and whose grace has passed. Returns how many.

    Points first: they are a subset of the chunks, for raw readers too.
    """
    swept = 0
    for _ in range(_MAX_SWEEP_PAGES):
        with adapters.ledger.settling.sweeping(version, limit=_SWEPT_AT_ONCE) as generations:
            if not generations:
                break
            with fault_points.around("vectors.sweep"):
                adapters.vectors.sweep(version, generations, timeout_seconds=settings.call_timeout_seconds)
            with fault_points.around("graph.sweep"):
                adapters.graph.sweep(version, generations, timeout_seconds=settings.call_timeout_seconds)
            fault_points.reach("generation.swept.before")
        fault_points.reach("generation.swept.after")
        swept += len(generations)
    telemetry.count("generations.swept", swept)
    return swept
