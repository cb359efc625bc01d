"""The scheduler imports for its tasks, libraries and the product; no other Airflow process pays for it, and a task that
finds the product replaced imports the new one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import airflow_local_settings

LIBRARIES = {*airflow_local_settings.SHARED_BY_TASKS, *airflow_local_settings.GATES}
IN_A_FORK = """
import json, os, sys, airflow_local_settings
stamps = airflow_local_settings.share_product()
{between}
if child := os.fork():
    os.waitpid(child, 0)
else:
    there = sorted(name for name in sys.modules if name.partition(".")[0] == "concordance")
    from concordance.pipeline.run import ingest
    print(json.dumps([there, ingest.__module__]), flush=True)
    os._exit(0)
"""


def told_by(script: str, component: str = "tasks") -> list[str]:
    done = subprocess.run([sys.executable, "-c", script, component], check=True, capture_output=True, text=True)
    told: list[str] = json.loads(done.stdout.splitlines()[-1])
    return told


def imported_by(component: str) -> set[str]:
    return set(told_by("import json, sys, airflow_local_settings; print(json.dumps(sorted(sys.modules)))", component))


def test_the_scheduler_imports_what_its_tasks_share_but_no_model_and_no_part_of_airflow() -> None:
    modules = imported_by("scheduler")
    assert modules >= LIBRARIES | set(airflow_local_settings.PRODUCT)
    rooms = {name.partition(".")[0] for name in modules}
    assert not rooms & {"torch", "transformers", "sentence_transformers", "openvino", "airflow", "concordance_airflow"}


@pytest.mark.parametrize("component", ["triggerer", "api-server", "dag-processor", "tasks"])
def test_other_processes_import_nothing(component: str) -> None:
    assert not imported_by(component) & (LIBRARIES | {"concordance"})


def test_a_task_inherits_the_product_as_long_as_it_is_what_the_scheduler_imported() -> None:
    there, _ = told_by(IN_A_FORK.format(between=""))
    assert set(airflow_local_settings.PRODUCT) <= set(there)


@pytest.mark.parametrize(
    "between",
    [
        "stamps[next(iter(stamps))] = (1, 1)",
        "stamps['/a/module/that/is/gone.py'] = (1, 1)",
    ],
    ids=["changed", "gone"],
)
def test_a_task_that_finds_a_module_replaced_imports_all_of_them_anew(between: str) -> None:
    there, again = told_by(IN_A_FORK.format(between=between))
    assert there == []
    assert again == "concordance.pipeline.run"


def test_a_module_that_is_replaced_while_the_scheduler_imports_counts_as_replaced() -> None:
    all_are_newer = "import time; time.time_ns = lambda: 0\n"
    assert told_by(all_are_newer + IN_A_FORK.format(between=""))[0] == []


A_RUN_IS_BOUND = """
import json, sys, types, airflow_local_settings, concordance_lines
airflow_local_settings.share_product()
airflow_local_settings._forget_if_replaced({"/a/module/that/is/gone.py": (1, 1)})
run = types.SimpleNamespace(conf={"correlation_id": "00000000000000ab"})
attempt = types.SimpleNamespace(
    dag_id="concordance_ingest", task_id="plan", run_id="r", try_number=1, map_index=-1,
    get_template_context=lambda: {"dag_run": run},
)
concordance_lines.TaskLines().on_task_instance_running(previous_state=None, task_instance=attempt)
from concordance.operations import correlation
print(json.dumps([correlation.current_id()]))
"""


def test_the_lines_of_a_task_whose_product_was_replaced_still_carry_its_run() -> None:
    assert told_by(A_RUN_IS_BOUND) == ["00000000000000ab"]
