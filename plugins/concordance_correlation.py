"""The lines of the product's tasks: what they carry, and what never gets into them. See `concordance_lines`."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

import concordance_lines


class ConcordanceCorrelation(AirflowPlugin):
    name = "concordance_correlation"
    listeners: list[Any] = [concordance_lines.TaskLines()]  # noqa: RUF012 - Airflow's base class declares it so
