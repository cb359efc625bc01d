"""Airflow's own database, cleaned by Airflow's own means in a process beside it (`deploy/clean_airflow.py`).

Only where the environment says how that database is reached, as it does for Airflow's services: a task's does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from concordance.errors import Unavailable
from concordance.settings import ROOT, Settings

_CONNECTION = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
# What Airflow puts there for its tasks.
_REFUSED = "airflow-db-not-allowed"


def reaches_airflow(environment: Mapping[str, str]) -> bool:
    """Whether a process of this environment can reach Airflow's database."""
    connection = environment.get(_CONNECTION, "")
    return bool(connection) and not connection.startswith(_REFUSED)


def clean_airflow(settings: Settings, environment: Mapping[str, str], *, dry_run: bool = False) -> int:
    """Delete what is older than `airflow_history_retention_days`; how many rows, or would be. Raises `Unavailable`."""
    days = str(settings.airflow_history_retention_days)
    command = [sys.executable, str(ROOT / "deploy" / "clean_airflow.py"), "--days", days]
    try:
        ended = subprocess.run(
            [*command, *(["--dry-run"] if dry_run else [])],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=settings.maintenance_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"Airflow's database was not clean after {settings.maintenance_seconds:g} s: the next maintenance goes on"
        ) from None
    if ended.returncode:
        raise Unavailable(
            f"Airflow's database could not be cleaned (exit code {ended.returncode}): run {' '.join(command[1:])} "
            "--dry-run in the environment of Airflow's services to see why"
        )
    lines = ended.stdout.strip().splitlines()
    return int(json.loads(lines[-1])["rows"]) if lines else 0
