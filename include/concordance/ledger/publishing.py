"""Publish: the one transaction that changes what readers see."""

from __future__ import annotations

from uuid import UUID

from concordance.errors import Conflict, Leased
from concordance.ledger.database import MANY_DOCUMENTS, Cursor, Database
from concordance.ledger.plans import close_whole

_TURNED_OVER = ("generations", "plan_documents", "chunks", "links")


class Publishing:
    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, plan_id: UUID) -> None:
        """Make the plan's verified generations current, and those of its deleted documents none, in one transaction.

        A document is taken only if it is not erased and its base is still current; else it is superseded, and the next
        plan sees it again. What was replaced is dirty from here on; the new generations stay dirty until they are
        settled. A repeated call changes nothing. A build's plan makes them current in the version that is built, which
        nobody reads yet. Raises `Conflict` when the plan is closed, when the live version was swapped since it was
        made, or when a document was neither loaded nor rejected; `Leased` while a swap holds publishing.
        """
        is_large = self._database.transact("count a plan's documents", lambda cursor: _is_large(cursor, plan_id))
        if is_large:
            self._database.refresh_statistics(_TURNED_OVER)
        refused = self._database.transact("publish a run", lambda cursor: _publish(cursor, plan_id), is_bulk=True)
        if refused is not None:
            raise Conflict(refused)
        if is_large:
            # What was current is replaced, what was verified is current: nothing of what was known of it is true.
            self._database.refresh_statistics(_TURNED_OVER)


def _is_large(cursor: Cursor, plan_id: UUID) -> bool:
    cursor.execute(
        "SELECT count(*) FROM (SELECT 1 FROM plan_documents WHERE plan_id = %s LIMIT %s) AS first",
        [plan_id, MANY_DOCUMENTS],
    )
    (documents,) = cursor.fetchone() or (0,)
    return bool(documents >= MANY_DOCUMENTS)


def _publish(cursor: Cursor, plan_id: UUID) -> str | None:
    cursor.execute("SELECT epoch, extract(epoch FROM held_until - clock_timestamp())::float8 FROM control FOR SHARE")
    epoch, held_seconds = cursor.fetchone() or (None, None)
    cursor.execute("SELECT source FROM plans WHERE plan_id = %s", [plan_id])
    row = cursor.fetchone()
    if row is None:
        raise Conflict(f"Plan {plan_id} is not in the ledger: start a new run")
    cursor.execute("SELECT 1 FROM sources WHERE source = %s FOR SHARE", [row[0]])
    cursor.execute(
        "SELECT p.number, p.state, p.epoch, p.index_version, p.source, v.state FROM plans p "
        "JOIN index_versions v ON v.version = p.index_version WHERE p.plan_id = %s FOR UPDATE OF p",
        [plan_id],
    )
    row = cursor.fetchone()
    assert row is not None
    number, state, planned_under, version, source, version_state = row
    if state == "published":
        return None
    if state != "made":
        raise Conflict(f"Plan {number} of source {source!r} is {state}: start a new run")
    is_built = version_state in ("building", "ready")
    if not is_built and (planned_under != epoch or version_state != "live"):
        # Returned, not raised: the closing must be committed.
        close_whole(cursor, [plan_id])
        return f"The live index version was swapped while plan {number} of {source!r} ran: start a new run"
    if not is_built and held_seconds is not None and held_seconds > 0:
        raise Leased(
            f"Publishing is held for a swap of the index version, for at most {held_seconds:.1f} s more",
            retry_after_seconds=held_seconds,
        )
    cursor.execute(
        "SELECT 1 FROM documents WHERE document_id IN (SELECT document_id FROM plan_documents WHERE plan_id = %s) "
        "ORDER BY document_id FOR UPDATE",
        [plan_id],
    )
    names = {"plan": plan_id, "version": version}
    _refuse_unfinished(cursor, names)
    _drop_what_moved(cursor, names)
    _switch(cursor, names)
    if not is_built:
        _mark_deleted(cursor, names)
    _record_outcomes(cursor, names)
    cursor.execute("UPDATE plans SET state = 'published', ended_at = now() WHERE plan_id = %s", [plan_id])
    return None


def _refuse_unfinished(cursor: Cursor, names: dict[str, object]) -> None:
    cursor.execute(
        "SELECT count(*) FROM plan_documents pd WHERE pd.plan_id = %(plan)s AND pd.outcome IS NULL "
        "AND pd.action <> 'delete' AND NOT EXISTS (SELECT 1 FROM generations g WHERE g.plan_id = pd.plan_id "
        "AND g.document_id = pd.document_id AND g.index_version = %(version)s AND g.state = 'verified')",
        names,
    )
    (unfinished,) = cursor.fetchone() or (0,)
    if unfinished:
        raise Conflict(
            f"{unfinished} documents of the plan were neither loaded nor rejected: clear the run's load tasks, "
            "or start a new run"
        )


def _drop_what_moved(cursor: Cursor, names: dict[str, object]) -> None:
    cursor.execute(
        "UPDATE plan_documents pd SET outcome = CASE WHEN t.kind = 'erased' THEN 'erased' ELSE 'superseded' END "
        "FROM documents d LEFT JOIN tombstones t USING (document_id) "
        "LEFT JOIN generations c ON c.document_id = d.document_id AND c.index_version = %(version)s "
        "  AND c.state = 'current' "
        "WHERE pd.plan_id = %(plan)s AND pd.outcome IS NULL AND d.document_id = pd.document_id "
        "AND (t.kind IS NOT DISTINCT FROM 'erased' OR c.generation IS DISTINCT FROM pd.base)",
        names,
    )
    cursor.execute(
        "UPDATE generations g SET state = 'closed', ended_at = clock_timestamp() FROM plan_documents pd "
        "WHERE pd.plan_id = %(plan)s AND pd.outcome IS NOT NULL AND g.plan_id = pd.plan_id "
        "AND g.document_id = pd.document_id AND g.state IN ('loading', 'verified')",
        names,
    )


def _switch(cursor: Cursor, names: dict[str, object]) -> None:
    # First away with the old, then in with the new: at no moment are two generations of one document current.
    cursor.execute(
        "UPDATE generations g SET state = 'replaced', dirty = true, ended_at = clock_timestamp() "
        "FROM plan_documents pd WHERE pd.plan_id = %(plan)s AND pd.outcome IS NULL "
        "AND g.index_version = %(version)s AND g.document_id = pd.document_id AND g.state = 'current'",
        names,
    )
    cursor.execute(
        "UPDATE generations SET state = 'current', current_at = clock_timestamp() "
        "WHERE plan_id = %(plan)s AND index_version = %(version)s AND state = 'verified'",
        names,
    )
    cursor.execute(
        "DELETE FROM quarantine q USING plan_documents pd WHERE pd.plan_id = %(plan)s AND pd.outcome IS NULL "
        "AND q.document_id = pd.document_id AND q.index_version = %(version)s",
        names,
    )


def _mark_deleted(cursor: Cursor, names: dict[str, object]) -> None:
    # What is deleted or back is so in the source: a build, which follows the live version, says nothing about that.
    cursor.execute(
        "INSERT INTO tombstones (document_id, kind) SELECT document_id, 'deleted' FROM plan_documents "
        "WHERE plan_id = %(plan)s AND outcome IS NULL AND action = 'delete' ON CONFLICT (document_id) DO NOTHING",
        names,
    )
    cursor.execute(
        "DELETE FROM tombstones t USING plan_documents pd WHERE pd.plan_id = %(plan)s AND pd.outcome IS NULL "
        "AND pd.action <> 'delete' AND t.document_id = pd.document_id AND t.kind = 'deleted'",
        names,
    )


def _record_outcomes(cursor: Cursor, names: dict[str, object]) -> None:
    cursor.execute(
        "UPDATE plan_documents SET outcome = CASE action WHEN 'delete' THEN 'deleted' ELSE 'committed' END "
        "WHERE plan_id = %(plan)s AND outcome IS NULL",
        names,
    )
