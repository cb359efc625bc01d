"""Alerts through a real Airflow: each kind fires once, while it is still wrong, within ten seconds, and says when it is
over; nothing else fires."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from concordance.local import state, supervision
from concordance.operations.alerts import Alert, AlertKind
from concordance.watching.watch import watchers_of
from support.house import DAG, House
from support.ledgers import connect
from support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PROMISED_SECONDS = 10
NOTE = "# A note\n\nIt says that a watch stands outside of what it watches.\n"


@pytest.fixture(scope="module", autouse=True)
def _warm(house: House) -> None:
    """A first task of a new Airflow takes long to begin; what is measured here is how soon is told what lasts."""
    assert house.run("desk").state == "success"


def in_time(alert: Alert) -> None:
    assert 0 <= (alert.fired_at - alert.breach.since).total_seconds() < PROMISED_SECONDS


def only(house: House, run_id: str, kind: AlertKind) -> None:
    assert [alert.breach.kind for alert in house.alerts(run_id)] == [kind]


def told(house: House, alert: Alert) -> list[str]:
    return [each["happening"] for each in house.hook.notices if each["alert_id"] == str(alert.alert_id)]


@contextmanager
def no_plan_can_be_made(house: House) -> Iterator[None]:
    """Whoever makes a plan waits, and goes on with the end of the block."""
    with connect(house.settings) as connection, connection.transaction():
        connection.execute("LOCK TABLE plan_documents IN ACCESS EXCLUSIVE MODE")
        yield


def running_plan(house: House, run_id: str) -> int:
    """The process of the run's first task, once it works."""

    def pid() -> int | None:
        (task,) = [task for task in house.api.run(DAG, run_id).tasks if task.task_id == "plan"]
        return task.pid if task.state == "running" else None

    return wait_for(pid, seconds=120, what="the plan task")


def test_a_slow_stage_is_told_of_by_its_own_process_while_it_runs_and_again_when_it_is_done(
    house: House, documents: Callable[..., Path]
) -> None:
    documents("crawling", note=NOTE)
    with no_plan_can_be_made(house):
        run_id = house.api.trigger(DAG, {"source": "crawling"})
        alert = house.alert("attempt_slow", run_id)
        in_time(alert)
        assert not house.api.run(DAG, run_id).is_done
        wait_for(lambda: told(house, alert) == ["fired"], what="the webhook")
    ended = house.finished(run_id)
    assert ended.state == "success", house.why(ended)
    subject = alert.breach.subject
    assert dict(subject) == {"dag": DAG, "run": run_id, "stage": "plan", "attempt": "1", "source": "crawling"}
    assert alert.breach.link.endswith(f"/dags/{DAG}/runs/{quote(run_id, safe='')}/tasks/plan")
    assert "the attempt ended (success)" in house.recovered(alert).ended
    wait_for(lambda: told(house, alert) == ["fired", "recovered"], what="the webhook")
    only(house, run_id, AlertKind.ATTEMPT_SLOW)


def test_a_hung_process_is_told_of_from_outside_and_its_alert_ends_with_the_kill(
    house: House, documents: Callable[..., Path]
) -> None:
    documents("crawling", other=NOTE.replace("A note", "Another one"))
    with no_plan_can_be_made(house):
        run_id = house.api.trigger(DAG, {"source": "crawling"})
        pid = running_plan(house, run_id)
        # Not even the thread that would tell of it runs on.
        os.kill(pid, signal.SIGSTOP)
        alert = house.alert("attempt_slow", run_id)
        in_time(alert)
    os.kill(pid, signal.SIGKILL)
    assert "what was wrong is gone" in house.recovered(alert).ended
    ended = house.finished(run_id)
    assert ended.state == "success", house.why(ended)
    assert [task.try_number for task in ended.tasks if task.task_id == "plan"] == [2]
    only(house, run_id, AlertKind.ATTEMPT_SLOW)


def test_a_stage_that_never_starts_is_late_though_no_process_of_it_ever_ran(
    house: House, documents: Callable[..., Path]
) -> None:
    documents("queueing", note=NOTE)
    pool = "/api/v2/pools/default_pool"
    slots = house.api.call("GET", pool)["slots"]
    house.api.call("PATCH", f"{pool}?update_mask=slots", {"name": "default_pool", "slots": 0})
    try:
        run_id = house.api.trigger(DAG, {"source": "queueing"})
        alert = house.alert("stage_late", run_id)
        in_time(alert)
        assert "plan" in alert.breach.actual
        (task,) = [task for task in house.api.run(DAG, run_id).tasks if task.task_id == "plan"]
        assert task.pid is None
    finally:
        house.api.call("PATCH", f"{pool}?update_mask=slots", {"name": "default_pool", "slots": slots})
    assert house.finished(run_id).state == "success"
    house.recovered(alert)
    only(house, run_id, AlertKind.STAGE_LATE)


def test_a_run_that_fails_is_told_of_until_a_later_one_succeeds(house: House, documents: Callable[..., Path]) -> None:
    documents("failing", note=NOTE)
    failed = house.run("failing", sauce="extra")
    assert failed.state == "failed"
    alert = house.alert("run_failed", failed.run_id)
    in_time(alert)
    assert "plan failed" in alert.breach.actual
    assert house.run("failing").state == "success"
    house.recovered(alert)
    only(house, failed.run_id, AlertKind.RUN_FAILED)
    wait_for(lambda: told(house, alert) == ["fired", "recovered"], what="the webhook")


def test_a_run_that_is_late_is_told_of_though_the_triggerer_is_dead(house: House) -> None:
    with house.held("held"), stopped(house, "airflow-triggerer"):
        run_id = house.api.trigger(DAG, {"source": "held"})
        alert = house.alert("run_late", run_id)
        in_time(alert)
        if any(AlertKind.TRIGGERER_SILENT in watcher.kinds for watcher in watchers_of(house.settings).values()):
            house.expected.add(("triggerer_silent", ""))
            silent = wait_for(lambda: of_kind(house, AlertKind.TRIGGERER_SILENT), seconds=120, what="the triggerer")
            assert [each.recovered_at for each in silent] == [None]
        house.api.end(DAG, run_id)
    house.recovered(alert)
    for each in of_kind(house, AlertKind.TRIGGERER_SILENT):
        house.recovered(each)


def of_kind(house: House, kind: AlertKind) -> list[Alert]:
    return [alert for alert in house.alerts() if alert.breach.kind is kind]


@contextmanager
def stopped(house: House, program: str) -> Iterator[None]:
    """The program stands still, with its children."""
    known = supervision.ask(state.locate(house.settings))
    assert known is not None
    top = psutil.Process(known[program].pid)
    processes = [top, *top.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()
