"""An attempt that runs too long is told of by its own process, while it runs; nothing of that reaches the task."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import structlog

from concordance.ledger import Ledger
from concordance.operations import correlation
from concordance.operations.alerts import Alert, AlertKind
from concordance.settings import Settings
from concordance.watching import late
from support.stacks import free_ports
from support.waiting import wait_for

DAG = "concordance_ingest"
LIMITS = """
[[sla]]
dag = "concordance_ingest"
run_seconds = 60
[[sla]]
dag = "concordance_ingest"
stage = "load"
attempt_seconds = 0.2
[[sla]]
dag = "concordance_ingest"
stage = "load"
source = "archive"
attempt_seconds = 3600
"""


@pytest.fixture
def attempts(glue: ModuleType, stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The glue of a task's process: short limits, and the connection to the session's ledger."""
    limits = tmp_path / "slas.toml"
    limits.write_text(LIMITS)
    monkeypatch.setenv("AIRFLOW__CONCORDANCE__SLAS_FILE", str(limits))
    monkeypatch.setenv("AIRFLOW__CONCORDANCE__ALERT_CHANNELS", "log")
    connect_to(stack.postgres_port, stack, monkeypatch)
    return importlib.import_module("concordance_attempts")


def connect_to(port: int, stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    password = stack.ledger_password.get_secret_value()
    address = {"host": "127.0.0.1", "port": port, "login": "concordance", "schema": "concordance"}
    connection = {"conn_type": "postgres", "password": password, **address}
    monkeypatch.setenv("AIRFLOW_CONN_CONCORDANCE_LEDGER", json.dumps(connection))


def task(stage: str = "load", *, source: str = "notes", dag: str = DAG, **given: Any) -> SimpleNamespace:
    """As much of a running task as Airflow hands to a listener."""
    run = SimpleNamespace(conf={"source": source})
    return SimpleNamespace(
        dag_id=dag,
        run_id="r",
        task_id=stage,
        map_index=given.get("map_index", -1),
        try_number=2,
        start_date=datetime.now(UTC),
        get_template_context=lambda: {"dag_run": run},
    )


def watching_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "concordance-sla"]


def only_alert(ledger: Ledger) -> Alert | None:
    return next(iter(ledger.alerting.recent(limit=2)), None)


def test_it_fires_while_the_attempt_runs_and_is_over_with_its_outcome_when_it_ends(
    attempts: ModuleType, ledger: Ledger
) -> None:
    attempts.began(task(map_index=3))
    alert = wait_for(lambda: only_alert(ledger), what="the alert")
    assert alert.recovered_at is None
    assert dict(alert.breach.subject) == {
        "dag": DAG,
        "run": "r",
        "stage": "load",
        "shard": "3",
        "attempt": "2",
        "source": "notes",
    }
    assert alert.breach.expected == "at most 0.2 s for one attempt"
    attempts.ended("failed")
    (over,) = ledger.alerting.recent(limit=2)
    assert over.recovered_at is not None
    assert over.ended.startswith("the attempt ended (failed) after ")
    assert watching_threads() == []


def test_what_its_thread_logs_carries_the_ids_of_the_task(attempts: ModuleType, ledger: Ledger) -> None:
    told: list[str] = []

    class Ids(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(correlation.current_id())

    handler = Ids()
    channel = logging.getLogger("concordance.operations.channels")
    channel.addHandler(handler)
    try:
        with correlation.bound(correlation_id="0123456789abcdef"):
            attempts.began(task())
        wait_for(lambda: told, what="the line of the alert")
        attempts.ended("success")
    finally:
        channel.removeHandler(handler)
    assert set(told) == {"0123456789abcdef"}


def test_an_attempt_in_time_asks_for_no_connection_and_leaves_no_thread(
    attempts: ModuleType, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CONCORDANCE_LEDGER")
    attempts.began(task(source="archive"))
    assert watching_threads() == ["concordance-sla"]
    attempts.ended("success")
    assert watching_threads() == []
    assert ledger.alerting.recent(limit=1) == []


@pytest.mark.parametrize("without", [task("plan"), task(dag="concordance_reconcile"), task(dag="somebody_elses")])
def test_a_task_without_a_limit_gets_no_thread(attempts: ModuleType, without: SimpleNamespace) -> None:
    attempts.began(without)
    assert watching_threads() == []
    attempts.ended("success")


def test_a_ledger_that_is_away_a_wrong_file_and_a_task_that_says_nothing_fail_nobody(
    attempts: ModuleType, stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    connect_to(free_ports(1)[0], stack, monkeypatch)
    monkeypatch.setenv("AIRFLOW__CONCORDANCE__RETRY_ATTEMPTS", "1")
    attempts.began(task())
    wait_for(lambda: not watching_threads(), what="the end of the thread that could not tell")
    attempts.ended("success")
    attempts.began(SimpleNamespace(dag_id=DAG))
    attempts.ended("success")
    (tmp_path / "slas.toml").write_text("[[sla")
    attempts.began(task())
    attempts.ended("success")
    assert ledger.alerting.recent(limit=1) == []


def test_an_alert_that_the_watch_raised_first_is_not_raised_again_but_ended_by_the_process(
    attempts: ModuleType, ledger: Ledger
) -> None:
    slow = task()
    slow.start_date -= timedelta(seconds=60)
    instance = late.Instance(DAG, "r", "load", -1, "running", 2, slow.start_date)
    seen = late.slow_attempt(instance, "notes", 0.2, now=datetime.now(UTC), page_url="")
    ledger.alerting.fire(seen, alert_id=uuid4(), channels=())
    attempts.began(slow)
    attempts.ended("success")
    (alert,) = ledger.alerting.recent(limit=2)
    assert alert.ended.startswith("the attempt ended (success) after 6")


def said_of(**given: Any) -> dict[str, Any]:
    """What a deadline's callback is told of a run that began two minutes ago."""
    began = (datetime.now(UTC) - timedelta(seconds=120)).isoformat()
    run = {"dag_id": DAG, "dag_run_id": "r", "state": "running", "run_after": began, "queued_at": began}
    return {"dag_run": {**run, "conf": {"source": "notes"}, **given}, "deadline": {}}


def test_a_deadline_raises_the_alert_of_the_run_once(glue: ModuleType, attempts: ModuleType, ledger: Ledger) -> None:
    for _ in range(2):
        with structlog.testing.capture_logs() as lines:
            assert asyncio.run(glue.run_is_late(context=said_of())) == f"{DAG} r"
        assert "past its deadline" in lines[0]["event"]
        assert lines[0]["correlation_id"] == correlation.of_run("r")
    (alert,) = ledger.alerting.recent(limit=5)
    assert alert.breach.kind is AlertKind.RUN_LATE
    assert alert.breach.key == f"run_late dag={DAG} run=r source=notes"


@pytest.mark.parametrize(
    "given", [{"state": "failed"}, {"state": "success"}, {"queued_at": datetime(2999, 1, 1, tzinfo=UTC).isoformat()}]
)
def test_a_deadline_of_a_run_that_is_done_or_was_cleared_raises_nothing(
    glue: ModuleType, attempts: ModuleType, ledger: Ledger, given: dict[str, str]
) -> None:
    assert asyncio.run(glue.run_is_late(context=said_of(**given))) == "not late"
    assert ledger.alerting.recent(limit=1) == []


def test_the_line_of_a_deadline_carries_an_id_and_nothing_else_that_a_conf_brings(
    glue: ModuleType, attempts: ModuleType, ledger: Ledger
) -> None:
    for brought, carried in (("'; DROP", correlation.of_run("r")), ("0123456789abcdef", "0123456789abcdef")):
        with structlog.testing.capture_logs() as lines:
            asyncio.run(glue.run_is_late(context=said_of(conf={"source": "notes", "correlation_id": brought})))
        assert lines[0]["correlation_id"] == carried


def test_a_deadline_that_comes_late_raises_no_second_alert_of_a_run_that_is_over_but_one_of_a_run_that_was_cleared(
    glue: ModuleType, attempts: ModuleType, ledger: Ledger
) -> None:
    said = said_of()
    asyncio.run(glue.run_is_late(context=said))
    (alert,) = ledger.alerting.recent(limit=5)
    ledger.alerting.recover(alert.alert_id, ended="the run is done", channels=())
    asyncio.run(glue.run_is_late(context=said))
    assert len(ledger.alerting.recent(limit=5)) == 1
    cleared = late.Run.from_json({**said["dag_run"], "queued_at": datetime.now(UTC).isoformat()})
    limits = attempts.slas()
    breach = late.late_run(cleared, limits, now=datetime.now(UTC) + timedelta(seconds=61), page_url="")
    attempts.fire(breach)
    assert len(ledger.alerting.recent(limit=5)) == 2


def test_the_plugin_imports_nothing_of_the_product_for_tasks_that_are_not_ours(glue: ModuleType) -> None:
    plugin = importlib.import_module("concordance_sla")
    listener = plugin.AttemptListener()
    # It would fail on anything but a name.
    listener.on_task_instance_running(None, SimpleNamespace(dag_id="somebody_elses"))
    listener.on_task_instance_success(None, SimpleNamespace())
