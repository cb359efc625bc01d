"""The metrics of a run through a real Airflow, read back from a real statsd_exporter: the ledger's figures exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.house import House
from support.ledgers import connect
from support.monitoring import Exporter, Page, figures, needed, reported
from support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

SOURCE = "measured"
METALS = {metal: f"# {metal.title()}\n\nA metal.\n" for metal in ("copper", "tin", "lead", "iron", "zinc", "gold")}
STAGES = {"plan", "extract", "check_documents", "embed", "check_chunks", "load", "check_stores", "publish", "report"}


@pytest.fixture
def exporter(metrics: Exporter | None) -> Exporter:
    """The exporter to which the session's Airflow sends."""
    needed("statsd_exporter")
    assert metrics is not None
    return metrics


def test_the_metrics_of_a_run_through_airflow_are_the_ledgers_figures(
    house: House, exporter: Exporter, documents: Callable[..., Path]
) -> None:
    folder = documents(SOURCE, **METALS, nothing=" \n")
    first = counted(house, exporter)
    assert (first["committed"], first["quarantined"]) == (6, 1)
    (folder / "tin.md").write_text("# Tin\n\nBronze is copper with it, see [copper](copper.md).\n")
    second = counted(house, exporter)
    assert (second["committed"], second["embedded"]) == (1, 1)
    every_component_shows_its_heartbeat(exporter)


def counted(house: House, exporter: Exporter) -> dict[str, float]:
    """What one run added to the exporter's page, after comparing it with the ledger's report of that run."""
    before = exporter.page()
    ended = house.run(SOURCE)
    assert ended.state == "success", house.why(ended)

    def finished(page: Page) -> dict[str, float]:
        return page.by("concordance_stage_finished_total", "stage", source=SOURCE)

    # The last packet of the last task.
    wait_for(lambda: finished(exporter.page()).get("report", 0) > finished(before).get("report", 0), what="report")
    page = exporter.page().since(before)
    with connect(house.settings) as connection:
        row = connection.execute("SELECT report FROM runs WHERE run_id = %s", [ended.run_id]).fetchone()
    assert row is not None
    assert figures(page, SOURCE) == reported(row[0]["counts"])  # type: ignore[index]
    assert finished(page) == dict.fromkeys(STAGES, 1)
    airflows_own_metrics_name_the_same_tasks(page)
    return figures(page, SOURCE)


def airflows_own_metrics_name_the_same_tasks(page: Page) -> None:
    durations = page.by("airflow_task_duration_seconds_count", "task_id", dag_id="concordance_ingest")
    assert durations.keys() >= STAGES


def every_component_shows_its_heartbeat(exporter: Exporter) -> None:
    before = exporter.page()
    for component in ("scheduler", "triggerer", "dag_processor"):
        name = f"airflow_{component}_heartbeat_total"
        wait_for(lambda name=name: exporter.page().value(name) > before.value(name), seconds=60, what=name)
