"""Sends metrics of the product through Airflow's own client; run as a program, with an Airflow home of its own.

    python send_airflow_metrics.py SENT.json

SENT.json holds name, value and tags of each metric; values in the metric's unit, a timer's in milliseconds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from concordance.operations.metrics import METRICS, Kind
from concordance_airflow import AirflowStats


def main(sent: Path) -> None:
    # As Airflow sets its client up at the start of a task.
    stats.initialize(
        factory=stats_utils.get_stats_factory(), export_legacy_names=conf.getboolean("metrics", "legacy_names_on")
    )
    backend = AirflowStats()
    send = {Kind.COUNTER: backend.increment, Kind.GAUGE: backend.gauge, Kind.TIMER: backend.timing}
    for name, value, tags in json.loads(sent.read_text()):
        send[METRICS[name].kind](name, value, tags)
    # Some of Airflow's own, as its components send them.
    stats.incr("scheduler_heartbeat", 1, 1)
    stats.gauge("pool.open_slots", 7, tags={"pool_name": "default_pool"})
    task = {"dag_id": "concordance_ingest", "task_id": "load", "run_id": "manual__1"}
    stats.incr("ti.finish", tags={**task, "state": "success"})
    stats.timing("task.duration", 1500.0, tags=task)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
