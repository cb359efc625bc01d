"""### Bring the index to what a source holds now

Trigger it with the form: choose a declared source and, if you like, a part of it. Nothing is written before the plan is
made, and nothing that the run writes is visible before `publish`, which shows all of it at once.

| task | what it does | skipped when |
|---|---|---|
| `plan` | lists the source and compares it with the index: added, changed, unchanged, deleted | |
| `approve` | waits for a person, who sees what the plan would do (*Required Actions*) | nothing about it is unusual |
| `begin` | takes up the plan; an approved one is made anew, and must still be the same | rejected, or not answered |
| `extract` | one task a shard: bytes to text, chunks, entities | nothing changed, a dry run, or rejected |
| `check_documents` | the first gate: documents that fail it go to quarantine | as above |
| `embed` | one task a shard: vectors, known texts reuse theirs | as above |
| `check_chunks` | the second gate: chunks and vectors | as above |
| `load` | one task a shard: writes graph and vectors, reads both back | as above |
| `check_stores` | the third gate: both stores hold exactly what was loaded | as above |
| `publish` | makes it visible in one step, tidies up behind it | as above |
| `report` | what happened, in numbers | an earlier task failed |

A plan that would delete or change an unusual part of the source, or read unusually much, waits for a person. It holds
nothing meanwhile. Rejected, or not answered in time, the run ends as success and has written nothing; `report` says
what was unusual. A failed task can be cleared at any time: finished work is found and not done again.
`python -m concordance verify` tells whether the three stores agree.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, TriggerRule, dag

import concordance_airflow as glue
import concordance_approvals as approvals
import concordance_forms as forms
from concordance.pipeline.conf import run_conf
from concordance.settings import load_settings
from concordance.sources.declaration import load_declarations

SETTINGS = load_settings()
SOURCES = load_declarations(SETTINGS)
INDEX = Asset(name="concordance_index", uri="concordance://index/live", group="concordance")
# What a task is given: the output of an earlier one while the DAG is wired, and its JSON value when the task runs.
Wire = Any
BY_LABEL = "{{ label }}"
APPROVAL_TIMEOUT = timedelta(seconds=SETTINGS.approval_timeout_seconds)
# What a person decides on: counts only, as everything that goes through XCom.
SUMMARY = """{% set plan = ti.xcom_pull(task_ids='plan') %}
{% for line in plan.unusual %}**{{ line }}**

{% endfor %}
| the run would | documents |
|---|---|
{% for name in ('added', 'changed', 'deleted', 'unchanged') -%}
| {{ name }} | {{ plan.counts[name] }} |
{% endfor %}
It would read {{ plan.estimates.bytes }} bytes and make about {{ plan.estimates.chunks }} chunks in
{{ plan.estimates.seconds }} s of work, {{ plan.estimates.embed }} of them embedded and {{ plan.estimates.reuse }}
reused ({{ plan.estimated_from }}).

Readers would find {{ plan.impact.chunks_replaced }} of {{ plan.impact.chunks_current }} chunks replaced and
{{ plan.impact.chunks_deleted }} gone, and {{ plan.impact.links_broken }} links of other documents without their target.

Approved, the run does exactly this, or nothing if the source or the index has moved meanwhile
(plan {{ plan.plan_id }}).
"""


@glue.task(
    doc_md="Lists the source, compares it with the index and writes the plan. No later task touches a document that "
    "the plan does not name. The values of the form are checked again here.",
)
def plan(*, run_id: Any = None, params: Any = None, dag_run: Any = None) -> dict[str, Any]:
    from concordance.pipeline.plan import make_plan
    from concordance.pipeline.rehearse import rehearse

    conf = run_conf(dag_run.conf, params)
    request = conf.request(run_id)
    with glue.planning(request) as run:
        made = make_plan(request, adapters=run.adapters, settings=run.settings)
        if conf.exact:
            made = rehearse(made, adapters=run.adapters, settings=run.settings)
        return made.as_json()


@glue.task(
    trigger_rule=TriggerRule.NONE_FAILED,
    doc_md="Goes on with the plan. One that a person approved is made anew, and only if it is still the same; a "
    "rejected one ends here.",
)
def begin(plan: Wire, *, run_id: Any = None, params: Any = None, dag_run: Any = None, ti: Any = None) -> list[int]:
    from concordance.pipeline.plan import make_plan
    from concordance.pipeline.references import PlanReference

    made = PlanReference.from_json(plan)
    if made.needs_approval:
        request = replace(run_conf(dag_run.conf, params).request(run_id), approved=True)
        with glue.planning(request) as run:
            made = make_plan(request, adapters=run.adapters, settings=run.settings)
    ti.xcom_push(key="plan", value=made.as_json())
    # Tasks are mapped over what this returns: without shards all are skipped up to the report.
    return list(range(made.shards)) if made.goes_on else []


@glue.task(
    pool=glue.EXTRACT_POOL.name,
    map_index_template=BY_LABEL,
    doc_md="Bytes to text, links, chunks and entities. A document that cannot be read goes to quarantine.",
)
def extract(plan: Wire, shard: Wire) -> dict[str, Any]:
    from concordance.pipeline.extract import extract

    with glue.stage("extract", plan) as run:
        glue.label(f"shard {shard + 1} of {run.plan.shards}")
        return extract(run.plan, shard, adapters=run.adapters, settings=run.settings).as_json()


@glue.task(doc_md="The first gate: documents that fail an expectation go to quarantine; too many of them stop the run.")
def check_documents(plan: Wire, shards: Wire) -> dict[str, Any]:
    from concordance.pipeline.check import check_documents

    with glue.stage("check_documents", plan) as run:
        return check_documents(run.plan, glue.shards(shards), adapters=run.adapters, settings=run.settings).as_json()


@glue.task(
    pool=glue.EMBED_POOL.name,
    map_index_template=BY_LABEL,
    # A shard of 10 MB is about 12,000 texts: seven minutes on two quiet cores, and several times that on busy ones.
    execution_timeout=timedelta(hours=2),
    doc_md="Chunks to vectors. Texts that the live index knows reuse the vector that it holds.",
)
def embed(plan: Wire, shard: Wire) -> dict[str, Any]:
    from concordance.pipeline.embed import embed

    with glue.stage("embed", plan) as run:
        (reference,) = glue.shards([shard])
        glue.label(f"shard {reference.shard + 1} of {run.plan.shards}")
        return embed(run.plan, reference, adapters=run.adapters, settings=run.settings).as_json()


@glue.task(doc_md="The second gate: chunks and vectors, over the whole run.")
def check_chunks(plan: Wire, shards: Wire) -> dict[str, Any]:
    from concordance.pipeline.check import check_chunks

    with glue.stage("check_chunks", plan) as run:
        return check_chunks(run.plan, glue.shards(shards), adapters=run.adapters, settings=run.settings).as_json()


@glue.task(
    pool=glue.LOAD_POOL.name,
    map_index_template=BY_LABEL,
    doc_md="Writes graph and vectors batch by batch and reads both back. Nothing of it is visible yet.",
)
def load(plan: Wire, shard: Wire) -> dict[str, Any]:
    from concordance.pipeline.load import load

    with glue.stage("load", plan) as run:
        (reference,) = glue.shards([shard])
        glue.label(f"shard {reference.shard + 1} of {run.plan.shards}")
        return load(run.plan, reference, adapters=run.adapters, settings=run.settings).as_json()


@glue.task(doc_md="The third gate: both stores hold exactly what the run loaded.")
def check_stores(plan: Wire, shards: Wire) -> dict[str, Any]:
    from concordance.pipeline.check import check_stores

    with glue.stage("check_stores", plan) as run:
        return check_stores(run.plan, glue.shards(shards), adapters=run.adapters, settings=run.settings).as_json()


@glue.task(
    outlets=[INDEX],
    doc_md="Makes the run visible in one transaction of the ledger, then tidies up behind it in both stores.",
)
def publish(plan: Wire, *, outlet_events: Any = None) -> dict[str, int]:
    from concordance.pipeline.publish import publish

    with glue.stage("publish", plan) as run:
        outcomes = publish(run.plan, adapters=run.adapters, settings=run.settings)
    outlet_events[INDEX].extra = {"source": run.plan.source, "index_version": run.plan.index_version, **outcomes}
    return outcomes


@glue.task(
    trigger_rule=TriggerRule.NONE_FAILED,
    doc_md="What the run did, in numbers; for a dry run, what it would have done. A run without changes tidies up here "
    "what an earlier one left to do.",
)
def report(plan: Wire, shards: Wire, *, ti: Any = None) -> dict[str, Any]:
    from concordance.pipeline.report import report
    from concordance.pipeline.run import tidy

    # Pulled, not wired: a rejection skips whatever hangs on `approve`. Only a rejected plan has not begun.
    answer = ti.xcom_pull(task_ids="approve", key="answer") or ""
    with glue.stage("report", ti.xcom_pull(task_ids="begin", key="plan") or plan) as run:
        if run.plan.is_noop and not run.plan.is_dry:
            tidy(run.plan, adapters=run.adapters, settings=run.settings)
        ended = report(run.plan, glue.shards(shards), adapters=run.adapters, answer=answer)
        return ended.as_json()


@dag(
    dag_id="concordance_ingest",
    dag_display_name="Ingest a source",
    description="Bring graph and vectors to what a source holds now",
    doc_md=__doc__,
    schedule=None,
    params=forms.ingest_form(SOURCES),
    default_args=glue.DEFAULT_ARGS,
    tags=["concordance", "ingest"],
    # Runs of one source take turns by a lock in the ledger; sources may run beside each other, and wait for people.
    max_active_runs=16,
    dagrun_timeout=timedelta(hours=12) + APPROVAL_TIMEOUT,
    deadline=glue.deadline("concordance_ingest"),
)
def concordance_ingest() -> None:
    planned: Any = plan()
    approve = approvals.Approval(
        task_id="approve",
        plan_task="plan",
        subject="Ingest {{ params.source }} although its plan is unusual?",
        body=SUMMARY,
        defaults="Reject",
        response_timeout=APPROVAL_TIMEOUT,
        doc_md="A person approves or rejects an unusual plan. Rejected, or not answered in time: nothing is written.",
    )
    shards: Any = begin(planned)
    made = shards["plan"]
    extracted = extract.partial(plan=made).expand(shard=shards)
    embedded = embed.partial(plan=made).expand(shard=extracted)
    loaded = load.partial(plan=made).expand(shard=embedded)
    published, reported = publish(made), report(planned, loaded)
    planned >> approve >> shards
    check_documents(made, extracted) >> embedded
    check_chunks(made, embedded) >> loaded
    check_stores(made, loaded) >> published >> reported


concordance_ingest()
