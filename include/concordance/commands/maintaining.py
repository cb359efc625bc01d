"""`maintain`: what nothing needs any more goes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from concordance.commands.common import Add, adapters_of, add_json
from concordance.commands.output import print_json, print_lines, print_table


def add_commands(add: Add) -> None:
    parser = add(
        "maintain",
        maintain,
        help="remove what nothing needs any more: artefacts, the ledger's past, results of gates, logs",
        description="Remove what is older than the settings named *_retention_* allow, and what no rollback, replay, "
        "repair or audit needs. May be ended at any moment and run beside ingests. In the environment of Airflow's own "
        "services its database is cleaned too; the DAG concordance_maintenance does the rest every day.",
    )
    parser.add_argument("--dry-run", action="store_true", help="count what would go, and remove nothing")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="remove old files below this folder of logs too")
    add_json(parser)


def maintain(arguments: argparse.Namespace) -> int:
    from concordance.expiry.airflow_tables import clean_airflow, reaches_airflow
    from concordance.expiry.maintain import maintain as expire

    with adapters_of(arguments) as (adapters, settings):
        done = expire(adapters=adapters, settings=settings, dry_run=arguments.dry_run, log_folder=arguments.logs)
        removed = dict(done.removed)
        if reaches_airflow(os.environ):
            removed["airflow_rows"] = clean_airflow(settings, os.environ, dry_run=arguments.dry_run)
    if arguments.json:
        print_json({**done.as_json(), "removed": removed})
        return 0
    print_table(
        ("what", "would go #" if arguments.dry_run else "removed #"), sorted(removed.items()), title="Maintenance"
    )
    if not done.is_done:
        print_lines(("Its time was over before it was done: the next one goes on", "bold"))
    return 0
