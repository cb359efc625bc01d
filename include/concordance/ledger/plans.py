"""Plans: numbered before they list, refused once a newer one was made.

Making one closes what older plans of the source still have open within its scope (`covers` in the schema says what a
scope covers).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.errors import Conflict
from concordance.ledger.database import MANY_DOCUMENTS, Cursor, Database
from concordance.ledger.freshness import enter_plan_documents
from concordance.ledger.leases import give_back
from concordance.ledger.quarantine import quarantine_rows
from concordance.model import IndexVersion, PlanEntry, Rejection
from concordance.slices import slices

# What one statement is sent: a plan of a million documents is not held once more on its way.
_ENTERED_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class DrawnPlan:
    plan_id: UUID
    number: int
    epoch: int


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """The current generation of a document in one index version."""

    document_id: UUID
    uri: str
    generation: int
    stamp: str
    fingerprint: str
    access: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Not marked as damaged by reconcile (see `Plans.known`)."""
        return bool(self.fingerprint)


@dataclass(frozen=True, slots=True)
class QuarantinedDocument:
    document_id: UUID
    uri: str
    stamp: str
    rejected_under: str
    reason: str
    is_dismissed: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of one source below one scope, by uri; and what is erased in the whole source, by id."""

    documents: dict[str, KnownDocument]
    quarantined: dict[str, QuarantinedDocument]
    erased: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """`discovered` = listed; `unchanged`, `still_quarantined` and `erased` of them are not touched."""

    discovered: int
    unchanged: int
    still_quarantined: int
    erased: int = 0


class Plans:
    def __init__(self, database: Database) -> None:
        self._database = database

    def draw(self, *, run_id: str, source: str, scope: str, version: IndexVersion) -> DrawnPlan:
        """Draw the next number of the source, before it is listed. A number that is never made is a harmless gap."""

        def work(cursor: Cursor) -> DrawnPlan:
            cursor.execute("SELECT epoch FROM control FOR SHARE")
            (epoch,) = _row(cursor)
            cursor.execute("SELECT state FROM index_versions WHERE version = %s", [version.version])
            if (state := _row(cursor)[0]) != version.state:
                raise Conflict(f"Index version {version.version} is {state}, no longer {version.state}: start again")
            cursor.execute(
                "UPDATE sources SET last_plan_number = last_plan_number + 1 WHERE source = %s "
                "RETURNING last_plan_number",
                [source],
            )
            (number,) = _row(cursor)
            plan_id = ids.plan_id(source=source, number=number)
            cursor.execute(
                "INSERT INTO plans (plan_id, source, number, run_id, scope, index_version, epoch, state) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, 'drawn')",
                [plan_id, source, number, run_id, scope, version.version, epoch],
            )
            return DrawnPlan(plan_id=plan_id, number=number, epoch=epoch)

        return self._database.transact("draw a plan's number", work)

    def known(self, *, version: IndexVersion, source: str, scope: str) -> Known:
        """Current generations and quarantined documents of the source below the scope, read at one moment."""
        values = {"version": version.version, "source": source, "scope": scope}
        with self._database.reading("read what the ledger knows of a source") as cursor:
            cursor.execute(
                # A damaged generation is shown with a stamp and a fingerprint that no document has: it is loaded anew.
                # A stale one is shown with such a stamp: it is read.
                "SELECT d.document_id, d.uri, g.generation, "
                "CASE WHEN g.is_damaged OR g.is_stale THEN '' ELSE g.stamp END, "
                "CASE WHEN g.is_damaged THEN '' ELSE g.fingerprint END, g.access FROM documents d "
                "JOIN generations g ON g.document_id = d.document_id AND g.index_version = %(version)s "
                "AND g.state = 'current' WHERE d.source = %(source)s AND covers(%(scope)s, d.uri)",
                values,
            )
            documents = {row[1]: KnownDocument(row[0], row[1], row[2], row[3], row[4], tuple(row[5])) for row in cursor}
            cursor.execute(
                "SELECT d.document_id, d.uri, q.stamp, q.rejected_under, q.reason, q.dismissed_at IS NOT NULL "
                "FROM quarantine q JOIN documents d USING (document_id) WHERE q.index_version = %(version)s "
                "AND d.source = %(source)s AND covers(%(scope)s, d.uri)",
                values,
            )
            quarantined = {row[1]: QuarantinedDocument(*row) for row in cursor}
            # By id: the ledger keeps no uri of what is erased.
            cursor.execute(
                "SELECT t.document_id FROM tombstones t JOIN documents d USING (document_id) "
                "WHERE t.kind = 'erased' AND d.source = %(source)s",
                values,
            )
            erased = frozenset(row[0] for row in cursor)
        return Known(documents=documents, quarantined=quarantined, erased=erased)

    def make(
        self,
        plan_id: UUID,
        *,
        entries: Sequence[PlanEntry],
        counts: PlanCounts,
        restamped: Sequence[tuple[UUID, int, str]],
        released: Collection[UUID],
        reference: dict[str, Any],
    ) -> None:
        """Make the plan, and close within its scope what older plans of the source still had open.

        `restamped` are (document, generation, stamp) whose listing changed but whose content did not; `released` leave
        the quarantine. Raises `Conflict`
        when a newer plan that overlaps was made meanwhile: what this one listed may be older than what that one saw.
        """

        def work(cursor: Cursor) -> None:
            source, number, scope, tenant, version, state, run_id = _lock_for_making(cursor, plan_id)
            if state == "made":
                return
            if state != "drawn":
                raise Conflict(f"Plan {number} of source {source!r} is {state}: start a new run")
            names = {"source": source, "number": number, "s": scope, "version": version}
            _refuse_if_newer(cursor, names)
            _close_older(cursor, names)
            for some in slices(entries, _ENTERED_AT_ONCE):
                _insert_entries(cursor, plan_id, some, tenant=tenant, source=source)
            cursor.execute(
                "UPDATE generations g SET stamp = r.stamp, is_stale = false FROM "
                "unnest(%s::uuid[], %s::bigint[], %s::text[]) AS r (document_id, generation, stamp) "
                "WHERE g.index_version = %s AND g.document_id = r.document_id AND g.generation = r.generation "
                "AND g.state = 'current'",
                [*_columns(restamped, 3), version],
            )
            cursor.execute(
                "DELETE FROM quarantine WHERE index_version = %s AND document_id = ANY(%s)",
                [version, list(released)],
            )
            cursor.execute(
                "UPDATE plans SET state = 'made', made_at = now(), discovered = %s, unchanged = %s, "
                "still_quarantined = %s, erased = %s WHERE plan_id = %s",
                [counts.discovered, counts.unchanged, counts.still_quarantined, counts.erased, plan_id],
            )
            cursor.execute(
                "UPDATE runs SET plan_reference = %s, state = 'running' WHERE run_id = %s",
                [json.dumps(reference), run_id],
            )

        self._database.transact("make a plan", work, is_bulk=True)
        if len(entries) >= MANY_DOCUMENTS:
            self._database.refresh_statistics(("documents", "plan_documents"))

    def quarantine(self, plan_id: UUID, rejections: Sequence[Rejection], *, rejected_under: str) -> None:
        """Record why these documents left the run. Their current generations stay; a repeated call changes nothing."""
        if rejections:
            self._database.transact(
                "quarantine documents",
                lambda cursor: quarantine_rows(cursor, plan_id, rejections, rejected_under=rejected_under),
            )

    def rejected(self, plan_id: UUID) -> dict[UUID, str]:
        """The plan's documents that were quarantined before the load, with their reason codes.

        Those that a load takes out of its batch stay in the batch's manifest: a second attempt must cut the same
        batches.
        """

        def work(cursor: Cursor) -> dict[UUID, str]:
            cursor.execute(
                "SELECT pd.document_id, pd.reason FROM plan_documents pd "
                "JOIN quarantine q USING (plan_id, document_id) "
                "WHERE pd.plan_id = %s AND pd.outcome = 'quarantined' AND q.stage <> 'load'",
                [plan_id],
            )
            return dict(cursor.fetchall())

        return self._database.transact("read a plan's quarantined documents", work)

    def reasons(self, plan_id: UUID) -> dict[str, int]:
        """How many of the plan's documents were sent to quarantine so far, by reason code."""

        def work(cursor: Cursor) -> dict[str, int]:
            cursor.execute(
                "SELECT reason, count(*) FROM plan_documents WHERE plan_id = %s AND outcome = 'quarantined' "
                "GROUP BY reason",
                [plan_id],
            )
            return dict(cursor.fetchall())

        return self._database.transact("count a plan's quarantined documents", work)

    def close(self, plan_id: UUID, *, reference: dict[str, Any] | None = None) -> None:
        """Close the plan and all that it still has open: it is only to be looked at, or its publish came too late.

        `reference` is kept of a plan that was not made (a dry run's, or one that waits for approval), for the run that
        is to do exactly this; such a run gives its source back.
        """

        def work(cursor: Cursor) -> None:
            cursor.execute("SELECT source FROM plans WHERE plan_id = %s", [plan_id])
            (source,) = _row(cursor)
            cursor.execute("SELECT 1 FROM sources WHERE source = %s FOR UPDATE", [source])
            cursor.execute("SELECT state FROM plans WHERE plan_id = %s FOR UPDATE", [plan_id])
            if _row(cursor)[0] != "published":
                close_whole(cursor, [plan_id])
            if reference is not None:
                cursor.execute(
                    "UPDATE runs r SET plan_reference = %s, state = CASE WHEN %s THEN r.state ELSE 'waiting' END "
                    "FROM plans p WHERE p.plan_id = %s AND r.run_id = p.run_id RETURNING r.run_id",
                    [json.dumps(reference), reference["is_dry"], plan_id],
                )
                give_back(cursor, source=source, run_id=_row(cursor)[0])

        self._database.transact("close a plan", work, is_bulk=True)

    def kept(self, plan_id: UUID) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The request and the reference of a plan that was kept and not made; None when there is no such plan."""

        def work(cursor: Cursor) -> tuple[dict[str, Any], dict[str, Any]] | None:
            cursor.execute(
                "SELECT r.request, r.plan_reference FROM plans p JOIN runs r USING (run_id) "
                "WHERE p.plan_id = %s AND r.plan_reference ->> 'plan_id' = p.plan_id::text AND p.made_at IS NULL",
                [plan_id],
            )
            return cursor.fetchone()

        return self._database.transact("read a plan that was kept", work)

    def outcomes(self, plan_id: UUID) -> dict[str, int]:
        """Counts of the plan: `discovered`, `unchanged`, `still_quarantined`, and of documents by outcome (and
        `open` for those that have none yet). `erased` counts also those that were erased before it was made."""

        def work(cursor: Cursor) -> dict[str, int]:
            cursor.execute(
                "SELECT discovered, unchanged, still_quarantined, erased FROM plans WHERE plan_id = %s", [plan_id]
            )
            discovered, unchanged, still_quarantined, erased = _row(cursor)
            counts = {"discovered": discovered, "unchanged": unchanged, "still_quarantined": still_quarantined}
            cursor.execute(
                # What was to be deleted and was erased is gone as well; only what was listed counts as erased (I6).
                "SELECT CASE WHEN action = 'delete' AND outcome = 'erased' THEN 'deleted' "
                "ELSE coalesce(outcome, 'open') END, count(*) FROM plan_documents WHERE plan_id = %s GROUP BY 1",
                [plan_id],
            )
            outcomes: dict[str, int] = dict(cursor.fetchall())
            if erased:
                outcomes["erased"] = outcomes.get("erased", 0) + erased
            return {**counts, **outcomes}

        return self._database.transact("read a plan's outcomes", work)


def close_whole(cursor: Cursor, plan_ids: Sequence[UUID]) -> None:
    """Close plans with their batches and open generations. Closing is final: begin, verified and publish refuse it."""
    plans = [list(plan_ids)]
    cursor.execute(
        "UPDATE generations SET state = 'closed', ended_at = clock_timestamp() "
        "WHERE plan_id = ANY(%s) AND state IN ('loading', 'verified')",
        plans,
    )
    cursor.execute("UPDATE batches SET state = 'closed' WHERE plan_id = ANY(%s) AND state = 'intent'", plans)
    cursor.execute(
        "UPDATE plan_documents SET outcome = 'superseded' WHERE plan_id = ANY(%s) AND outcome IS NULL", plans
    )
    cursor.execute(
        "UPDATE plans SET state = 'closed', ended_at = now() WHERE plan_id = ANY(%s) AND state IN ('drawn', 'made')",
        plans,
    )


def _lock_for_making(cursor: Cursor, plan_id: UUID) -> tuple[Any, ...]:
    cursor.execute("SELECT source FROM plans WHERE plan_id = %s", [plan_id])
    # Making excludes every begin, verified and publish of the source, which hold this row shared.
    cursor.execute("SELECT 1 FROM sources WHERE source = %s FOR UPDATE", [_row(cursor)[0]])
    cursor.execute(
        "SELECT p.source, p.number, p.scope, s.tenant, p.index_version, p.state, p.run_id "
        "FROM plans p JOIN sources s USING (source) WHERE p.plan_id = %s FOR UPDATE OF p",
        [plan_id],
    )
    return _row(cursor)


def _refuse_if_newer(cursor: Cursor, names: dict[str, Any]) -> None:
    # Of the same index version: a build's plans and an ingest's go on beside each other.
    cursor.execute(
        "SELECT max(number) FROM plans WHERE source = %(source)s AND number > %(number)s "
        "AND index_version = %(version)s AND state IN ('made', 'published') "
        "AND (covers(scope, %(s)s) OR covers(%(s)s, scope))",
        names,
    )
    (newer,) = _row(cursor)
    if newer is not None:
        raise Conflict(
            f"Plan {names['number']} of source {names['source']!r} listed before plan {newer}, which was made: start a "
            "new run"
        )


def _close_older(cursor: Cursor, names: dict[str, Any]) -> None:
    cursor.execute(
        "SELECT plan_id FROM plans WHERE source = %(source)s AND number < %(number)s AND state IN ('drawn', 'made') "
        "AND index_version = %(version)s AND covers(%(s)s, scope)",
        names,
    )
    close_whole(cursor, [row[0] for row in cursor.fetchall()])
    # A wider older plan goes on for what lies outside this one's scope.
    cursor.execute(
        "UPDATE generations g SET state = 'closed', ended_at = clock_timestamp() FROM plans p, documents d "
        "WHERE p.source = %(source)s AND p.number < %(number)s AND p.state = 'made' "
        "AND p.index_version = %(version)s AND g.plan_id = p.plan_id "
        "AND g.state IN ('loading', 'verified') AND d.document_id = g.document_id AND covers(%(s)s, d.uri)",
        names,
    )
    cursor.execute(
        "UPDATE plan_documents pd SET outcome = 'superseded' FROM plans p, documents d "
        "WHERE p.source = %(source)s AND p.number < %(number)s AND p.state = 'made' "
        "AND p.index_version = %(version)s AND pd.plan_id = p.plan_id "
        "AND pd.outcome IS NULL AND d.document_id = pd.document_id AND covers(%(s)s, d.uri)",
        names,
    )


def _insert_entries(cursor: Cursor, plan_id: UUID, entries: Sequence[PlanEntry], *, tenant: str, source: str) -> None:
    document_ids = [entry.document_id for entry in entries]
    cursor.execute(
        "INSERT INTO documents (document_id, tenant, source, uri) SELECT document_id, %s, %s, uri FROM "
        "unnest(%s::uuid[], %s::text[]) AS e (document_id, uri) ON CONFLICT (document_id) DO NOTHING",
        [tenant, source, document_ids, [entry.uri for entry in entries]],
    )
    enter_plan_documents(
        cursor,
        plan_id,
        document_ids=document_ids,
        actions=[str(entry.action) for entry in entries],
        bases=[entry.base for entry in entries],
        shards=[entry.shard for entry in entries],
        made_from=[entry.made_from for entry in entries],
        changed_at=[entry.changed_at for entry in entries],
    )


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _row(cursor: Cursor) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise Conflict("The ledger has no such row: the plan, the source or the live version is gone. Start a new run")
    return row
