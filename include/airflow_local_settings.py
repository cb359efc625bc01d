"""Read by every Airflow process when it starts (Airflow's own hook): the scheduler imports for its tasks, once.

`LocalExecutor` forks a process for each task from the scheduler's workers. What the scheduler has imported, no task
imports again: of libraries that saves two seconds a task, and six in the gates; of the product's own modules a quarter
of a second. Those may be replaced while the scheduler runs: a forked process that finds one of their files changed
forgets all of them, and imports the new ones.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time

__all__: list[str] = []  # nothing here overrides a setting of Airflow

SHARED_BY_TASKS = ("psycopg", "neo4j", "qdrant_client", "pandas", "pyarrow.parquet", "tokenizers")
GATES = ("great_expectations", "great_expectations.expectations")
# With what they import: all that a task of a run needs but for the encoder. None of them knows Airflow, which is not
# ready to be imported yet when it reads this file.
PRODUCT = (
    "concordance.pipeline.run",
    "concordance.pipeline.rehearse",
    "concordance.pipeline.conf",
    "concordance.operations.logs",
    "concordance.operations.slas",
    "concordance.stores.neo4j_store",
    "concordance.stores.qdrant_store",
    "concordance.watching.late",
)

_Stamp = tuple[int, int]
_UNKNOWN = (-1, -1)  # no file has it


def import_shared_libraries() -> None:
    """Import what most tasks need. One that is missing is a broken installation and stops the scheduler here."""
    # It tells of each function that it does not document.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    for library in (*SHARED_BY_TASKS, *GATES):
        importlib.import_module(library)


def share_product() -> dict[str, _Stamp]:
    """Import the product's modules for the processes that are forked from here, as long as each module's file has the
    stamp that is returned."""
    began = time.time_ns()
    for module in PRODUCT:
        importlib.import_module(module)
    files = (str(module.__file__) for name, module in sys.modules.items() if _is_ours(name) and module.__file__)
    stamps = {file: _stamp(file) for file in files}
    # One that was replaced meanwhile may not be what was imported.
    stamps |= {file: _UNKNOWN for file, (changed_ns, _) in stamps.items() if changed_ns >= began}
    os.register_at_fork(after_in_child=lambda: _forget_if_replaced(stamps))
    return stamps


def _forget_if_replaced(stamps: dict[str, _Stamp]) -> None:
    """Forget the product's modules unless all of their files are what was imported."""
    if all(_stamp(file) == stamp for file, stamp in stamps.items()):
        return
    for name in [name for name in sys.modules if _is_ours(name)]:
        del sys.modules[name]


def _is_ours(module: str) -> bool:
    return module == "concordance" or module.startswith("concordance.")


def _stamp(file: str) -> _Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0  # it was there: that is a change
    return found.st_mtime_ns, found.st_size


if sys.argv[1:2] == ["scheduler"]:
    import_shared_libraries()
    share_product()
