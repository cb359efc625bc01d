"""Delete what is too old from Airflow's own database: runs, task instances, XCom, the audit log, jobs, callbacks.

    python deploy/clean_airflow.py [--days 90] [--dry-run]
    python deploy/clean_airflow.py --every-hours 24      # for a service beside Airflow's others

What `airflow db clean` does, in the environment of Airflow's own processes. Tasks may not touch that database, so no
DAG can do it. The last scheduled run of each DAG stays, whatever its age: the schedule goes on from it. Small
transactions; of two at once the second does nothing. The last line says how many rows went, as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from concordance.settings import load_settings

LOCK = 7_031_002
ROWS_AT_ONCE = 1000
ONE_CLEANING_SECONDS = 3600
AGAIN_SECONDS = 300
# Longer than any run may take (`dagrun_timeout`): rows go by age, whether their run has ended or not.
LEAST_DAYS = 8
CLEANED = Path(tempfile.gettempdir()) / "concordance-airflow-cleaned"


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when all is clean, 1 when a table could not be cleaned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, help="rows that are older go; airflow_history_retention_days")
    parser.add_argument("--dry-run", action="store_true", help="count them and leave them")
    parser.add_argument("--every-hours", type=float, help="again and again, until it is ended")
    parser.add_argument("--check", action="store_true", help="whether the service cleaned within twice that time")
    arguments = parser.parse_args(argv)
    if arguments.check:
        return check(hours=2 * (arguments.every_hours or 24))
    days = load_settings().airflow_history_retention_days if arguments.days is None else arguments.days
    if days < LEAST_DAYS:
        parser.error(f"--days is at least {LEAST_DAYS}: younger runs may still be under way")
    if arguments.every_hours is None:
        return clean(days=days, dry_run=arguments.dry_run)
    once = [sys.executable, __file__, "--days", str(days), *(["--dry-run"] if arguments.dry_run else [])]
    while True:
        # A process of its own: Airflow's modules need not stay in memory for a day.
        with contextlib.suppress(subprocess.TimeoutExpired):
            if subprocess.run(once, timeout=ONE_CLEANING_SECONDS, check=False).returncode == 0:
                CLEANED.touch()
                time.sleep(arguments.every_hours * 3600)
                continue
        time.sleep(AGAIN_SECONDS)


def check(*, hours: float) -> int:
    """Exit code 0 when this machine's service ended a cleaning well so lately."""
    try:
        age_seconds = time.time() - CLEANED.stat().st_mtime
    except OSError:
        print("nothing was cleaned yet")
        return 1
    print(f"cleaned {age_seconds / 3600:.1f} h ago")
    return 0 if age_seconds < hours * 3600 else 1


def clean(*, days: float, dry_run: bool) -> int:
    """One cleaning; `days` of history stay."""
    import pendulum
    from airflow.utils.db_cleanup import run_cleanup
    from airflow.utils.session import create_session
    from sqlalchemy import text

    said = io.StringIO()
    # Not the thread's own session, which a cleaning commits after each table: this one holds the lock until the end.
    with create_session(scoped=False) as session:
        if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}):
            print("Another cleaning is at work", file=sys.stderr)
            return 0
        try:
            with contextlib.redirect_stdout(said):
                run_cleanup(
                    clean_before_timestamp=pendulum.now("UTC").subtract(seconds=round(days * 86_400)),
                    dry_run=dry_run,
                    confirm=False,
                    skip_archive=True,
                    batch_size=ROWS_AT_ONCE,
                    error_on_cleanup_failure=True,
                )
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    # Airflow tells no numbers but in words.
    rows = sum(map(int, re.findall(r"Found (\d+) rows", said.getvalue())))
    print(json.dumps({"rows": rows, "dry_run": dry_run}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
