"""Tells the product when an attempt begins and ends, so that one that runs too long is told of while it runs.

Lazy: the glue is imported by the process that runs a task of ours, when the task begins. Airflow calls these in the
task's process, and in the API server where a person marks a state, where no attempt is watched.
"""

from __future__ import annotations

import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

_GLUE = "concordance_attempts"
_OURS = "concordance_"


class AttemptListener:
    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        if task_instance.dag_id.startswith(_OURS):
            import concordance_attempts

            concordance_attempts.began(task_instance)

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        _ended("success")

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        _ended("failed")

    @hookimpl
    def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:
        _ended("skipped")


def _ended(outcome: str) -> None:
    # Where the glue was not imported no attempt is watched.
    if (glue := sys.modules.get(_GLUE)) is not None:
        glue.ended(outcome)


class ConcordanceSla(AirflowPlugin):
    name = "concordance_sla"
    listeners = [AttemptListener()]  # noqa: RUF012 - Airflow's base class declares it as an instance's
