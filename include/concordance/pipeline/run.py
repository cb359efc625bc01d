"""A whole run in one process: the stages in their order. Airflow walks the same stages, each as a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypedDict

from concordance.errors import Terminal, Transient
from concordance.operations import correlation, telemetry
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.check import check_chunks, check_documents, check_stores
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.lease import run_lease
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish, settle, sweep
from concordance.pipeline.references import PlanReference, RunReport, RunRequest, ShardReference
from concordance.pipeline.report import fail, report
from concordance.pipeline.version import version_of
from concordance.settings import Settings


class Tools(TypedDict):
    """What every stage is given besides its references."""

    adapters: Adapters
    settings: Settings


class FirstStage(Protocol):
    """`extract`, or what stands in its place."""

    __name__: str

    def __call__(
        self, plan: PlanReference, shard: int, *, adapters: Adapters, settings: Settings
    ) -> ShardReference: ...


def ingest(request: RunRequest, *, adapters: Adapters, settings: Settings) -> RunReport:
    """Plan, extract, embed, load and publish, with the gates between; a repeated call resumes the same run.

    Raises what the stages raise: after a `Transient` error the same call may succeed, after a `Terminal` one a person
    or a new run is needed.
    """
    tools: Tools = {"adapters": adapters, "settings": settings}
    with (
        correlation.bound(correlation_id=request.correlation_id, run=request.run_id),
        ending(request, adapters=adapters),
    ):
        with telemetry.stage("plan", source=request.source, settings=settings):
            plan = make_plan(request, **tools)
        shards: list[ShardReference] = []
        if plan.goes_on:
            shards = walk(plan, tools)
        elif plan.is_noop and not plan.is_dry:
            tidy(plan, **tools)
        return report(plan, shards, adapters=adapters)


@contextmanager
def ending(request: RunRequest, *, adapters: Adapters) -> Iterator[None]:
    """A run that lives and ends with this process: whatever stops it, the source's lease is given back."""
    try:
        yield
    except BaseException as error:
        # The ledger may be what fails: the error that the caller sees must be the first one.
        with suppress(Transient):
            if isinstance(error, Terminal):
                fail(error, run_id=request.run_id, source=request.source, adapters=adapters)
            else:
                adapters.ledger.runs.release(run_id=request.run_id, source=request.source)
        raise


def walk(plan: PlanReference, tools: Tools, *, first: FirstStage = extract) -> list[ShardReference]:
    """The stages of a plan that has something to do. The `first` one makes the documents and chunks."""
    with telemetry.stage(first.__name__, source=plan.source, settings=tools["settings"]):
        shards = _in_turn(first, plan, range(plan.shards), tools)
    with telemetry.stage("check_documents", source=plan.source, settings=tools["settings"]):
        check_documents(plan, shards, **tools)
    with telemetry.stage("embed", source=plan.source, settings=tools["settings"]):
        shards = _in_turn(embed, plan, shards, tools)
    with telemetry.stage("check_chunks", source=plan.source, settings=tools["settings"]):
        check_chunks(plan, shards, **tools)
    with telemetry.stage("load", source=plan.source, settings=tools["settings"]):
        shards = _in_turn(load, plan, shards, tools)
    with telemetry.stage("check_stores", source=plan.source, settings=tools["settings"]):
        check_stores(plan, shards, **tools)
    with telemetry.stage("publish", source=plan.source, settings=tools["settings"]):
        publish(plan, **tools)
    return shards


def _in_turn(
    stage: Callable[..., ShardReference], plan: PlanReference, shards: Iterable[Any], tools: Tools
) -> list[ShardReference]:
    done = []
    for number, shard in enumerate(shards):
        with correlation.bound(shard=number):
            done.append(stage(plan, shard, **tools))
    return done


def tidy(plan: PlanReference, *, adapters: Adapters, settings: Settings) -> None:
    """What an earlier run left to do in the stores: a run that changes nothing does it too."""
    version = version_of(plan, adapters=adapters, settings=settings)
    with run_lease(plan.run_id, plan.source, adapters=adapters, settings=settings).kept():
        settle(version, adapters=adapters, settings=settings)
        sweep(version, adapters=adapters, settings=settings)
