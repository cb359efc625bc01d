"""Read by every Airflow process when it starts (Airflow's own hook): the scheduler imports the heavy libraries once.

`LocalExecutor` forks a process for each task from the scheduler's workers. What the scheduler has imported, no task
imports again: that saves two seconds a task, and six in the gates. Only libraries are named here, never the product's
own modules: those may be replaced while the scheduler runs, and a task then reads the new ones.
"""

from __future__ import annotations

import importlib
import logging
import sys

__all__: list[str] = []  # nothing here overrides a setting of Airflow

SHARED_BY_TASKS = ("psycopg", "neo4j", "qdrant_client", "pandas", "pyarrow.parquet")
GATES = ("great_expectations", "great_expectations.expectations")


def import_shared_libraries() -> None:
    """Import what most tasks need. One that is missing is a broken installation and stops the scheduler here."""
    # It tells of each function that it does not document.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    for library in (*SHARED_BY_TASKS, *GATES):
        importlib.import_module(library)


if sys.argv[1:2] == ["scheduler"]:
    import_shared_libraries()
