"""### Publish, roll back or drop one index version, after a person has approved it

| task | what it does |
|---|---|
| `look` | checks the form again and says what would change; writes nothing |
| `approve` | waits for a person, who sees it (*Required Actions*); without an answer in two days it is rejected |
| `act` | publishes, rolls back or drops |

**publish**: a version that a night has held, or that a gate refused, is caught up with the live one and goes through
both gates again; a failed relevance gate may be accepted, with a reason that is kept. **rollback**: a version that was
live becomes live again in one step. Documents that were deleted, erased, or that others may read by now are hidden,
those that changed are marked as older states; the next ingest of each source catches up. **drop**: the version can no
longer be gone back to, and leaves the stores after the readers' grace. `python -m concordance index list` shows what
there is, and how many documents each is behind.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Asset, dag

import concordance_airflow as glue
import concordance_approvals as approvals
import concordance_forms as forms
from concordance.pipeline.conf import checked_conf
from concordance.reindex.conf import VersionConf

INDEX = Asset(name="concordance_index", uri="concordance://index/live", group="concordance")
# What a task is given: the output of an earlier one while the DAG is wired, and its JSON value when the task runs.
Wire = Any
SUMMARY = """{% set seen = ti.xcom_pull(task_ids='look') %}
| | version | state | documents | chunks | documents behind |
|---|---|---|---|---|---|
{% for each in (seen.live, seen.version) -%}
| {{ 'live now' if loop.first else 'this one' }}
{%- for name in ('version', 'state', 'documents', 'chunks', 'behind') %} | {{ each[name] }}{% endfor %} |
{% endfor %}
{{ {
  'publish': 'It is caught up with the live one and goes through both gates again; only then does it go live.',
  'rollback': 'It goes live at once. Until the next ingest of each source, readers miss or find as older states the '
    ~ 'documents that it is behind; what was deleted or erased since stays hidden.',
  'drop': 'It leaves graph, vectors and ledger after the grace of the readers. This cannot be undone.',
}[params.action] }}
{% if seen.why %}
Its last build ended as {{ seen.why }}
{% endif %}{% if params.accepts %}
A failed relevance gate is accepted, because: {{ params.accepts }}
{% endif %}"""


@glue.task(doc_md="Checks the form again and says what would change. Writes nothing.")
def look(*, params: Any = None, dag_run: Any = None) -> dict[str, Any]:
    from concordance.reindex.listing import require_possible

    conf = checked_conf(VersionConf, dag_run.conf, params)
    with glue.opened() as run:
        live, version = require_possible(conf.action, conf.version, adapters=run.adapters)
        last = run.adapters.ledger.building.newest_of(version.version)
    why = f"{last.state}: {(last.report or {}).get('why', '')}" if last and last.state in ("refused", "failed") else ""
    return {"live": live.as_json(), "version": version.as_json(), "why": why}


@glue.task(
    execution_timeout=timedelta(hours=12),
    outlets=[INDEX],
    doc_md="Publishes, rolls back or drops. A second attempt goes on where the first stopped.",
)
def act(
    approval: Wire, *, params: Any = None, dag_run: Any = None, run_id: Any = None, outlet_events: Any = None
) -> dict[str, Any]:
    from concordance.reindex.run import act

    conf = checked_conf(VersionConf, dag_run.conf, params)
    with glue.opened() as run:
        done = act(
            conf.action,
            conf.version,
            build_id=run_id,
            accepts=conf.accepts,
            requested_by=approvals.asked_by(dag_run, approval),
            adapters=run.adapters,
            settings=run.settings,
        )
    outlet_events[INDEX].extra = {"action": conf.action, "index_version": conf.version}
    return glue.in_numbers(done)


@dag(
    dag_id="concordance_index",
    dag_display_name="Publish, roll back or drop an index version",
    description="One index version goes live, comes back or goes, after a person has approved it",
    doc_md=__doc__,
    schedule=None,
    params=forms.version_form(),
    default_args=glue.DEFAULT_ARGS,
    tags=["concordance", "index"],
    max_active_runs=4,
    dagrun_timeout=timedelta(days=4),
    deadline=glue.deadline("concordance_index"),
)
def concordance_index() -> None:
    approve = ApprovalOperator(
        task_id="approve",
        subject="{{ params.action }} index version {{ params.version }}?",
        body=SUMMARY,
        defaults="Reject",
        response_timeout=timedelta(days=2),
        doc_md="A person approves or rejects. Rejected, or not answered in two days: nothing changes.",
    )
    look() >> approve
    act(approve.output)


concordance_index()
