"""### Try documents in quarantine again

Trigger it after the cause is gone: a source that was repaired, a limit that was raised. The form chooses by source, by
reason and by age; what a person dismissed is left out. Each source gets a run of its own of `concordance_ingest` with
*Only documents in quarantine*: the same stages and gates as for any document, and nothing else of the source is
touched. This run waits for all of them, and fails if one of them fails.

A document that is rejected again stays where it was, with one attempt more. `python -m concordance quarantine list`
shows what is there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag

import concordance_airflow as glue
import concordance_forms as forms
from concordance.operations import correlation
from concordance.pipeline.conf import ReplayConf, checked_conf
from concordance.settings import load_settings
from concordance.sources.declaration import load_declarations

SOURCES = load_declarations(load_settings())


@glue.task(doc_md="The declared sources that have something of what is meant, each with the name and conf of its run.")
def sources_with_quarantine(*, run_id: Any = None, params: Any = None, dag_run: Any = None) -> list[dict[str, Any]]:
    conf = checked_conf(ReplayConf, dag_run.conf, params)
    with glue.opened() as opened:
        counts = opened.adapters.ledger.quarantine.count(conf.meant(conf.source))
        return [
            {
                "trigger_run_id": f"{run_id}__{source}",
                "conf": {**conf.run_conf(source), "correlation_id": correlation.for_run(run_id)},
            }
            for source in counts
            if source in opened.adapters.declarations
        ]


@dag(
    dag_id="concordance_quarantine_replay",
    dag_display_name="Replay the quarantine",
    description="Try rejected documents again, through all stages and gates",
    doc_md=__doc__,
    schedule=None,
    params={
        "source": Param(
            None,
            type=["null", "string"],
            enum=[None, *sorted(SOURCES)],
            title="Source",
            description_md="One of the declared sources; empty: all of them.",
        ),
        **forms.quarantine_form(),
    },
    default_args=glue.DEFAULT_ARGS,
    tags=["concordance", "quarantine"],
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=14),
    deadline=glue.deadline("concordance_quarantine_replay"),
)
def concordance_quarantine_replay() -> None:
    glue.ingests(
        "replay",
        sources_with_quarantine(),
        within=timedelta(hours=13),
        doc_md="One run of `concordance_ingest` for each source; waits for it without holding a slot.",
    )


concordance_quarantine_replay()
