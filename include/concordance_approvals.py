"""What the DAGs ask a person: the operator that waits for an answer, and who gave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context


class Approval(ApprovalOperator):
    """Asks a person, but only about a plan that needs it; nobody is asked about the others, and they go on.

    `plan_task` is the task that returns the plan's reference.
    """

    def __init__(self, *, plan_task: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan_task = plan_task

    def execute(self, context: Context) -> Any:
        from concordance.pipeline.references import PlanReference

        plan = PlanReference.from_json(context["ti"].xcom_pull(task_ids=self.plan_task))
        if not plan.needs_approval:
            raise AirflowSkipException("nothing about the plan is unusual")
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        # A rejection skips what follows by an exception, after which nothing is returned: the answer is kept before.
        context["ti"].xcom_push(key="answer", value=_answer(event))
        return super().execute_complete(context, event)


def _answer(event: Mapping[str, Any]) -> str:
    """What was said to a plan that needs approval, and by whom, as far as Airflow knows."""
    who = (event.get("responded_by_user") or {}).get("name") or "unknown"
    if event.get("chosen_options") == [ApprovalOperator.APPROVE]:
        return f"Approved by {who}"[:200]
    return ("Rejected, because nobody answered in time" if event.get("timedout") else f"Rejected by {who}")[:200]


def asked_by(dag_run: Any, approval: Any) -> str:
    """Who triggered the run and who approved it, as far as Airflow knows."""
    approver = ((approval or {}).get("responded_by_user") or {}).get("name")
    trigger = getattr(dag_run, "triggering_user_name", None)
    return f"{trigger or 'unknown'}, approved by {approver or 'unknown'}"[:200]
