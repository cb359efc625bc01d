"""The deadline reference of the ingest run: the moment from which the run could start.

Airflow's own references do not fit: the logical date is empty for runs that a person or a program triggers, and a run
whose deadline counts from its queueing cannot be cleared (Airflow 3.3.2 answers 500).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk.definitions.deadline import BaseDeadlineReference, deadline_reference

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@deadline_reference
class RunAfterDeadline(BaseDeadlineReference):
    """Counts from `run_after`, which every run has."""

    required_kwargs: ClassVar[set[str]] = {"dag_id", "run_id"}

    def _evaluate_with(
        self, *, session: Session, dag_id: str | None = None, run_id: str | None = None, **_: Any
    ) -> datetime | None:
        # Evaluated by the scheduler and the API server; a task that loads the plugins does without the models.
        from airflow.models.dagrun import DagRun
        from sqlalchemy import select

        return session.scalar(select(DagRun.run_after).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))


class ConcordanceDeadlines(AirflowPlugin):
    name = "concordance_deadlines"
    deadline_references = [RunAfterDeadline]  # noqa: RUF012 - Airflow's base class declares it as an instance's
