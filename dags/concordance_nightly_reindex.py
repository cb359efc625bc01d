"""### Every night: bring the index up to date, and build it anew where that is due

First each source whose declaration says `schedule = true` gets a run of `concordance_ingest` of its own (**refresh**),
and the three stores are compared. Then, if what is frozen with the live index version has changed (chunking, names,
model, code), if it is the weekly night, or if the form says so, the **next version** is made beside the live one, by
the same stages and gates. It goes live in one step, and only if it holds what the live one holds (`check_parity`) and
finds as well (`check_relevance`). Ingests and readers go on meanwhile. If there is nothing to do, nothing is done.

| task | what it does | skipped when |
|---|---|---|
| `scheduled_sources`, `ingest` | one run of `concordance_ingest` a source; waits without a slot | mode `rebuild` |
| `check_live` | ledger, graph and vectors of the live version agree | |
| `begin` | decides whether a version is built, and of what | mode `refresh`, or nothing is due |
| `plan` | one plan for each source in which the two versions differ | as above |
| `remake`, `embed`, `load` | one task a shard, beside the ingests, which go first | nothing differs |
| `check_documents`, `check_chunks`, `check_stores` | the gates of every run | as above |
| `commit` | what passed belongs to the next version; nobody reads it yet | as above |
| `catch_up` | what was published, deleted or erased meanwhile | no version is built |
| `check_parity`, `check_relevance` | the gates before the swap; their results are linked | as above |
| `publish` | the swap, in one transaction of the ledger | as above, or `publish` is off |
| `drop` | versions too old to go back to leave the stores, after the readers' grace | as above |
| `report` | what was built and why, in numbers | an earlier task failed |

A gate that fails leaves the live version as it was. Every task can be cleared: what is done is found. To publish a
version that was held, or to go back to an earlier one: `concordance_index`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, CronTriggerTimetable, TriggerRule, dag
from airflow.sdk.exceptions import AirflowSkipException

import concordance_airflow as glue
import concordance_forms as forms
from concordance.operations import correlation
from concordance.pipeline.conf import checked_conf
from concordance.reindex.conf import ReindexConf
from concordance.settings import load_settings
from concordance.sources.declaration import load_declarations

SETTINGS = load_settings()
SOURCES = load_declarations(SETTINGS)
INDEX = Asset(name="concordance_index", uri="concordance://index/live", group="concordance")
# What a task is given: the output of an earlier one while the DAG is wired, and its JSON value when the task runs.
Wire = Any
BY_LABEL = "{{ label }}"
# An ingest's tasks weigh 1 and what hangs on them: they take the next free slot of a pool before a build's.
BESIDE: Any = {"weight_rule": "absolute", "priority_weight": 1}
WHOLE_INDEX = timedelta(hours=12)


@glue.task(
    doc_md="The sources to refresh, each with the name of its run: those that are declared with `schedule = true`."
)
def scheduled_sources(*, run_id: Any = None, params: Any = None, dag_run: Any = None) -> list[dict[str, Any]]:
    conf = checked_conf(ReindexConf, dag_run.conf, params)
    # Refused here, and not after the hours that a refresh may take.
    SETTINGS.with_values(conf.overrides)
    if conf.mode == "rebuild":
        return []
    wanted = [name for name, each in SOURCES.items() if (name == conf.source if conf.source else each.schedule)]
    carried = {"correlation_id": correlation.for_run(run_id)}
    return [{"trigger_run_id": f"{run_id}__{name}", "conf": {"source": name, **carried}} for name in sorted(wanted)]


@glue.task(
    trigger_rule=TriggerRule.NONE_FAILED,
    execution_timeout=timedelta(hours=2),
    doc_md="Compares the live version in ledger, graph and vectors: one that is not sound is no measure of a new one.",
)
def check_live() -> dict[str, Any]:
    from concordance.reindex.live import require_sound

    with glue.opened() as run:
        return require_sound(**run.tools)


@glue.task(
    doc_md="Decides whether a version is built, and why; makes it, still empty, or goes on with an unfinished one."
)
def begin(checked: Wire, *, run_id: Any = None, params: Any = None, dag_run: Any = None) -> dict[str, Any]:
    from concordance.reindex.build import begin
    from concordance.reindex.run import finish

    conf = checked_conf(ReindexConf, dag_run.conf, params)
    if conf.mode == "refresh" or checked["version"] is None:
        raise AirflowSkipException("only a refresh was asked for" if conf.mode == "refresh" else "nothing to rebuild")
    request = conf.request(
        run_id,
        requested_by=getattr(dag_run, "triggering_user_name", None) or "the schedule",
        is_scheduled=glue.is_scheduled(dag_run),
        weekday=SETTINGS.rebuild_weekday,
        run_after=dag_run.run_after,
    )
    with glue.building("begin", run_id) as run:
        begun = begin(request, **run.tools)
        if begun is None:
            finish(run_id, "nothing", adapters=run.adapters)
            raise AirflowSkipException("what is frozen with the live version is what a new one would be made of")
        return begun.as_json()


@glue.task(doc_md="One plan for each source in which the next version and the live one differ; returns its shards.")
def plan(build: Wire) -> list[dict[str, Any]]:
    from concordance.reindex.build import plan_round
    from concordance.reindex.references import BuildReference

    begun = BuildReference.from_json(build)
    with glue.building("plan", begun.build_id) as run:
        plans = plan_round(begun, **run.tools)
    return [{"plan": made.as_json(), "shard": shard} for made in plans for shard in range(made.shards)]


def stage_of_shards(name: str, step: str, *, pool: glue.PoolSize, doc_md: str) -> Any:
    """A task that is mapped over shards of all plans: what `step` names makes of one what the next stage takes up."""

    @glue.task(
        task_id=name,
        pool=pool.name,
        map_index_template=BY_LABEL,
        execution_timeout=timedelta(hours=2),
        doc_md=doc_md,
        **BESIDE,
    )
    def stage(work: Wire, build: Wire) -> dict[str, Any]:
        with glue.built(build, name, work) as run:
            made = glue.imported(step)(run.plan, glue.shard(work["shard"]), **run.tools)
        return {"plan": work["plan"], "shard": made.as_json()}

    return stage


def gate(name: str, doc_md: str) -> Any:
    """A task that judges each plan of the round by this gate of every run."""

    @glue.task(task_id=name, execution_timeout=timedelta(hours=2), doc_md=doc_md)
    def judge(work: Wire, build: Wire) -> list[dict[str, Any]]:
        with glue.building(name, build["build_id"]) as run:
            check = glue.imported(f"concordance.pipeline.check.{name}")
            return [check(made, shards, **run.tools).as_json() for made, shards in glue.by_plan(work)]

    return judge


remake = stage_of_shards(
    "remake",
    "concordance.reindex.remake.remake",
    pool=glue.EXTRACT_POOL,
    doc_md="Documents of the next version: taken over as the live one was loaded, or read again and cut anew.",
)
check_documents = gate("check_documents", "The first gate, over what was cut anew.")
embed = stage_of_shards(
    "embed",
    "concordance.pipeline.embed.embed",
    pool=glue.EMBED_POOL,
    doc_md="Chunks to vectors: copied from the live version where text and model are the same.",
)
check_chunks = gate("check_chunks", "The second gate: chunks and vectors.")
load = stage_of_shards(
    "load",
    "concordance.pipeline.load.load",
    pool=glue.LOAD_POOL,
    doc_md="Writes graph and vectors of the next version batch by batch and reads both back.",
)
check_stores = gate("check_stores", "The third gate: both stores hold exactly what was loaded.")


@glue.task(execution_timeout=timedelta(hours=2), doc_md="What passed belongs to the next version from here on.")
def commit(work: Wire, build: Wire) -> list[dict[str, Any]]:
    from concordance.pipeline.publish import publish
    from concordance.pipeline.report import report

    ended = []
    with glue.building("commit", build["build_id"]) as run:
        for made, shards in glue.by_plan(work):
            publish(made, **run.tools)
            ended.append(report(made, shards, adapters=run.adapters).as_json())
    return ended


@glue.task(
    trigger_rule=TriggerRule.NONE_FAILED,
    execution_timeout=WHOLE_INDEX,
    doc_md="Rounds of the same until the next version is the same as the live one, which moves on meanwhile.",
)
def catch_up(*, ti: Any = None) -> dict[str, Any]:
    # Pulled, not wired: what hangs on a skipped task is skipped before it can look. And looked at before the imports,
    # which take longer than all the rest of a night without a build.
    build = ti.xcom_pull(task_ids="begin")
    if build is None:
        raise AirflowSkipException("no version is built")
    from concordance.reindex.references import BuildReference
    from concordance.reindex.run import make

    begun = BuildReference.from_json(build)
    with glue.building("catch_up", begun.build_id) as run:
        make(begun, **run.tools)
    return dict(build)


@glue.task(
    execution_timeout=WHOLE_INDEX,
    doc_md="The next version holds what the live one holds, in both stores as the ledger says. *Gate result* shows it.",
)
def check_parity(build: Wire) -> str:
    from concordance.reindex.references import BuildReference
    from concordance.reindex.run import parity_gate

    with glue.building("check_parity", build["build_id"]) as run:
        return parity_gate(BuildReference.from_json(build), **run.tools)


@glue.task(
    execution_timeout=timedelta(hours=2),
    doc_md="The next version finds as well as the live one, by golden and known-item queries, by HNSW as by exact "
    "search, and nothing across tenants. *Gate result* shows every query, without its text.",
)
def check_relevance(build: Wire) -> str:
    from concordance.reindex.references import BuildReference, BuildRequest
    from concordance.reindex.run import relevance_gate

    begun = BuildReference.from_json(build)
    with glue.building("check_relevance", begun.build_id) as run:
        request = BuildRequest.from_json(run.adapters.ledger.building.get(begun.build_id).request)
        return relevance_gate(begun, request, **run.tools)


@glue.task(
    outlets=[INDEX], doc_md="Makes the next version the live one, caught up to the last document. Held, if so asked."
)
def publish(build: Wire, *, params: Any = None, dag_run: Any = None, outlet_events: Any = None) -> dict[str, Any]:
    from concordance.reindex.references import BuildReference
    from concordance.reindex.run import finish, go_live

    begun = BuildReference.from_json(build)
    with glue.building("publish", begun.build_id) as run:
        if not checked_conf(ReindexConf, dag_run.conf, params).publish:
            finish(begun.build_id, "held", adapters=run.adapters)
            raise AirflowSkipException(f"version {begun.version} is held: publish it with concordance_index")
        ended = go_live(begun, **run.tools)
    outlet_events[INDEX].extra = {"index_version": begun.version}
    return dict(ended.said["swap"])


@glue.task(
    trigger_rule=TriggerRule.NONE_FAILED,
    execution_timeout=timedelta(hours=2),
    doc_md="Deletes versions whose time is over from the stores and the ledger, in small steps.",
)
def drop() -> dict[str, Any]:
    from concordance.reindex.drop import drop_due

    with glue.opened() as run:
        return drop_due(**run.tools).as_json()


@glue.task(trigger_rule=TriggerRule.NONE_FAILED, doc_md="What was built and why, in numbers; how the night ended.")
def report(dropped: Wire, *, run_id: Any = None, ti: Any = None) -> dict[str, Any]:
    build = ti.xcom_pull(task_ids="begin")
    if build is None:
        return {"state": "nothing", "dropped": dropped["dropped"]}
    with glue.opened() as run:
        ended = run.adapters.ledger.building.get(run_id)
    return glue.in_numbers({"state": ended.state, "version": ended.version, "said": ended.report or {}})


@dag(
    dag_id="concordance_nightly_reindex",
    dag_display_name="Nightly re-index",
    description="Refresh the live index, and build, check and swap the next version where that is due",
    doc_md=__doc__,
    # A deployment that is new begins with the next night: left out, Airflow 3.3.2 makes up for the last one as well.
    schedule=CronTriggerTimetable("0 2 * * *", timezone="UTC", run_immediately=timedelta(0)),
    params=forms.reindex_form(SOURCES),
    default_args=glue.DEFAULT_ARGS,
    tags=["concordance", "ingest", "index", "nightly"],
    # A night that takes longer than a day is not overtaken by the next.
    max_active_runs=1,
    catchup=False,
    dagrun_timeout=timedelta(hours=60),
    deadline=glue.deadline("concordance_nightly_reindex"),
)
def concordance_nightly_reindex() -> None:
    refreshed = glue.ingests(
        "ingest",
        scheduled_sources(),
        within=timedelta(hours=38),
        doc_md="One run of `concordance_ingest` for each scheduled source; waits for it without holding a slot.",
    )
    checked: Any = check_live()
    refreshed >> checked
    build: Any = begin(checked)
    made = remake.partial(build=build).expand(work=plan(build))
    embedded = embed.partial(build=build).expand(work=made)
    loaded = load.partial(build=build).expand(work=embedded)
    check_documents(made, build) >> embedded
    check_chunks(embedded, build) >> loaded
    caught_up: Any = catch_up()
    check_stores(loaded, build) >> commit(loaded, build) >> caught_up
    ready = check_relevance(caught_up)
    check_parity(caught_up) >> ready
    published = publish(caught_up)
    ready >> published
    dropped: Any = drop()
    published >> dropped
    report(dropped)


concordance_nightly_reindex()
