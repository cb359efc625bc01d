"""The scheduler imports the heavy libraries for its tasks; no other Airflow process pays for them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import airflow_local_settings

LIBRARIES = {*airflow_local_settings.SHARED_BY_TASKS, *airflow_local_settings.GATES}


def imported_by(component: str) -> set[str]:
    script = "import json, sys, airflow_local_settings; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script, component], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_scheduler_imports_the_libraries_and_none_of_the_products_modules() -> None:
    modules = imported_by("scheduler")
    assert modules >= LIBRARIES
    assert not {name for name in modules if name.split(".")[0] in ("concordance", "concordance_airflow")}


@pytest.mark.parametrize("component", ["triggerer", "api-server", "dag-processor", "tasks"])
def test_other_processes_import_nothing(component: str) -> None:
    assert not imported_by(component) & LIBRARIES
