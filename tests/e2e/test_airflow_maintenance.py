"""Maintenance through a real Airflow: the task reaches everything but Airflow's own database, which its own program
cleans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from concordance.local import airflow as airflow_programs
from concordance.local import state
from concordance.settings import ROOT
from support.house import House

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

DAG = "concordance_maintenance"


def maintained(house: House, **conf: bool) -> dict[str, int]:
    run_id = house.api.trigger(DAG, conf)
    *_, ended = house.api.follow(DAG, run_id, wait_seconds=600)
    assert ended.state == "success", house.why(ended)
    removed: dict[str, int] = house.api.result(DAG, run_id, "expire")["removed"]
    return removed


def test_old_logs_go_and_young_ones_stay(house: House, documents: Callable[..., Path]) -> None:
    documents("dated", ann="# Ann\n\nAnn digs.\n")
    ended = house.run("dated")
    assert ended.state == "success", house.why(ended)
    house.api.await_dag(DAG, wait_seconds=300)
    logs = house.settings.state_dir / "airflow" / "logs"
    (ingest,) = logs.glob("dag_id=concordance_ingest")
    old = logs / "dag_id=long_gone" / "attempt=1.log"
    old.parent.mkdir()
    old.write_text("a line\n")
    os.utime(old, (0, 0))
    assert maintained(house, dry_run=True)["logs"] == 1
    assert old.exists()
    assert maintained(house)["logs"] == 1
    assert not old.exists()
    assert any(ingest.rglob("*.log"))


def test_airflows_own_database_is_cleaned_by_the_program_beside_it(house: House) -> None:
    secrets = state.read_secrets(state.locate(house.settings))
    programs = airflow_programs.programs(house.settings, state.locate(house.settings), secrets)
    environment = next(dict(each.environment) for each in programs if each.name == airflow_programs.SCHEDULER)
    url = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO log (dttm, event) VALUES (now() - interval '200 days', 'long ago')")
        connection.execute("INSERT INTO log (dttm, event) VALUES (now() - interval '10 days', 'lately')")

        def events() -> set[str]:
            rows = connection.execute("SELECT event FROM log WHERE event IN ('long ago', 'lately')")
            return {str(row[0]) for row in rows}

        assert cleaned(environment, "--dry-run") >= 1
        assert events() == {"long ago", "lately"}
        assert cleaned(environment) >= 1
        assert events() == {"lately"}
        assert cleaned(environment) == 0
        left = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE tablename LIKE '\\_airflow\\_deleted%'"
        ).fetchone()
        assert left == (0,)


def cleaned(environment: dict[str, str], *arguments: str) -> int:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "clean_airflow.py"), *arguments],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "include")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    rows: int = json.loads(ended.stdout.strip().splitlines()[-1])["rows"]
    return rows
