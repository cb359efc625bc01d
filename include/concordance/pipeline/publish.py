"""Publish: one ledger transaction shows the run; then the stores' raw views follow, and what nobody needs is swept.

Everything after the transaction comes from the ledger's dirty list alone, is safe to repeat, and may be done by any
worker: this run's, the next run's, or a later attempt of this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

import tenacity

from concordance import fault_points
from concordance.errors import Leased
from concordance.model import DocumentRow, GenerationKey, IndexVersion
from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.lanes import in_lanes
from concordance.pipeline.lease import run_lease
from concordance.pipeline.references import PlanReference
from concordance.pipeline.version import version_of
from concordance.settings import Settings
from concordance.slices import weighed_slices

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
    _await_swap(adapters.ledger.publishing.publish, settings)(plan.plan_id)
    # All that this shows, and all that earlier runs left to sweep: a build must not lose its place over it.
    with run_lease(plan.run_id, plan.source, adapters=adapters, settings=settings).kept():
        hide(version, adapters.ledger.settling.to_hide(version, plan.plan_id), adapters=adapters, settings=settings)
        settle(version, adapters=adapters, settings=settings)
        sweep(version, adapters=adapters, settings=settings)
    return adapters.ledger.plans.outcomes(plan.plan_id)


def settle(version: IndexVersion, *, adapters: Adapters, settings: Settings) -> int:
    """Show every dirty current generation to raw readers of both stores, then unmark it. Returns how many.

    Page by page, each in the graph first; with two lanes the next page goes into the graph beside the vectors of the
    one before.
    """

    def in_graph(documents: list[DocumentRow]) -> list[GenerationKey]:
        with fault_points.around("graph.settle"):
            adapters.graph.settle(version, documents, timeout_seconds=settings.call_timeout_seconds)
        return [GenerationKey(document.document_id, document.generation) for document in documents]

    def in_vectors(generations: list[GenerationKey]) -> int:
        with fault_points.around("vectors.settle"):
            adapters.vectors.settle(version, generations, timeout_seconds=settings.call_timeout_seconds)
        with fault_points.around("generation.settled"):
            adapters.ledger.settling.settled(version, generations)
        return len(generations)

    def stays_dirty(generations: list[GenerationKey], error: BaseException) -> None:
        """Nothing was taken that somebody waits for: the ledger still names the page, and the next settle does it."""

    pages = adapters.ledger.settling.to_settle(version, limit=_PAGE_GENERATIONS, max_chunks=settings.settle_chunks)
    return sum(in_lanes(pages, in_graph, in_vectors, lanes=settings.load_lanes, abandon=stays_dirty))


def _await_swap(publish: Callable[[UUID], None], settings: Settings) -> Callable[[UUID], None]:
    """Wait while a swap holds publishing: it does so for a moment only."""

    def once(plan_id: UUID) -> None:
        with fault_points.around("run.publish"):
            publish(plan_id)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Leased),
        wait=lambda state: getattr(state.outcome.exception() if state.outcome else None, "retry_after_seconds", 1),
        stop=tenacity.stop_after_delay(5 * settings.swap_hold_seconds),
        reraise=True,
    ).wraps(once)


def hide(
    version: IndexVersion, generations: Mapping[GenerationKey, int], *, adapters: Adapters, settings: Settings
) -> None:
    """Take what was deleted, each with the number of its chunks, out of the raw views at once; it is swept after the
    grace."""
    pages = weighed_slices(
        generations, generations.__getitem__, size=_PAGE_GENERATIONS, heaviest=settings.settle_chunks
    )
    for page in pages:
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
        at_once = {"limit": _SWEPT_AT_ONCE, "max_chunks": settings.settle_chunks}
        with adapters.ledger.settling.sweeping(version, **at_once) as generations:
            if not generations:
                break
            with fault_points.around("vectors.sweep"):
                adapters.vectors.sweep(version, generations, timeout_seconds=settings.call_timeout_seconds)
            with fault_points.around("graph.sweep"):
                adapters.graph.sweep(version, generations, timeout_seconds=settings.call_timeout_seconds)
            fault_points.reach("generation.swept.before")
        fault_points.reach("generation.swept.after")
        swept += len(generations)
        telemetry.count("generations.swept", len(generations))
    return swept
