"""What Airflow's task processes write: the product's checks before Airflow's own handlers, and the run's correlation.

Airflow binds what it knows of a task (run_id, task_id, map_index, try_number) to every line by itself; here come the id
of the trigger and the product's words for the same, so that one search finds the lines of the command line and of
Airflow alike. Other people's DAGs in the same Airflow are left alone.

Lazy: the scheduler loads this with the plugins, and its tasks inherit it. What is imported when a task begins is the
product that the task itself imports, also where that was replaced since (see `airflow_local_settings`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

PREFIX = "concordance_"
_TASK = "TaskRunnerMarker"


class TaskLines:
    """A listener of Airflow."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Of a process that will run one task: before it reads the DAG's file."""
        if type(component).__name__ == _TASK and _is_ours(structlog.contextvars.get_contextvars().get("dag_id")):
            from concordance.operations.logs import protect
            from concordance.settings.operations import levels_of

            protect(levels_of(_log_levels()))

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: RuntimeTaskInstanceProtocol) -> None:
        """From here on the task's lines and calls carry the run's id; the stage adds its source."""
        # In the API server, where a person may mark a task's state, nothing runs.
        if _is_ours(task_instance.dag_id) and hasattr(task_instance, "get_template_context"):
            from concordance.operations import correlation

            correlation.bind(**fields_of(task_instance))


def fields_of(task_instance: Any) -> dict[str, str | int]:
    """What the task carries: the run that triggered its run gives the id, else the run's name does."""
    from concordance.operations import correlation

    conf = task_instance.get_template_context()["dag_run"].conf or {}
    given = conf.get("correlation_id")
    fields: dict[str, str | int] = {
        "correlation_id": str(given) if correlation.is_id(given) else correlation.of_run(task_instance.run_id),
        "run": task_instance.run_id,
        "stage": task_instance.task_id,
        "attempt": task_instance.try_number,
    }
    if (shard := task_instance.map_index) is not None and shard >= 0:
        fields["shard"] = shard
    return fields


def _is_ours(dag_id: Any) -> bool:
    return str(dag_id or "").startswith(PREFIX)


def _log_levels() -> str:
    from concordance.errors import ConcordanceError
    from concordance.settings import Settings, load_settings

    try:
        return load_settings().log_levels
    except ConcordanceError:
        # The task says what is wrong with the settings, under the checks of the default ones.
        return str(Settings.model_fields["log_levels"].default)
