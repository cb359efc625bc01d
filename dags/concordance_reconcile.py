"""### Every hour, do ledger, graph and vectors agree?

Reads every row of both stores in every index version that is kept and compares it with the ledger, while ingests go on.
What differs is put right where that is safe: rows are written again from the artefacts or the other store, rows of
nobody are removed, sweeps that are due are done. A document that can only be loaded anew is marked, and the next ingest
of its source loads it. **The task fails when anything is left**: its log and its result name what, and where.
`python -m concordance verify` shows the same at any time; the counters are `verify.*` and `repair.*`. Index versions
that are to go are deleted once the readers' grace has passed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag

import concordance_airflow as glue


@glue.task(
    pool=glue.LOAD_POOL.name,
    retries=2,
    # One reading of a million chunks takes minutes; a repair reads several times.
    execution_timeout=timedelta(hours=2),
    doc_md="Verify everything, put right what is safe, fail on what is left. The result holds counts and ids only.",
)
def reconcile() -> dict[str, Any]:
    from concordance.consistency.hourly import reconcile as compare_and_repair

    with glue.opened() as house:
        return compare_and_repair(adapters=house.adapters, settings=house.settings)


@glue.task(
    execution_timeout=timedelta(hours=2),
    doc_md="Deletes index versions whose time is over from the stores and the ledger, in small steps.",
)
def drop() -> dict[str, Any]:
    from concordance.reindex.drop import drop_due

    with glue.opened() as house:
        return drop_due(adapters=house.adapters, settings=house.settings).as_json()


@dag(
    dag_id="concordance_reconcile",
    dag_display_name="Reconcile the stores",
    description="Compare ledger, graph and vectors; put right what is safe",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("20 * * * *", timezone="UTC", run_immediately=timedelta(0)),
    default_args=glue.DEFAULT_ARGS,
    tags=["concordance", "reconcile"],
    # An hour that takes longer is not overtaken by the next.
    max_active_runs=1,
    catchup=False,
    dagrun_timeout=timedelta(hours=3),
    deadline=glue.deadline("concordance_reconcile"),
)
def concordance_reconcile() -> None:
    # Drift in what is kept does not keep what is to go.
    drop()
    reconcile()


concordance_reconcile()
