"""### Erase documents for good

Trigger it with the form and say what: one document (source and uri), all documents of a source whose uri matches a
pattern, or all documents of a tenant. Nothing happens before a person has approved it.

| task | what it does |
|---|---|
| `request` | checks the form again and counts what would be erased; writes nothing |
| `approve` | waits for a person, who sees the counts; without an answer in two days the request is rejected |
| `hide` | hides the documents from every reader, bars them for ever, deletes them from both stores and from staging |
| `wait` | until the last writer that began before has ended; holds no worker |
| `finish` | deletes again, reads both stores back, and writes the receipt into the ledger |

Until `finish` has succeeded the documents are **hidden**, not yet erased. A failed task can be cleared at any time: the
same erasure goes on. A rejected request ends as success and has changed nothing. A document that is barred does not
come back, also when its source still has it: remove it there too. This run's own conf keeps what was asked for; delete
the run if the uri itself tells too much.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, task
from pydantic import BaseModel, ConfigDict, Field

import concordance_airflow as glue
import concordance_approvals as approvals
from concordance import ids
from concordance.errors import Misconfigured
from concordance.pipeline.conf import checked_conf
from concordance.settings import load_settings
from concordance.sources.declaration import load_declarations

if TYPE_CHECKING:
    from concordance.ledger.erasure_scope import Scope

DECLARED = load_declarations(load_settings())
# A hundred documents are a few short transactions; a tenant may have a million. Every attempt finds what is done.
OF_A_TENANT = timedelta(hours=6)
# What a task is given: the output of an earlier one while the DAG is wired, and its JSON value when the task runs.
Wire = Any


class EraseConf(BaseModel):
    """What the form asks for. A key that is not here is refused: it would do nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    source: str | None = None
    uri: str | None = None
    pattern: str | None = None
    tenant: str | None = None
    reason: str = Field("", max_length=500)

    def scope(self) -> Scope:
        """An empty field of the form is no field. Raises `Misconfigured` unless exactly one thing is named."""
        # The ledger's driver is not needed to read this file.
        from concordance.ledger.erasure_scope import Scope

        return Scope(
            source=self.source or None,
            uri=self.uri or None,
            pattern=self.pattern or None,
            tenant=self.tenant or None,
        )


def text(title: str, description: str, *, most: int, **given: Any) -> Param:
    return Param(None, type=["null", "string"], maxLength=most, title=title, description_md=description, **given)


FORM = {
    # Not only the declared ones: what a source that is gone has left can still be erased.
    "source": text("Source", "With a uri or a pattern.", most=63, examples=sorted(DECLARED)),
    "uri": text("Document", "The uri of one document of the source, also of one that was never ingested.", most=4096),
    "pattern": text(
        "Pattern",
        "All documents of the source that match now: `*` and `?` inside a path component, `**` over any number.",
        most=512,
    ),
    "tenant": text(
        "Tenant",
        "All documents that the tenant has now, of every source. Leave the other fields empty.",
        most=63,
        examples=sorted({declaration.tenant for declaration in DECLARED.values()}),
    ),
    "reason": Param(
        "",
        type="string",
        maxLength=500,
        title="Reason",
        description_md="Kept with the receipt: a ticket's number, for example. No personal data here.",
    ),
}


@glue.task(doc_md="Checks the form again and counts what would be erased. Writes nothing.")
def request(*, params: Any = None, dag_run: Any = None) -> dict[str, int]:
    from concordance.consistency.erase import preview

    scope = checked_conf(EraseConf, dag_run.conf, params).scope()
    with glue.opened() as run:
        counts = preview(scope, adapters=run.adapters)
    if not counts["documents"] and scope.uri is None:
        raise Misconfigured("The ledger knows no document that this names: check the spelling. Nothing was erased")
    return counts


@glue.task(
    execution_timeout=OF_A_TENANT,
    doc_md="Hides and bars the documents in one step, then deletes them from both stores and from the staging area.",
)
def hide(approval: Wire, *, params: Any = None, dag_run: Any = None, run_id: Any = None) -> dict[str, Any]:
    from concordance.consistency.erase import EraseRequest, erase

    conf = checked_conf(EraseConf, dag_run.conf, params)
    asked = EraseRequest(
        # The run names the erasure: every attempt goes on with the same one.
        uuid5(ids.NAMESPACE, f"concordance_erase {run_id}"),
        conf.scope(),
        requested_by=approvals.asked_by(dag_run, approval),
        reason=conf.reason,
    )
    with glue.opened() as run:
        hidden = erase(asked, adapters=run.adapters, settings=run.settings)
    return {"erasure_id": str(hidden.erasure_id), "counts": dict(hidden.counts)}


@task.sensor(
    mode="reschedule",
    poke_interval=60,
    timeout=timedelta(days=3).total_seconds(),
    doc_md="Looks once a minute whether the last writer's time is over; between two looks it holds no worker.",
)
def wait(hidden: Wire) -> bool:
    with glue.opened() as run:
        return run.adapters.ledger.erasing.seconds_left(UUID(hidden["erasure_id"])) == 0


@glue.task(
    execution_timeout=OF_A_TENANT,
    doc_md="Deletes again, reads both stores back empty, and writes the receipt. Returns its counts.",
)
def finish(hidden: Wire) -> dict[str, Any]:
    from concordance.consistency.erase import finish

    with glue.opened() as run:
        erased = finish(UUID(hidden["erasure_id"]), adapters=run.adapters, settings=run.settings)
    receipt = erased.receipt or {}
    kept = ("erasure_id", "hidden", "artefacts_removed", "read_back", "hidden_at", "erased_at", "receipt_digest")
    return {name: receipt[name] for name in kept}


@dag(
    dag_id="concordance_erase",
    dag_display_name="Erase documents",
    description="Take documents out of both stores, every index version and the staging area, for good",
    doc_md=__doc__,
    schedule=None,
    params=FORM,
    default_args=glue.DEFAULT_ARGS,
    tags=["concordance", "erase"],
    max_active_runs=4,
    dagrun_timeout=timedelta(days=7),
    deadline=glue.deadline("concordance_erase"),
)
def concordance_erase() -> None:
    approve = ApprovalOperator(
        task_id="approve",
        subject="Erase {{ ti.xcom_pull(task_ids='request')['documents'] }} documents for good?",
        body=(
            "{% for name, number in ti.xcom_pull(task_ids='request').items() %}- {{ name }}: {{ number }}\n"
            "{% endfor %}\n"
            "Asked for: {% for name in ('source', 'uri', 'pattern', 'tenant') if params[name] %}"
            "{{ name }} `{{ params[name] }}` {% endfor %}\n\nThis cannot be taken back."
        ),
        defaults="Reject",
        response_timeout=timedelta(days=2),
        doc_md="A person approves or rejects. Rejected, or not answered in two days: nothing is erased.",
    )
    hidden: Any = hide(approve.output)
    ready = wait(hidden)
    request() >> approve
    ready >> finish(hidden)


concordance_erase()
