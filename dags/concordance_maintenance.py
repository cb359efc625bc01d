"""### Remove what nothing needs any more

Every night: staged artefacts that no kept index version, no run that can be taken up or cleared and no document in
quarantine needs; ended plans and runs, results of gates and alerts beyond their time; log files of Airflow. How long
each is kept is a setting (`*_retention_*`). What a rollback, a replay, a repair or an audit needs stays, whatever its
age. The form's *dry run* counts what would go. The result says what was removed, by kind; the counter is
`maintenance.removed`.

Airflow's own database is not touched: a task may not. `deploy/clean_airflow.py` cleans it, as a service of
docker-compose.yml or by `python -m concordance maintain`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag

import concordance_airflow as glue


@glue.task(
    retries=2,
    # What is left when its time (`maintenance_seconds`) is over goes the next night.
    execution_timeout=timedelta(hours=2),
    doc_md="Removes in small steps what has expired; may be killed at any moment. The result holds counts only.",
)
def expire(*, params: Any = None) -> dict[str, Any]:
    from pathlib import Path

    from airflow.sdk.configuration import conf

    from concordance.expiry.maintain import maintain

    with glue.opened() as house:
        return maintain(
            adapters=house.adapters,
            settings=house.settings,
            dry_run=params["dry_run"],
            log_folder=Path(conf.get("logging", "base_log_folder")),
        ).as_json()


@dag(
    dag_id="concordance_maintenance",
    dag_display_name="Remove what nobody needs",
    description="Expire artefacts, the ledger's past, results of gates and logs",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("40 4 * * *", timezone="UTC", run_immediately=timedelta(0)),
    params={
        "dry_run": Param(
            False, type="boolean", title="Dry run", description_md="Count what would go, and remove nothing."
        )
    },
    default_args=glue.DEFAULT_ARGS,
    tags=["concordance", "maintenance"],
    max_active_runs=1,
    catchup=False,
    dagrun_timeout=timedelta(hours=3),
    deadline=glue.deadline("concordance_maintenance"),
)
def concordance_maintenance() -> None:
    expire()


concordance_maintenance()
