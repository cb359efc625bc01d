"""What Airflow keeps of runs whose documents are marked: lines that lead by one id, and nothing that documents say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from concordance.local import state
from concordance.operations import correlation
from support import marks
from support.house import DAG, House
from support.ledgers import connect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_every_line_of_a_run_has_its_id_and_none_says_what_a_document_says(
    house: House, documents: Callable[..., Path]
) -> None:
    folder = documents("marked", **{f"note_{number}": marks.markdown(number) for number in range(3)})
    for number in range(4):
        marks.wordless(folder / f"wordless_{number}.md")
    by_a_program = "fedcba9876543210"
    ended = house.run("marked", correlation_id=by_a_program)
    # More than a run may reject: the first gate fails.
    assert ended.state == "failed"
    every_line_of_its_tasks_has_the_id(house, ended.run_id, by_a_program)
    every_program_has_seen_the_id(house, ended.run_id, by_a_program)
    (folder / "wordless_3.md").unlink()
    whole = house.run("marked")
    assert whole.state == "success", house.why(whole)
    every_line_of_its_tasks_has_the_id(house, whole.run_id, correlation.of_run(whole.run_id))
    nothing_of_the_documents_is_in_logs_or_between_tasks(house, (ended.run_id, whole.run_id))


def lines_of(house: House, run_id: str) -> Iterator[dict[str, Any]]:
    """The tasks' lines, as Airflow keeps them."""
    folder = house.settings.state_dir / "airflow" / "logs" / f"dag_id={DAG}" / f"run_id={run_id}"
    for path in sorted(folder.rglob("*.log")):
        for line in path.read_text().splitlines():
            yield json.loads(line)


def every_line_of_its_tasks_has_the_id(house: House, run_id: str, wanted: str) -> None:
    ours = [line for line in lines_of(house, run_id) if line.get("logger", "").startswith("concordance.")]
    assert "a stage is done" in {line["event"] for line in ours}
    assert {line["correlation_id"] for line in ours} == {wanted}
    assert {line["run"] for line in ours} == {run_id}
    assert all(line["document_id"] and line["reason"] for line in ours if line["event"] == "a document is quarantined")
    assert all(line["error"] == "GateFailed" for line in ours if line["event"] == "a stage failed")


def every_program_has_seen_the_id(house: House, run_id: str, wanted: str) -> None:
    """Of the run whose gate failed."""
    told = [line["event"] for line in lines_of(house, run_id)]
    # Airflow's own lines pass the checks as well: what a task returns is cut.
    assert any(line.startswith("Done. Returned value was") and line.endswith(" characters)") for line in told)
    assert told.count("a document is quarantined") == 4
    assert "a stage failed" in told
    assert f'"correlation_id": "{wanted}"' in house.log("vectors")
    with connect(house.settings) as connection:
        asked = "SELECT request ->> 'correlation_id' FROM runs WHERE run_id = %s"
        assert connection.execute(asked, [run_id]).fetchone() == (wanted,)


def nothing_of_the_documents_is_in_logs_or_between_tasks(house: House, runs: tuple[str, ...]) -> None:
    place = state.locate(house.settings)
    folders = (place.path / "airflow" / "logs", place.logs)
    files = [path for folder in folders for path in folder.rglob("*")] + list((place.path / "graph").rglob("*.log*"))
    assert len(files) > 20
    assert marks.found(files, marks=marks.MARKS.values()) == []
    assert marks.found(files, marks=state.read_secrets(place).values()) == []
    handed_on = [json.dumps(entry) for run_id in runs for entry in between_tasks(house, run_id)]
    assert handed_on
    assert [entry for entry in handed_on if any(mark in entry for mark in marks.MARKS.values())] == []


def between_tasks(house: House, run_id: str) -> Iterator[Any]:
    """What the run's tasks hand to each other, as Airflow gives it out."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/"
    for entry in house.api.call("GET", f"{path}~/xcomEntries?limit=1000")["xcom_entries"]:
        of_task = f"{path}{entry['task_id']}/xcomEntries/{quote(entry['key'], safe='')}?map_index={entry['map_index']}"
        yield house.api.call("GET", of_task)["value"]
