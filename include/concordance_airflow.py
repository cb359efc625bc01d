"""The glue between Airflow and the product: everything that the DAGs share and that needs `airflow.sdk`.

It turns a stage into a task body with its timer and counters. It is imported at DAG parse: nothing heavy is imported
here, and no connection is opened.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryDecision, RetryRule
from airflow.sdk import task as airflow_task
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from airflow.sdk.observability import stats

from concordance.errors import Leased, Misconfigured, Terminal, Transient
from concordance.operations import correlation
from concordance.settings import Settings, load_settings
from concordance_connections import connected_settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from concordance.pipeline.adapters import Adapters
    from concordance.pipeline.references import PlanReference, RunRequest, ShardReference
    from concordance.pipeline.run import Tools

log = structlog.get_logger(__name__)

OWNER = "concordance"
# What a build's metrics carry where a run's carry its source.
BUILD = "index_build"


@dataclass(frozen=True, slots=True)
class PoolSize:
    """How many tasks of one kind run at once on one worker, and why not more."""

    name: str
    slots: int
    description: str


EXTRACT_POOL = PoolSize("concordance_extract", 2, "parsing: one child process with its own memory limit a slot")
EMBED_POOL = PoolSize("concordance_embed", 1, "encoding uses all cores of a worker: two at once are slower than one")
LOAD_POOL = PoolSize("concordance_load", 2, "writers of the stores: concurrent ones wait for each other's locks")
POOLS = (EXTRACT_POOL, EMBED_POOL, LOAD_POOL)


class RetryByError(ExceptionRetryPolicy):
    """What will fail again is not tried again; what is taken by another run is tried when its lease has ended.

    Transient errors were already retried inside the call: this is the slower, outer retry. Evaluated where the task
    ran; the names are dotted, so that parsing a DAG imports nothing for them.
    """

    def __init__(self) -> None:
        super().__init__(
            [
                RetryRule(
                    exception="concordance.errors.Terminal", action=RetryAction.FAIL, reason="it would fail again"
                ),
                RetryRule(
                    exception="concordance.errors.Transient", action=RetryAction.RETRY, reason="it may pass later"
                ),
            ],
            default=RetryAction.DEFAULT,
        )

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Airflow's own rules, but for a lease: its end is known."""
        if isinstance(exception, Leased):
            delay = timedelta(seconds=exception.retry_after_seconds + 1)
            return RetryDecision.retry(delay=delay, reason="another run or attempt holds the lease")
        return super().evaluate(exception, try_number, max_tries, context)


DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 3,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=5),
    "retry_policy": RetryByError(),
    "execution_timeout": timedelta(minutes=30),
}


# Airflow keeps each key of a returned dictionary a second time, by one request each: a plan's twenty take longer than
# what the task does.
task = functools.partial(airflow_task, multiple_outputs=False)


def ingests(task_id: str, runs: Any, *, within: timedelta, doc_md: str) -> Any:
    """A task that triggers one run of `concordance_ingest` for each of `runs` (`trigger_run_id` and `conf`) and waits
    for all of them, without holding a slot."""
    from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

    return TriggerDagRunOperator.partial(
        task_id=task_id,
        trigger_dag_id="concordance_ingest",
        # The runs are told apart by their run ids: two runs of one DAG cannot share a logical date.
        logical_date=None,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=10,
        # A second attempt goes on with the run of the first: what was finished is found.
        reset_dag_run=True,
        retries=1,
        execution_timeout=within,
        map_index_template="{{ task.conf['source'] }}",
        doc_md=doc_md,
    ).expand_kwargs(runs)


@dataclass(frozen=True, slots=True)
class Planning:
    """What a task works with."""

    adapters: Adapters
    settings: Settings

    @property
    def tools(self) -> Tools:
        return {"adapters": self.adapters, "settings": self.settings}


@dataclass(frozen=True, slots=True)
class StageRun(Planning):
    """What a task of a plan works with."""

    plan: PlanReference


@contextmanager
def opened() -> Iterator[Planning]:
    """The body of a task that belongs to no run of a source: adapters on the connected stores, metrics to Airflow."""
    from concordance.operations import telemetry
    from concordance.pipeline.adapters import open_adapters

    telemetry.use(AirflowStats())
    settings = connected_settings()
    with open_adapters(settings) as adapters:
        yield Planning(adapters, settings)


@contextmanager
def building(name: str, build_id: str) -> Iterator[Planning]:
    """The body of a build's task, with its timer and counters. An error that no attempt can mend ends the build."""
    from concordance.operations import telemetry
    from concordance.reindex.run import ending

    with (
        opened() as run,
        telemetry.stage(name, source=BUILD, settings=run.settings, attempt=_attempt()),
        ending(build_id, adapters=run.adapters, gives_up=_is_last_attempt()),
    ):
        yield run


@contextmanager
def built(build: dict[str, Any], name: str, work: dict[str, Any]) -> Iterator[StageRun]:
    """The body of a mapped task of a build: one shard of one of its plans. Named for people by source and shard."""
    from concordance.pipeline.references import PlanReference

    plan = PlanReference.from_json(work["plan"])
    given = shard(work["shard"])
    label(f"{plan.source}: shard {(given if isinstance(given, int) else given.shard) + 1} of {plan.shards}")
    with building(name, build["build_id"]) as run:
        yield StageRun(run.adapters, run.settings, plan)


def by_plan(work: Iterable[dict[str, Any]]) -> list[tuple[PlanReference, list[ShardReference]]]:
    """A build's plans, each with its shards, from what its mapped tasks returned."""
    from concordance.pipeline.references import PlanReference

    found: dict[str, tuple[PlanReference, list[ShardReference]]] = {}
    for each in work:
        plan = PlanReference.from_json(each["plan"])
        found.setdefault(str(plan.plan_id), (plan, []))[1].extend(shards([each["shard"]]))
    return list(found.values())


def in_numbers(ended: dict[str, Any]) -> dict[str, Any]:
    """How a build ended, without what its gates said: that is long, and a link leads to it."""
    said = ended.get("said", {})
    kept = ("reasons", "made", "make_seconds", "accepted", "swap", "to_be_dropped", "drop")
    return {
        **{name: value for name, value in ended.items() if name != "said"},
        **{name: said[name] for name in kept if name in said},
    }


def is_scheduled(dag_run: Any) -> bool:
    """Whether the clock began this run, and not a person."""
    return str(getattr(dag_run.run_type, "value", dag_run.run_type)) == "scheduled"


@contextmanager
def planning(request: RunRequest) -> Iterator[Planning]:
    """The body of the plan task: adapters on the connected stores, and the run ended in the ledger if it cannot be."""
    with _adapters("plan", run_id=request.run_id, source=request.source) as (adapters, settings):
        yield Planning(adapters, settings)


@contextmanager
def stage(name: str, plan: dict[str, Any]) -> Iterator[StageRun]:
    """The body of a later stage's task, from the plan's reference as it came by XCom."""
    from concordance.pipeline.references import PlanReference

    made = PlanReference.from_json(plan)
    with _adapters(name, run_id=made.run_id, source=made.source) as (adapters, settings):
        yield StageRun(adapters, settings, made)


@contextmanager
def _adapters(name: str, *, run_id: str, source: str) -> Iterator[tuple[Adapters, Settings]]:
    """Adapters, with the stage's timer and counters. An error that no further attempt can mend ends the run."""
    from concordance.operations import telemetry
    from concordance.pipeline.adapters import open_adapters
    from concordance.pipeline.report import fail

    telemetry.use(AirflowStats())
    settings = connected_settings()
    reported = telemetry.stage(name, source=source, settings=settings, attempt=_attempt())
    with open_adapters(settings) as adapters, reported:
        try:
            yield adapters, settings
        except Terminal as error:
            # The ledger may be what fails: the error that the task shows must be the first one.
            with suppress(Transient):
                fail(error, run_id=run_id, source=source, adapters=adapters)
            raise
        except Exception:
            if _is_last_attempt():
                # Nobody goes on with this run by itself: the source is free for the next one. If the ledger is what
                # fails, the lease ends by time, and the first error is the one to show.
                with suppress(Transient):
                    adapters.ledger.runs.release(run_id=run_id, source=source)
            raise


def _is_last_attempt() -> bool:
    from airflow.sdk import get_current_context

    attempt = get_current_context()["ti"]
    return bool(attempt.try_number > attempt.max_tries)


def _attempt() -> int:
    """Which attempt of its task this is, from 1."""
    from airflow.sdk import get_current_context

    return int(get_current_context()["ti"].try_number)


class AirflowStats:
    """The product's metrics, carried by Airflow's own client to wherever the deployment sends its metrics."""

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
        stats.incr(f"concordance.{name}", count=n, tags=dict(tags))

    def gauge(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        stats.gauge(f"concordance.{name}", value, tags=dict(tags))

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None:
        stats.timing(f"concordance.{name}", timedelta(milliseconds=milliseconds), tags=dict(tags))


def shards(stored: Iterable[dict[str, Any]] | None) -> list[ShardReference]:
    """The shards' references as they came by XCom; none from a task that was skipped."""
    from concordance.pipeline.references import ShardReference

    return [ShardReference.from_json(one) for one in stored or ()]


def shard(stored: int | dict[str, Any]) -> int | ShardReference:
    """A mapped task's shard: its number as the plan gives it, or what an earlier stage made of it."""
    return stored if isinstance(stored, int) else shards([stored])[0]


def imported(name: str) -> Any:
    """What a dotted name stands for, imported where it is asked for: in a task, and not when its DAG is read."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def label(text: str) -> None:
    """Name the mapped task instance that runs now, for people (`map_index_template="{{ label }}"`)."""
    from airflow.sdk import get_current_context

    get_current_context()["label"] = text  # type: ignore[typeddict-unknown-key]


def deadline(dag_id: str) -> DeadlineAlert | None:
    """The deadline of each run of a DAG, shown in Airflow: the limit that is declared for its runs of any source. None
    if there is none. A wrong file of limits keeps no DAG from its runs: it is logged, and the watch refuses it."""
    from concordance.operations.slas import load_slas
    from concordance_deadlines import RunAfterDeadline

    try:
        seconds = load_slas(load_settings()).run_seconds(dag_id, None)
    except Misconfigured as error:
        log.error("the runs of a DAG have no deadline: correct the file of limits", dag=dag_id, error=str(error))
        return None
    if seconds is None:
        return None
    return DeadlineAlert(
        name=f"done in {seconds:g} s",
        reference=RunAfterDeadline(),
        interval=timedelta(seconds=seconds),
        callback=AsyncCallback(run_is_late),
    )


async def run_is_late(context: Mapping[str, Any] | None = None) -> str:
    """Called by the triggerer when a run passes its deadline: one log line, one counter, and the alert, unless the
    watch was first. A run that is done, or whose source has longer, is not late.

    The ledger is asked in a thread: the triggerer's loop serves all triggers. That may ask for the connection from
    there: the triggerer's own channel takes questions from any thread (`TriggerCommsDecoder.send`).
    """
    import concordance_attempts as attempts
    from concordance.operations import telemetry

    run = (context or {})["dag_run"]
    breach = attempts.late_run(run)
    if breach is None:
        return "not late"
    dag, name = str(run["dag_id"]), str(run["dag_run_id"])
    brought = (run.get("conf") or {}).get("correlation_id")
    log.error(
        "a run is past its deadline and not done: look at its grid for the task that waits",
        dag=dag,
        run=name,
        correlation_id=brought if correlation.is_id(brought) else correlation.of_run(name),
    )
    telemetry.use(AirflowStats())
    telemetry.count("run.late", dag_id=dag)
    await asyncio.to_thread(attempts.fire, breach)
    return f"{dag} {name}"
