"""A whole run in one process: the stages in their order. Airflow walks the same stages, each as a task."""

from __future__ import annotations

from concordance.errors import Terminal
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.check import check_chunks, check_documents, check_stores
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish, settle, sweep
from concordance.pipeline.references import PlanReference, RunReport, RunRequest, ShardReference
from concordance.pipeline.report import fail, report
from concordance.pipeline.version import version_of
from concordance.settings import Settings


def ingest(request: RunRequest, *, adapters: Adapters, settings: Settings) -> RunReport:
    """Plan, extract, embed, load and publish, with the gates between; a repeated call resumes the same run.

    A failure that another attempt cannot mend closes the run; one that may pass leaves it to be resumed. Raises what
    the stages raise.
    """
    plan: PlanReference | None = None
    shards: list[ShardReference] = []
    try:
        plan = make_plan(request, adapters=adapters, settings=settings)
        if plan.goes_on:
            shards = walk(plan, adapters=adapters, settings=settings)
        elif not plan.is_dry and not plan.refused:
            tidy(plan, adapters=adapters, settings=settings)
        return report(plan, shards, adapters=adapters)
    except Terminal as error:
        fail(plan, run_id=request.run_id, source=request.source, why=type(error).__name__, adapters=adapters)
        raise


def walk(plan: PlanReference, *, adapters: Adapters, settings: Settings) -> list[ShardReference]:
    """The stages of a plan that has something to do."""
    shards = [extract(plan, shard, adapters=adapters, settings=settings) for shard in range(plan.shards)]
    check_documents(plan, shards, adapters=adapters, settings=settings)
    shards = [embed(plan, shard, adapters=adapters, settings=settings) for shard in shards]
    check_chunks(plan, shards, adapters=adapters, settings=settings)
    shards = [load(plan, shard, adapters=adapters, settings=settings) for shard in shards]
    check_stores(plan, shards, adapters=adapters, settings=settings)
    publish(plan, adapters=adapters, settings=settings)
    return shards


def tidy(plan: PlanReference, *, adapters: Adapters, settings: Settings) -> None:
    """What an earlier run left to do in the stores: a run that changes nothing does it too."""
    version = version_of(plan, adapters=adapters, settings=settings)
    settle(version, adapters=adapters, settings=settings)
    sweep(version, adapters=adapters, settings=settings)
