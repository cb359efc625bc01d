"""Every metric through a real statsd_exporter with the deployment's mapping: names, types, tags and values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from concordance.ledger import Ledger
from concordance.operations import telemetry
from concordance.operations.metrics import METRICS, Kind, Metric
from concordance.parsing.parser import Parser
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import ROOT, Settings
from simulation.world import SOURCE, World, quick_settings
from support.airflow_home import airflow_environment
from support.ledgers import connect
from support.monitoring import Exporter, Page, figures, own_names, reported

# Sent last: it is on the page when all others are.
LAST = "index.dropped"
TYPES = {Kind.COUNTER: "counter", Kind.GAUGE: "gauge", Kind.TIMER: "histogram"}


@pytest.fixture
def statsd(exporter: Exporter) -> Iterator[Exporter]:
    """The product is configured to send to the exporter."""
    telemetry.configure(Settings(statsd_host="127.0.0.1", statsd_port=exporter.udp_port))
    yield exporter
    telemetry.close()


def values() -> list[tuple[Metric, int, dict[str, str]]]:
    """A value of its own for each metric, and tags with every character that a tag may have."""
    return [
        (metric, number, {tag: f"{tag}-{number}_a.B" for tag in metric.tags})
        for number, metric in enumerate(METRICS.values(), start=1)
        if metric.name != LAST
    ]


def check(page: Page) -> None:
    """The page shows exactly `values()`, each once; timers were sent in milliseconds and are shown in seconds."""
    for metric, number, tags in values():
        name = metric.prometheus
        assert page.types[name] == TYPES[metric.kind], name
        if metric.kind is Kind.TIMER:
            assert page.value(f"{name}_sum", **tags) == pytest.approx(number / 1000), name
            assert page.value(f"{name}_count", **tags) == 1, name
        else:
            assert page.value(name, **tags) == number, name
            assert len(page.values[name]) == 1, name
    shown = {name for name in own_names(page) if name.startswith("concordance_")}
    assert shown == {metric.prometheus for metric in METRICS.values()}


def test_every_metric_of_the_product_arrives_by_its_name_type_tags_and_value(statsd: Exporter) -> None:
    for metric, number, tags in values():
        if metric.kind is Kind.COUNTER:
            telemetry.count(metric.name, number, **tags)
        elif metric.kind is Kind.GAUGE:
            telemetry.gauge(metric.name, number, **tags)
        else:
            telemetry.timing(metric.name, number / 1000, **tags)
    telemetry.count(LAST)
    check(statsd.settled(LAST))


def test_every_metric_is_the_same_when_airflows_client_carries_it(exporter: Exporter, tmp_path: Path) -> None:
    sent = [(metric.name, number, tags) for metric, number, tags in values()]
    (tmp_path / "sent.json").write_text(json.dumps([*sent, (LAST, 1, {})]))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "send_airflow_metrics.py"), str(tmp_path / "sent.json")],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT / "include"),
            **airflow_environment(tmp_path),
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(exporter.udp_port),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    page = exporter.settled(LAST)
    check(page)
    airflows_own_are_named_alike_and_carry_no_id_of_a_run(page)


def airflows_own_are_named_alike_and_carry_no_id_of_a_run(page: Page) -> None:
    assert page.value("airflow_scheduler_heartbeat_total") == 1
    assert page.value("airflow_pool_open_slots", pool_name="default_pool") == 7
    task = {"dag_id": "concordance_ingest", "task_id": "load"}
    assert page.value("airflow_ti_finish_total", **task, state="success") == 1
    assert page.value("airflow_task_duration_seconds_sum", **task) == 1.5
    # The older names, with ids glued into them, are off, and no tag has one.
    assert not [name for name in own_names(page) if "ingest" in name]
    assert not [labels for series in page.values.values() for labels in series if "run_id" in dict(labels)]


def test_what_nobody_declared_does_not_become_a_metric(statsd: Exporter) -> None:
    import statsd as library

    stranger = library.StatsClient("127.0.0.1", statsd.udp_port, prefix="somebody")
    stranger.incr("else")
    stranger.close()
    telemetry.count("search.answered")
    page = statsd.settled("search.answered")
    assert own_names(page) == {"concordance_search_answered_total"}


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> World:
    world = World(ledger, quick_settings(stack), seed=0, parser=parser)
    world.shelf.documents |= {f"good-{n}.md": f"# Good {n}\n\nA stone in the river, number {n}.\n" for n in range(8)}
    # One that quarantine gets: there is no text in it.
    world.shelf.documents["empty.md"] = " \n"
    return world


def test_the_metrics_of_whole_runs_are_the_ledgers_figures_exactly(statsd: Exporter, world: World) -> None:
    first = run(world, "first")
    telemetry.count("search.answered")
    after_first = statsd.settled("search.answered")
    equals_the_report(after_first, first, world)
    world.shelf.documents["good-0.md"] += "\nAnd a lantern.\n"
    del world.shelf.documents["good-1.md"]
    second = run(world, "second")
    telemetry.count(LAST)
    equals_the_report(statsd.settled(LAST).since(after_first), second, world)


def run(world: World, run_id: str) -> RunReport:
    """A whole run, gates included."""
    return ingest(RunRequest(SOURCE, run_id, approved=True), adapters=world.adapters, settings=world.settings)


def equals_the_report(page: Page, report: RunReport, world: World) -> None:
    """What was counted is what the ledger says of the run, neither more nor less."""
    with connect(world.settings) as connection:
        row = connection.execute("SELECT report FROM runs WHERE run_id = %s", [report.run_id]).fetchone()
    assert row is not None
    kept = row[0]["counts"]  # type: ignore[index]
    assert kept == report.counts
    assert figures(page, SOURCE) == reported(kept)
    stages = page.by("concordance_stage_finished_total", "stage", source=SOURCE)
    assert set(stages.values()) == {1}
    assert page.by("concordance_stage_duration_seconds_count", "stage", source=SOURCE) == stages
