"""Looks at the runs of our DAGs through Airflow's REST interface: what is late, slow or has failed.

One question lists the runs that are not done and one those that failed lately. Only where a limit of a stage could be
passed a third one asks for the task instances that are not done; what is not late costs no more than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from concordance.errors import Unavailable
from concordance.operations.alerts import AlertKind, Breach
from concordance.operations.slas import Slas
from concordance.settings import Settings
from concordance.watching import late
from concordance.watching.airflow import AirflowApi
from concordance.watching.late import Instance, Run

_RUNS = "/api/v2/dags/~/dagRuns/list"
_INSTANCES = "/api/v2/dags/~/dagRuns/~/taskInstances/list"
# Airflow gives no more at once.
_PAGE = 100
_MAX_INSTANCES = 20_000
# The task behind a person's answer: where it was skipped, the answer was no, and a run that succeeded did nothing.
BEHIND_APPROVAL = ("begin", "hide", "act")
# The product's own, which are looked at whether a limit is declared for them or not.
DAGS = frozenset(
    {
        "concordance_erase",
        "concordance_index",
        "concordance_ingest",
        "concordance_maintenance",
        "concordance_nightly_reindex",
        "concordance_quarantine_replay",
        "concordance_reconcile",
    }
)


class RunsWatcher:
    """Decides about attempts, stages and runs of the product's DAGs, and of others that have a limit."""

    kinds = frozenset({AlertKind.ATTEMPT_SLOW, AlertKind.STAGE_LATE, AlertKind.RUN_LATE, AlertKind.RUN_FAILED})

    def __init__(self, airflow: AirflowApi, slas: Slas, settings: Settings) -> None:
        self._airflow = airflow
        self._slas = slas
        self._settings = settings
        self._page_url = settings.airflow_page_url or settings.effective_airflow_url
        # What of each failed run did fail: it does not change any more.
        self._failures: Mapping[Run, Sequence[Instance]] = {}
        # Failed runs that a later one has made good: that does not change either.
        self._good: frozenset[Run] = frozenset()

    def look(self, now: datetime) -> list[Breach]:
        """The breaches that hold now. Raises `Unavailable` when Airflow does not answer, `Misconfigured` when it
        refuses."""
        runs = self._runs({"states": ["running", "queued"], "order_by": "run_after"})
        unfinished = self._unfinished([run for run in runs if self._may_be_late(run, now)])
        given: dict[str, Any] = {"now": now, "page_url": self._page_url}
        found = [breach for run in runs if (breach := late.late_run(run, self._slas, **given)) is not None]
        for run in runs:
            instances = unfinished.get((run.dag, run.run_id), [])
            found += late.late_stages(run, instances, self._slas, **given)
            found += late.slow_attempts(run, instances, self._slas, **given)
        return [*found, *self._failed(now)]

    def _may_be_late(self, run: Run, now: datetime) -> bool:
        """Whether a limit of a stage could be passed: an attempt began no earlier than its run."""
        limits = [
            *self._slas.done_seconds(run.dag, run.source).values(),
            *self._slas.attempt_seconds(run.dag, run.source).values(),
        ]
        return bool(limits) and now >= run.run_after + timedelta(seconds=min(limits))

    def _failed(self, now: datetime) -> list[Breach]:
        """Runs that failed, and that no later run which did the same has made good."""
        since = now - timedelta(seconds=self._settings.watch_failed_seconds)
        failed = self._runs({"states": ["failed"], "end_date_gte": since.isoformat(), "order_by": "-end_date"})
        self._good = self._made_good(failed)
        standing = [run for run in failed if run not in self._good]
        self._failures = self._failures_of(standing)
        return [late.failed_run(run, self._failures[run], page_url=self._page_url) for run in standing]

    def _made_good(self, failed: Sequence[Run]) -> frozenset[Run]:
        known = self._good.intersection(failed)
        left = [run for run in failed if run not in known]
        if not left:
            return known
        asked = {
            "dag_ids": sorted({run.dag for run in left}),
            "states": ["success"],
            "run_after_gte": min(run.run_after for run in left).isoformat(),
            "order_by": "-run_after",
        }
        # The newest are enough: what an older one made good is known since then.
        succeeded = self._runs(asked, is_whole=False)
        later = [run for run in succeeded if any(late.makes_good(run, each) for each in left)]
        rejected = self._instances(later, ["skipped"], stages=BEHIND_APPROVAL) if later else {}
        did = [run for run in later if (run.dag, run.run_id) not in rejected]
        return known.union(each for each in left if any(late.makes_good(run, each) for run in did))

    def _failures_of(self, runs: Sequence[Run]) -> Mapping[Run, Sequence[Instance]]:
        new = [run for run in runs if run not in self._failures]
        found = self._instances(new, ["failed"]) if new else {}
        return {
            run: self._failures[run] if run in self._failures else found.get((run.dag, run.run_id), []) for run in runs
        }

    def _unfinished(self, runs: Sequence[Run]) -> dict[tuple[str, str], list[Instance]]:
        return self._instances(runs, list(late.UNFINISHED)) if runs else {}

    def _instances(
        self, runs: Sequence[Run], states: Sequence[str | None], *, stages: Sequence[str] = ()
    ) -> dict[tuple[str, str], list[Instance]]:
        """By (DAG, run id): the task instances in these states, of these stages if any are named."""
        body: dict[str, Any] = {
            "dag_ids": sorted({run.dag for run in runs}),
            "dag_run_ids": sorted({run.run_id for run in runs}),
            "state": states,
            "order_by": "id",
            **({"task_ids": list(stages)} if stages else {}),
        }
        rows = self._pages(_INSTANCES, body, "task_instances", most=_MAX_INSTANCES)
        found: dict[tuple[str, str], list[Instance]] = {}
        for row in rows:
            instance = Instance.from_json(row)
            found.setdefault((instance.dag, instance.run_id), []).append(instance)
        return found

    def _runs(self, body: dict[str, Any], *, is_whole: bool = True) -> list[Run]:
        asked = {"dag_ids": sorted(DAGS | self._slas.dags), **body}
        most = self._settings.watch_max_runs
        return [Run.from_json(row) for row in self._pages(_RUNS, asked, "dag_runs", most=most, is_whole=is_whole)]

    def _pages(
        self, path: str, body: dict[str, Any], name: str, *, most: int, is_whole: bool = True
    ) -> list[dict[str, Any]]:
        """All rows, at most so many. Raises `Unavailable` if the list changed between two pages, or has more rows where
        it has to be whole: what is missing in it would look as if it were over."""
        rows: list[dict[str, Any]] = []
        total = None
        while total is None or len(rows) < min(total, most):
            limit = min(_PAGE, most - len(rows))
            answer = self._airflow.call("POST", path, {**body, "page_offset": len(rows), "page_limit": limit})
            is_cut_short = not answer[name] and len(rows) < answer["total_entries"]
            if is_cut_short or total not in (None, answer["total_entries"]):
                raise Unavailable("the list changed in Airflow while it was read page by page: it is read anew")
            rows, total = [*rows, *answer[name]], answer["total_entries"]
            if is_whole and total > most:
                raise Unavailable(f"Airflow lists {total} {name}, and the watch reads {most}: raise watch_max_runs")
        return rows
