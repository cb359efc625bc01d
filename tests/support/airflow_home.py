"""Airflow in tests: always with a home of its own, and the repository's airflow.cfg; no database is opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concordance.settings import ROOT


def airflow_environment(home: Path) -> dict[str, str]:
    """What an Airflow process needs to know of this repository, and nothing that reaches a database."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(ROOT / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://airflow@127.0.0.1:1/none",
        "AIRFLOW__CONCORDANCE__STATE_DIR": str(home / "state"),
    }


def parse(home: Path, *, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `describe_dags` sees of dags/ in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "describe_dags.py"), str(ROOT / "dags")],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT / "include"),
            **airflow_environment(home),
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    described: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return described
