"""### Every night, an ingest of each source that asks for it

A source is on the clock when its declaration says `schedule = true`. Each gets a run of its own of
`concordance_ingest`, with everything that it has: a plan first, gates, one step of publishing. The runs of different
sources go side by side; this one waits for all of them, and fails if one of them fails.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task

import concordance_airflow as glue
from concordance.settings import load_settings


@task(doc_md="The sources that are declared with `schedule = true`, each with the name of its run.")
def scheduled_sources(*, run_id: Any = None) -> list[dict[str, Any]]:
    from concordance.sources.declaration import load_declarations

    declarations = load_declarations(load_settings())
    return [
        {"trigger_run_id": f"{run_id}__{name}", "conf": {"source": name}}
        for name, declaration in sorted(declarations.items())
        if declaration.schedule
    ]


@dag(
    dag_id="concordance_nightly",
    dag_display_name="Nightly ingest",
    description="Ingest every source whose declaration asks for it",
    doc_md=__doc__,
    # A deployment that is new begins with the next night: left out, Airflow 3.3.2 makes up for the last one as well.
    schedule=CronTriggerTimetable("0 2 * * *", timezone="UTC", run_immediately=timedelta(0)),
    default_args=glue.DEFAULT_ARGS,
    tags=["concordance", "ingest", "nightly"],
    # A night that takes longer than a day is not overtaken by the next.
    max_active_runs=1,
    catchup=False,
    dagrun_timeout=timedelta(hours=40),
)
def concordance_nightly() -> None:
    glue.ingests(
        "ingest",
        scheduled_sources(),
        within=timedelta(hours=38),
        doc_md="One run of `concordance_ingest` for each scheduled source; waits for it without holding a slot.",
    )


concordance_nightly()
