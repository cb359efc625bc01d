"""What an older release has left in the ledger is read by the newer one."""

from __future__ import annotations

import json
from importlib import import_module

from concordance.ledger import Ledger
from concordance.pipeline.references import PlanReference, RunRequest
from concordance.settings import Settings
from support.ledgers import connect

OLD_REQUEST = {
    "source": "shelf",
    "run_id": "old",
    "subpath": "",
    "mode": "incremental",
    "dry_run": False,
    "allow_deletes": True,
    "max_documents": None,
    "replay": None,
    "plan_id": None,
}
OLD_PLAN = {
    "plan_id": "5f0c5f7e-6f9e-5b0c-9a53-0d3c1f2b7a11",
    "run_id": "old",
    "source": "shelf",
    "index_version": 1,
    "entries": {"kind": "plan", "path": "plan/a.parquet", "digest": "a", "rows": 1, "size_bytes": 9},
    "shards": 1,
    "settings_digest": "b",
    "counts": {"added": 0, "changed": 0, "deleted": 4},
    "estimates": {"bytes": 0.0, "chunks": 0.0, "seconds": 0.0},
    "is_dry": False,
    "notices": [],
}


def test_plans_and_requests_of_before_there_was_an_approval_are_read(ledger: Ledger, stack: Settings) -> None:
    step = import_module("concordance.ledger.migrations.versions.0005_approvals")
    plans = {"none": None, "refused": {**OLD_PLAN, "refused": "too many"}, "made": {**OLD_PLAN, "refused": None}}
    with connect(stack) as connection, connection.transaction(force_rollback=True):
        connection.execute("INSERT INTO sources (source, tenant) VALUES ('shelf', 'acme')")
        for run_id, plan in plans.items():
            connection.execute(
                "INSERT INTO runs (run_id, source, state, request, plan_reference) "
                "VALUES (%s, 'shelf', 'refused', %s, %s)",
                [run_id, json.dumps(OLD_REQUEST), None if plan is None else json.dumps(plan)],
            )
        connection.execute(step.WAITING)
        rows = connection.execute("SELECT run_id, request, plan_reference FROM runs").fetchall()
    read = {row[0]: (RunRequest.from_json(row[1]), row[2]) for row in rows}  # type: ignore[arg-type]
    assert {request.approved for request, _ in read.values()} == {True}
    assert read["none"][1] is None
    assert PlanReference.from_json(read["refused"][1]).unusual == ("too many",)  # type: ignore[arg-type]
    assert PlanReference.from_json(read["made"][1]).unusual == ()  # type: ignore[arg-type]
