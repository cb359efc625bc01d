"""Quarantine: the documents of the live index version whose newest state no stage or gate let through.

A row says why, how often and since when, never a word of the text. It goes when the document is committed or deleted,
when it is gone from the source, or when the source is back at the state that is current anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from concordance.ledger.database import Cursor, Database
from concordance.model import QuarantineFilter, Rejection

_DETAIL_CHARACTERS = 2_000
_MEANT = """
FROM quarantine q JOIN documents d USING (document_id) JOIN index_versions v ON v.version = q.index_version
WHERE v.state = 'live'
  AND (%(source)s::text IS NULL OR d.source = %(source)s)
  AND (%(stage)s::text IS NULL OR q.stage = %(stage)s)
  AND (%(reason)s::text IS NULL OR q.reason = %(reason)s)
  AND (%(hours)s::float8 IS NULL OR q.first_at < now() - make_interval(secs => %(hours)s::float8 * 3600))
  AND (cardinality(%(documents)s::uuid[]) = 0 OR q.document_id = ANY(%(documents)s::uuid[]))
  AND (cardinality(%(documents)s::uuid[]) > 0 OR %(with_dismissed)s OR q.dismissed_at IS NULL)
"""
_ROWS = f"""
SELECT q.document_id, d.source, d.uri, d.tenant, q.stage, q.reason, q.detail, q.artefact, q.plan_id, q.attempts,
       q.first_at, q.last_at, q.dismissed_at, q.dismissed_by, q.note,
       EXISTS (SELECT FROM generations g WHERE g.index_version = q.index_version AND g.document_id = q.document_id
               AND g.state = 'current')
{_MEANT} ORDER BY q.last_at DESC, q.document_id LIMIT %(limit)s
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One row, for people. `is_stale`: an older state of the document is current, and searched."""

    document_id: UUID
    source: str
    uri: str
    tenant: str
    stage: str
    reason: str
    detail: str
    artefact: str
    plan_id: UUID
    attempts: int
    first_at: datetime
    last_at: datetime
    dismissed_at: datetime | None
    dismissed_by: str | None
    note: str | None
    is_stale: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "document_id": str(self.document_id),
            "source": self.source,
            "uri": self.uri,
            "tenant": self.tenant,
            "stage": self.stage,
            "reason": self.reason,
            "detail": self.detail,
            "artefact": self.artefact,
            "plan_id": str(self.plan_id),
            "attempts": self.attempts,
            "first_at": self.first_at.isoformat(),
            "last_at": self.last_at.isoformat(),
            "dismissed_at": None if self.dismissed_at is None else self.dismissed_at.isoformat(),
            "dismissed_by": self.dismissed_by,
            "note": self.note,
            "is_stale": self.is_stale,
        }


class Quarantine:
    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, meant: QuarantineFilter, *, limit: int, with_dismissed: bool = False) -> list[Quarantined]:
        """What is meant, the last rejected first, at most `limit`."""
        values = {**_values(meant), "limit": limit, "with_dismissed": with_dismissed}

        def work(cursor: Cursor) -> list[Quarantined]:
            cursor.execute(_ROWS, values)
            return [Quarantined(*row) for row in cursor]

        return self._database.transact("read the quarantine", work)

    def count(self, meant: QuarantineFilter, *, with_dismissed: bool = False) -> dict[str, int]:
        """How many of each source are meant; sources without any are left out."""
        values = {**_values(meant), "with_dismissed": with_dismissed}

        def work(cursor: Cursor) -> dict[str, int]:
            cursor.execute(f"SELECT d.source, count(*) {_MEANT} GROUP BY 1 ORDER BY 1", values)
            return dict(cursor.fetchall())

        return self._database.transact("count the quarantine", work)

    def waiting(self) -> dict[tuple[str, str], int]:
        """How many documents of the live version wait, by source and reason; what was dismissed does not wait."""

        def work(cursor: Cursor) -> dict[tuple[str, str], int]:
            cursor.execute(
                "SELECT d.source, q.reason, count(*) FROM quarantine q JOIN documents d USING (document_id) "
                "JOIN index_versions v ON v.version = q.index_version "
                "WHERE v.state = 'live' AND q.dismissed_at IS NULL GROUP BY 1, 2"
            )
            return {(source, reason): count for source, reason, count in cursor}

        return self._database.transact("count what waits in quarantine", work)

    def meant(self, chosen: QuarantineFilter) -> frozenset[UUID]:
        """The documents that are meant."""
        values = {**_values(chosen), "with_dismissed": False}

        def work(cursor: Cursor) -> frozenset[UUID]:
            cursor.execute(f"SELECT q.document_id {_MEANT}", values)
            return frozenset(row[0] for row in cursor)

        return self._database.transact("choose from the quarantine", work)

    def dismiss(self, chosen: QuarantineFilter, *, by: str, note: str) -> int:
        """Do not try these again before they change; returns how many. A repeated call keeps the first dismissal."""
        return self._mark(chosen, "dismissed_at = now(), dismissed_by = %(by)s, note = %(note)s", by=by, note=note)

    def take_back(self, chosen: QuarantineFilter) -> int:
        """Treat dismissed ones like the others again; returns how many."""
        return self._mark(chosen, "dismissed_at = NULL, dismissed_by = NULL, note = NULL", is_dismissed=True)

    def _mark(self, chosen: QuarantineFilter, change: str, *, is_dismissed: bool = False, **given: str) -> int:
        values = {**_values(chosen), **given, "with_dismissed": True, "is_dismissed": is_dismissed}

        def work(cursor: Cursor) -> int:
            cursor.execute(
                f"UPDATE quarantine SET {change} WHERE (dismissed_at IS NOT NULL) = %(is_dismissed)s "  # noqa: S608 - constants
                f"AND (index_version, document_id) IN (SELECT q.index_version, q.document_id {_MEANT})",
                values,
            )
            return cursor.rowcount

        return self._database.transact("mark rows of the quarantine", work)


def quarantine_rows(cursor: Cursor, plan_id: UUID, rejections: Sequence[Rejection], *, rejected_under: str) -> None:
    """The quarantine's part of a transaction: only documents of the plan that have no outcome yet are touched.

    A dismissal stays as long as the document is the same.
    """
    columns: list[list[Any]] = [
        [each.document_id for each in rejections],
        [each.stage for each in rejections],
        [str(each.reason) for each in rejections],
        [each.detail.replace("\x00", "")[:_DETAIL_CHARACTERS] for each in rejections],
        [each.stamp for each in rejections],
        [each.artefact for each in rejections],
    ]
    cursor.execute(
        "WITH r AS (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[]) "
        "  AS r (document_id, stage, reason, detail, stamp, artefact)), "
        "touched AS (UPDATE plan_documents p SET outcome = 'quarantined', reason = r.reason FROM r "
        "  WHERE p.plan_id = %s AND p.document_id = r.document_id AND p.outcome IS NULL RETURNING p.document_id) "
        "INSERT INTO quarantine "
        "  (index_version, plan_id, document_id, stage, reason, detail, stamp, artefact, rejected_under) "
        "SELECT p.index_version, p.plan_id, r.document_id, r.stage, r.reason, r.detail, r.stamp, r.artefact, %s "
        "FROM r JOIN touched USING (document_id), plans p WHERE p.plan_id = %s "
        "ON CONFLICT (index_version, document_id) DO UPDATE SET plan_id = excluded.plan_id, stage = excluded.stage, "
        "  reason = excluded.reason, detail = excluded.detail, stamp = excluded.stamp, artefact = excluded.artefact, "
        "  rejected_under = excluded.rejected_under, attempts = quarantine.attempts + 1, last_at = now(), "
        "  dismissed_at = CASE WHEN quarantine.stamp = excluded.stamp THEN quarantine.dismissed_at END, "
        "  dismissed_by = CASE WHEN quarantine.stamp = excluded.stamp THEN quarantine.dismissed_by END, "
        "  note = CASE WHEN quarantine.stamp = excluded.stamp THEN quarantine.note END",
        [*columns, plan_id, rejected_under, plan_id],
    )


def _values(meant: QuarantineFilter) -> dict[str, Any]:
    return {
        "source": meant.source,
        "stage": meant.stage,
        "reason": None if meant.reason is None else str(meant.reason),
        "hours": meant.older_than_hours,
        "documents": list(meant.document_ids),
    }
