"""An alert while an attempt still runs: a thread in the task's own process, which waits as long as the attempt may run.

Airflow calls the listener (`plugins/concordance_sla.py`) in the process of the task. For a task without a limit nothing
happens but one look into a table. For one with a limit a thread is started that does nothing until the limit is passed:
only then is the ledger's address asked for, through the task's supervisor. That is safe from a thread: one lock holds
each question with its answer (`CommsDecoder.send` of the task SDK 1.3.2). If the attempt ends before, nothing was
opened. Nothing here raises into Airflow, and what is not told here (a process that was killed) the watch tells.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf

if TYPE_CHECKING:
    from uuid import UUID

    from concordance.ledger.alerting import Alerting
    from concordance.operations.alerts import Breach
    from concordance.operations.slas import Slas
    from concordance.settings import Settings
    from concordance.watching.late import Instance

log = logging.getLogger(__name__)

# How long the end of an attempt waits for its alert's end to be told; the watch tells what is left.
_END_SECONDS = 5.0
_current: Attempt | None = None


class Attempt:
    """One attempt and the thread that watches it."""

    def __init__(self, instance: Instance, source: str | None, *, limit_seconds: float) -> None:
        self._instance = instance
        self._source = source
        self._limit_seconds = limit_seconds
        self._ended = threading.Event()
        self._outcome = ""
        # Its lines carry the ids that the task's carry.
        carried = contextvars.copy_context()
        self._thread = threading.Thread(target=carried.run, args=(self._watch,), name="concordance-sla", daemon=True)
        self._thread.start()

    def end(self, outcome: str) -> None:
        """The attempt ended so; an alert that fired is told to be over, if that takes no longer than a moment."""
        self._outcome = outcome
        self._ended.set()
        self._thread.join(_END_SECONDS)

    def _watch(self) -> None:
        started = self._instance.started or datetime.now(UTC)
        passed = (datetime.now(UTC) - started).total_seconds()
        if self._ended.wait(max(0.0, self._limit_seconds - passed)):
            return
        try:
            self._tell(started)
        except Exception as error:
            # Whatever befalls an alert, the task goes on: the watch outside sees the same attempt.
            log.warning("the alert of a slow attempt is left to the watch (%s)", type(error).__name__)

    def _tell(self, started: datetime) -> None:
        from concordance.watching import late

        breach = late.slow_attempt(
            self._instance, self._source, self._limit_seconds, now=datetime.now(UTC), page_url=page_url()
        )
        fire(breach)
        self._ended.wait()
        ran = (datetime.now(UTC) - started).total_seconds()
        recover(breach, f"the attempt ended ({self._outcome}) after {ran:.0f} s")


def began(task_instance: Any) -> None:
    """An attempt begins in this process. Never raises."""
    global _current
    try:
        _current = _watched(task_instance)
    except Exception as error:
        log.warning("this attempt is watched from outside alone (%s: %s)", type(error).__name__, error)


def ended(outcome: str) -> None:
    """The attempt in this process has ended. Never raises; does nothing where none is watched."""
    global _current
    attempt, _current = _current, None
    if attempt is not None:
        attempt.end(outcome)


def _watched(task_instance: Any) -> Attempt | None:
    limits = slas()
    if task_instance.dag_id not in limits.dags:
        return None
    from concordance.watching import late

    source = late.source_of(task_instance.get_template_context()["dag_run"].conf)
    limit = limits.attempt_seconds(task_instance.dag_id, source).get(task_instance.task_id)
    if limit is None:
        return None
    instance = late.Instance(
        dag=task_instance.dag_id,
        run_id=task_instance.run_id,
        stage=task_instance.task_id,
        map_index=-1 if task_instance.map_index is None else task_instance.map_index,
        state="running",
        attempt=task_instance.try_number,
        started=task_instance.start_date,
    )
    return Attempt(instance, source, limit_seconds=limit)


def slas() -> Slas:
    """The declared limits. Raises `Misconfigured`."""
    from concordance.operations.slas import load_slas
    from concordance.settings import load_settings

    return load_slas(load_settings())


def page_url() -> str:
    """Where people find Airflow, as the watch names it too."""
    from concordance.settings import load_settings

    return load_settings().airflow_page_url or str(conf.get("api", "base_url", fallback="")).rstrip("/")


def late_run(dag_run: Mapping[str, Any]) -> Breach | None:
    """Whether a run is late now, from what a deadline's callback is told of it. Raises `Misconfigured`."""
    from concordance.watching import late

    run = late.Run.from_json(dag_run)
    return late.late_run(run, slas(), now=datetime.now(UTC), page_url=page_url())


def fire(breach: Breach) -> UUID | None:
    """Fire the alert of this breach and deliver it; its id, or None if one is open already, or was and has recovered
    since the limit was passed: whoever comes late with an old picture tells nothing again. Raises what the ledger
    raises."""
    from concordance.watching import delivery

    with _outbox() as (alerting, settings):
        alert_id = delivery.fire(breach, alerting=alerting, settings=settings, looked_at=breach.since)
        if alert_id is not None:
            delivery.deliver(alerting=alerting, settings=settings, alert_id=alert_id)
        return alert_id


def recover(breach: Breach, why: str) -> None:
    """What was wrong is over: say so of the alert that is open for it, whoever raised it. Raises what the ledger
    raises."""
    from concordance.watching import delivery

    with _outbox() as (alerting, settings):
        for alert in alerting.open().alerts:
            if alert.breach.key == breach.key:
                delivery.recover(alert.alert_id, ended=why, alerting=alerting, settings=settings)
                delivery.deliver(alerting=alerting, settings=settings, alert_id=alert.alert_id)


@contextmanager
def _outbox() -> Iterator[tuple[Alerting, Settings]]:
    """The outbox of the ledger that Airflow's connection names, with metrics to Airflow's own client."""
    from concordance.ledger import open_ledger
    from concordance.operations import telemetry
    from concordance_airflow import AirflowStats
    from concordance_connections import ledger_settings

    telemetry.use(AirflowStats())
    settings = ledger_settings()
    ledger = open_ledger(settings)
    try:
        yield ledger.alerting, settings
    finally:
        ledger.close()
