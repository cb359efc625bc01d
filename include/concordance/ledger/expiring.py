"""What of the ledger's own past may go, and which artefacts what stays still needs.

A plan goes as a whole, with its documents, verdicts, batches and swept generations, in one transaction: the invariants
of `history.py` compare these with each other. It stays while a generation of it is not swept (`verify`, repairs,
rollbacks and builds read those), while a document of it waits in quarantine, while its version is being built (a build
asks what was rejected before), and while it is one of the last plans of its source (estimates, jumps of figures,
freshness). Numbers of plans and generations are never used again: they are kept with the source and the document.
Erasures, their receipts and bars, tombstones, index versions and the builds that were published are never removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from concordance.ledger.database import Cursor, Database
from concordance.model import IndexSettings


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan whose artefacts are needed. `whole`: all of them, because its run may be taken up or cleared; else those
    that its generations were loaded from. `reference` is None of a plan that was drawn and not made."""

    plan_id: UUID
    reference: dict[str, Any] | None
    settings: IndexSettings
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ledger needs of the staging area at one moment: plans, paths that rows name, and the age in seconds of
    the oldest plan that is still open (0: none is)."""

    plans: tuple[KeptPlan, ...]
    paths: frozenset[str]
    open_seconds: float


@dataclass(frozen=True, slots=True)
class Past:
    """Which plans are history: ended so long ago, and not one of the last `kept_plans` of their source."""

    older_than_seconds: float
    kept_plans: int


class Expiring:
    def __init__(self, database: Database) -> None:
        self._database = database

    def kept(self, *, run_seconds: float, gate_seconds: float) -> Kept:
        """What artefacts are needed for, if runs can be taken up for `run_seconds` after their end, and results of
        gates are shown for `gate_seconds`."""
        seconds = {"runs": run_seconds, "gates": gate_seconds}
        with self._database.reading("read what artefacts are needed for") as cursor:
            cursor.execute(_KEPT_PLANS, seconds)
            plans = tuple(_kept_plans(cursor))
            cursor.execute(_KEPT_PATHS, seconds)
            paths = frozenset(row[0] for row in cursor)
            cursor.execute(
                "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(drawn_at)), 0)::float8 FROM plans "
                "WHERE state IN ('drawn', 'made')"
            )
            (open_seconds,) = cursor.fetchone() or (0.0,)
        return Kept(plans, paths, float(open_seconds))

    def due(self, past: Past, *, alert_seconds: float) -> dict[str, int]:
        """How many plans, runs, builds and alerts would go now; a run goes after its plans."""
        due = {
            "plans": (_DUE_PLANS, _values(past)),
            "runs": (_DUE_RUNS, _values(past)),
            "builds": (_DUE_BUILDS, _values(past)),
            "alerts": (_DUE_ALERTS, {"seconds": alert_seconds}),
        }

        def work(cursor: Cursor) -> dict[str, int]:
            found = {}
            for what, (query, values) in due.items():
                cursor.execute(f"SELECT count(*) FROM ({query}) due", values)  # noqa: S608 - constants
                (found[what],) = cursor.fetchone() or (0,)
            return found

        return self._database.transact("count what has expired", work, is_bulk=True)

    def expire_plans(self, past: Past, *, limit: int) -> dict[str, int]:
        """Delete at most `limit` plans that are history; how many plans and generations, 0 plans when none is left.

        Two callers at once take different ones.
        """

        def work(cursor: Cursor) -> dict[str, int]:
            cursor.execute(
                f"{_DUE_PLANS} LIMIT %(limit)s FOR UPDATE OF p SKIP LOCKED", {**_values(past), "limit": limit}
            )
            plans = [row[0] for row in cursor]
            cursor.execute("DELETE FROM generations WHERE plan_id = ANY(%s)", [plans])
            generations = cursor.rowcount
            cursor.execute("DELETE FROM batches WHERE plan_id = ANY(%s)", [plans])
            # Their documents and verdicts go with them.
            cursor.execute("DELETE FROM plans WHERE plan_id = ANY(%s)", [plans])
            return {"plans": len(plans), "generations": generations}

        return self._database.transact("delete expired plans", work, is_bulk=True)

    def expire_runs(self, past: Past, *, limit: int) -> int:
        """Delete at most `limit` runs that ended so long ago and have no plan any more; how many."""
        return self._delete("runs", "run_id", _DUE_RUNS, past, limit)

    def expire_builds(self, past: Past, *, limit: int) -> int:
        """Delete at most `limit` builds that came to nothing, and whose version is gone; how many."""
        return self._delete("builds", "build_id", _DUE_BUILDS, past, limit)

    def expire_alerts(self, *, older_than_seconds: float, limit: int) -> int:
        """Delete at most `limit` alerts that were over so long ago, with what was told of them; how many."""

        def work(cursor: Cursor) -> int:
            cursor.execute(
                f"DELETE FROM alerts WHERE alert_id IN ({_DUE_ALERTS} LIMIT %(limit)s FOR UPDATE SKIP LOCKED)",  # noqa: S608
                {"seconds": older_than_seconds, "limit": limit},
            )
            return cursor.rowcount

        return self._database.transact("delete expired alerts", work, is_bulk=True)

    def _delete(self, table: str, key: str, due: str, past: Past, limit: int) -> int:
        def work(cursor: Cursor) -> int:
            cursor.execute(
                f"DELETE FROM {table} WHERE {key} IN ({due} LIMIT %(limit)s FOR UPDATE SKIP LOCKED)",  # noqa: S608
                {**_values(past), "limit": limit},
            )
            return cursor.rowcount

        return self._database.transact(f"delete expired {table}", work, is_bulk=True)


def _kept_plans(cursor: Cursor) -> Iterator[KeptPlan]:
    for plan_id, reference, settings, is_whole in cursor:
        is_of_plan = reference is not None and reference.get("plan_id") == str(plan_id)
        yield KeptPlan(plan_id, reference if is_of_plan else None, IndexSettings.from_json(settings), is_whole)


def _values(past: Past) -> dict[str, Any]:
    return {"seconds": past.older_than_seconds, "kept": past.kept_plans}


# The newest plan of a source in a version is kept whole whatever its age: it is the one that somebody clears.
_KEPT_PLANS = """
SELECT * FROM (
    SELECT p.plan_id, r.plan_reference, v.settings,
        p.state IN ('drawn', 'made')
        OR coalesce(p.ended_at, p.drawn_at) > clock_timestamp() - make_interval(secs => %(runs)s)
        OR p.number = max(p.number) OVER (PARTITION BY p.source, p.index_version) AS is_whole
    FROM plans p JOIN runs r USING (run_id) JOIN index_versions v ON v.version = p.index_version
    WHERE v.state NOT IN ('dropping', 'dropped')) kept
WHERE is_whole OR EXISTS (SELECT 1 FROM generations g WHERE g.plan_id = kept.plan_id
                          AND g.state IN ('loading', 'verified', 'current'))
"""
# Every artefact's reference, wherever it stands in a row, has its place under the name `path`.
_KEPT_PATHS = """
SELECT q.artefact FROM quarantine q WHERE q.artefact <> ''
UNION
SELECT v.artefact ->> 'path' FROM verdicts v WHERE v.at > clock_timestamp() - make_interval(secs => %(gates)s)
UNION
SELECT path #>> '{}' FROM builds b LEFT JOIN index_versions v ON v.version = b.index_version,
    jsonb_path_query(b.report, 'strict $.**.path') path
WHERE v.state NOT IN ('dropping', 'dropped')
   OR coalesce(b.finished_at, b.started_at) > clock_timestamp() - make_interval(secs => %(gates)s)
"""
_DUE_PLANS = """
SELECT p.plan_id FROM plans p JOIN index_versions v ON v.version = p.index_version
WHERE p.state IN ('published', 'closed')
  AND coalesce(p.ended_at, p.drawn_at) < clock_timestamp() - make_interval(secs => %(seconds)s)
  AND v.state NOT IN ('building', 'ready')
  AND (v.state = 'dropped' OR (SELECT count(*) FROM (
      SELECT 1 FROM plans n WHERE n.source = p.source AND n.number > p.number AND n.index_version = p.index_version
      LIMIT %(kept)s) newer) >= %(kept)s)
  AND NOT EXISTS (SELECT 1 FROM generations g WHERE g.plan_id = p.plan_id AND g.state <> 'swept')
  AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.plan_id = p.plan_id)
ORDER BY coalesce(p.ended_at, p.drawn_at)
"""
_DUE_RUNS = """
SELECT r.run_id FROM runs r
WHERE coalesce(r.finished_at, r.started_at) < clock_timestamp() - make_interval(secs => %(seconds)s)
  AND NOT EXISTS (SELECT 1 FROM plans p WHERE p.run_id = r.run_id)
  AND NOT EXISTS (SELECT 1 FROM sources s WHERE s.lease_holder = r.run_id AND s.lease_until > clock_timestamp())
"""
_DUE_ALERTS = """
SELECT a.alert_id FROM alerts a WHERE a.recovered_at < clock_timestamp() - make_interval(secs => %(seconds)s)
"""
_DUE_BUILDS = """
SELECT b.build_id FROM builds b
WHERE b.finished_at < clock_timestamp() - make_interval(secs => %(seconds)s)
  AND b.state IN ('nothing', 'refused', 'failed')
  AND NOT EXISTS (SELECT 1 FROM index_versions v WHERE v.version = b.index_version AND v.state <> 'dropped')
"""
