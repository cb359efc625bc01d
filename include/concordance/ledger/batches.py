"""Batches: the ledger's side of loading. Begin names everything, verified says that it was read back from both stores.

Locks are taken in one order everywhere: control, source, plan, batch, documents by id, generations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.errors import Conflict, Corrupt, Leased, Transient
from concordance.ledger.database import Cursor, Database
from concordance.ledger.quarantine import quarantine_rows
from concordance.model import LinkRow, Manifest, Outcome, Rejection


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer to begin: the fencing token and, per document that is still in, its generation.

    `dropped` documents left the batch singly (erased, superseded, quarantined before). With `is_verified` an earlier
    attempt has finished this batch, and there is nothing to do.
    """

    token: int
    generations: dict[UUID, int]
    dropped: dict[UUID, Outcome]
    is_verified: bool = False


class Batches:
    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    def begin(self, batch_id: UUID, *, plan_id: UUID, manifests: Sequence[Manifest], holder: str) -> Begun:
        """INTENT: lease, fencing token, and the documents' generations, allotted once and dirty from now on.

        `holder` names the attempt: its own repeated call is not kept out by its own lease. Raises `Leased` while
        another attempt's lease runs, `Conflict` when the plan or the batch is closed, `Corrupt` when an earlier
        attempt began this batch with another manifest.
        """
        manifest_digest = ids.digest([manifest.as_json() for manifest in manifests])

        def work(cursor: Cursor) -> Begun:
            plan = _lock_plan(cursor, plan_id)
            batch = _lock_batch(cursor, batch_id, plan=plan, holder=holder, manifest_digest=manifest_digest)
            if batch.is_verified:
                return batch
            if plan.state != "made":
                raise Conflict(f"Plan {plan.number} of source {plan.source!r} is {plan.state}: start a new run")
            standing = _standing(cursor, batch_id, plan, manifests)
            dropped = {document_id: outcome for document_id, (outcome, _) in standing.items() if outcome is not None}
            _record_dropped(cursor, plan_id, dropped)
            kept = [manifest for manifest in manifests if manifest.document_id not in dropped]
            fresh = [manifest for manifest in kept if standing[manifest.document_id][1] is None]
            # Before the new generations are entered, which bring the same span along: they are written once.
            self._take_lease(cursor, batch_id, holder)
            generations = {
                document_id: generation for document_id, (_, generation) in standing.items() if generation is not None
            } | _allot(cursor, batch_id, plan, fresh, self._lease_seconds)
            return replace(
                batch,
                token=batch.token + 1,
                generations={manifest.document_id: generations[manifest.document_id] for manifest in kept},
                dropped=dropped,
            )

        return self._database.transact("begin a batch", work)

    def _take_lease(self, cursor: Cursor, batch_id: UUID, holder: str) -> None:
        cursor.execute(
            "UPDATE batches SET token = token + 1, holder = %s, "
            "lease_until = clock_timestamp() + make_interval(secs => %s) WHERE batch_id = %s",
            [holder, self._lease_seconds, batch_id],
        )
        cursor.execute(
            "UPDATE generations SET writer_until = clock_timestamp() + make_interval(secs => %s) "
            "WHERE batch_id = %s AND state = 'loading'",
            [self._lease_seconds, batch_id],
        )

    def links_to(self, plan_id: UUID, document_ids: Sequence[UUID]) -> list[LinkRow]:
        """Links of open and current generations whose target is one of these documents.

        Read after the targets' nodes were written: a link whose own batch did not find the target is then in here.
        """

        def work(cursor: Cursor) -> list[LinkRow]:
            cursor.execute(
                "SELECT l.document_id, l.target_id, l.kind, l.generation FROM plans p "
                "JOIN links l ON l.index_version = p.index_version AND l.target_id = ANY(%s) "
                "JOIN generations g ON g.index_version = l.index_version AND g.document_id = l.document_id "
                "  AND g.generation = l.generation "
                "WHERE p.plan_id = %s AND g.state IN ('loading', 'verified', 'current') "
                "ORDER BY l.document_id, l.target_id, l.kind",
                [list(document_ids), plan_id],
            )
            return [LinkRow(*row) for row in cursor]

        return self._database.transact("read waiting links", work)

    def reject(self, batch_id: UUID, token: int, rejection: Rejection, *, rejected_under: str) -> None:
        """Take one poison document out of the batch: its generation is closed, the document quarantined."""

        def work(cursor: Cursor) -> None:
            plan_id = _plan_of(cursor, batch_id)
            _lock_plan(cursor, plan_id)
            _hold(cursor, batch_id, token)
            cursor.execute(
                "UPDATE generations SET state = 'closed', ended_at = clock_timestamp() "
                "WHERE batch_id = %s AND document_id = %s AND state = 'loading'",
                [batch_id, rejection.document_id],
            )
            quarantine_rows(cursor, plan_id, [rejection], rejected_under=rejected_under)

        self._database.transact("take a document out of a batch", work)

    def verified(self, batch_id: UUID, token: int) -> None:
        """Both stores gave back what the manifest names. A repeated call changes nothing.

        Raises `Conflict` for a stale token, a closed batch or plan; `Transient` when the lease ran out.
        """

        def work(cursor: Cursor) -> None:
            plan = _lock_plan(cursor, _plan_of(cursor, batch_id))
            if _hold(cursor, batch_id, token) == "verified":
                return
            if plan.state != "made":
                raise Conflict(f"Plan {plan.number} of source {plan.source!r} is {plan.state}: start a new run")
            cursor.execute(
                "UPDATE generations SET state = 'verified' WHERE batch_id = %s AND state = 'loading'", [batch_id]
            )
            cursor.execute("UPDATE batches SET state = 'verified', verified_at = now() WHERE batch_id = %s", [batch_id])

        self._database.transact("mark a batch verified", work)

    def release(self, batch_id: UUID, token: int) -> None:
        """Give the lease back after a failure, so that the next attempt need not wait for its end.

        The generations keep `writer_until`: a request that is still under way ends before any sweep begins.
        """
        self._database.transact(
            "release a batch",
            lambda cursor: cursor.execute(
                "UPDATE batches SET lease_until = clock_timestamp() WHERE batch_id = %s AND token = %s",
                [batch_id, token],
            ),
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    plan_id: UUID
    source: str
    number: int
    state: str
    index_version: int


def _lock_plan(cursor: Cursor, plan_id: UUID) -> _Plan:
    # Held shared: making a newer plan of this source, which closes this one, waits until we have committed.
    cursor.execute(
        "SELECT 1 FROM sources WHERE source = (SELECT source FROM plans WHERE plan_id = %s) FOR SHARE", [plan_id]
    )
    cursor.execute(
        "SELECT plan_id, source, number, state, index_version FROM plans WHERE plan_id = %s FOR SHARE", [plan_id]
    )
    row = cursor.fetchone()
    if row is None:
        raise Conflict(f"Plan {plan_id} is not in the ledger: start a new run")
    return _Plan(*row)


def _lock_batch(cursor: Cursor, batch_id: UUID, *, plan: _Plan, holder: str, manifest_digest: str) -> Begun:
    cursor.execute(
        "INSERT INTO batches (batch_id, plan_id, index_version, state, token, holder, lease_until, manifest_digest) "
        "VALUES (%s, %s, %s, 'intent', 0, '', clock_timestamp(), %s) ON CONFLICT (batch_id) DO NOTHING",
        [batch_id, plan.plan_id, plan.index_version, manifest_digest],
    )
    cursor.execute(
        "SELECT state, token, holder, extract(epoch FROM lease_until - clock_timestamp())::float8, manifest_digest "
        "FROM batches WHERE batch_id = %s FOR UPDATE",
        [batch_id],
    )
    row = cursor.fetchone()
    assert row is not None
    state, token, leased_by, seconds_left, begun_with = row
    if begun_with != manifest_digest:
        raise Corrupt(
            f"Batch {batch_id} began with another manifest: an artefact of the run is not what it was. Start a new run"
        )
    if state == "closed":
        raise Conflict(f"Batch {batch_id} is closed: a newer plan or an erase was first. Start a new run")
    if state == "verified":
        return Begun(token=token, generations={}, dropped={}, is_verified=True)
    if seconds_left > 0 and leased_by != holder:
        raise Leased(
            f"Batch {batch_id} is being loaded by another attempt for at most {seconds_left:.1f} s more",
            retry_after_seconds=seconds_left,
        )
    return Begun(token=token, generations={}, dropped={})


def _standing(
    cursor: Cursor, batch_id: UUID, plan: _Plan, manifests: Sequence[Manifest]
) -> dict[UUID, tuple[Outcome | None, int | None]]:
    """Per document: the outcome with which it drops out, if any, and the generation that this batch has for it."""
    document_ids = sorted(manifest.document_id for manifest in manifests)
    cursor.execute(
        "SELECT 1 FROM documents WHERE document_id = ANY(%s) ORDER BY document_id FOR UPDATE", [document_ids]
    )
    cursor.execute(
        "SELECT pd.document_id, pd.outcome, t.kind IS NOT DISTINCT FROM 'erased', "
        "  current.generation IS DISTINCT FROM pd.base, mine.generation, mine.state, "
        "  EXISTS (SELECT 1 FROM plans n WHERE n.source = %(source)s AND n.number > %(number)s "
        "    AND n.index_version = %(version)s AND n.state IN ('made', 'published') AND covers(n.scope, d.uri)) "
        "FROM plan_documents pd JOIN documents d USING (document_id) "
        "LEFT JOIN tombstones t USING (document_id) "
        # Each a look by its key: joined, all that is current may be read for every document.
        "LEFT JOIN LATERAL (SELECT generation FROM generations WHERE index_version = %(version)s "
        "  AND document_id = pd.document_id AND state = 'current' LIMIT 1) current ON true "
        "LEFT JOIN LATERAL (SELECT generation, state FROM generations WHERE batch_id = %(batch)s "
        "  AND document_id = pd.document_id LIMIT 1) mine ON true "
        "WHERE pd.plan_id = %(plan)s AND pd.document_id = ANY(%(documents)s) AND pd.action <> 'delete'",
        {
            "source": plan.source,
            "number": plan.number,
            "version": plan.index_version,
            "batch": batch_id,
            "plan": plan.plan_id,
            "documents": document_ids,
        },
    )
    standing = {
        row[0]: (_dropped_as(outcome=row[1], erased=row[2], moved=row[3] or row[6], state=row[5]), row[4])
        for row in cursor
    }
    missing = set(document_ids) - standing.keys()
    if missing:
        raise Conflict(f"Batch {batch_id} holds {len(missing)} documents that its plan does not name: start a new run")
    return standing


def _dropped_as(*, outcome: str | None, erased: bool, moved: bool, state: str | None) -> Outcome | None:
    if outcome is not None:
        return Outcome(outcome)
    if erased:
        return Outcome.ERASED
    if moved or state == "closed":
        return Outcome.SUPERSEDED
    return None


def _record_dropped(cursor: Cursor, plan_id: UUID, dropped: dict[UUID, Outcome]) -> None:
    cursor.execute(
        "UPDATE plan_documents pd SET outcome = d.outcome "
        "FROM unnest(%s::uuid[], %s::text[]) AS d (document_id, outcome) "
        "WHERE pd.plan_id = %s AND pd.document_id = d.document_id AND pd.outcome IS NULL",
        [list(dropped), [str(outcome) for outcome in dropped.values()], plan_id],
    )
    cursor.execute(
        "UPDATE generations SET state = 'closed', ended_at = clock_timestamp() "
        "WHERE plan_id = %s AND document_id = ANY(%s) AND state IN ('loading', 'verified')",
        [plan_id, list(dropped)],
    )


def _allot(
    cursor: Cursor, batch_id: UUID, plan: _Plan, manifests: Sequence[Manifest], lease_seconds: float
) -> dict[UUID, int]:
    """A new generation for each document, with the names of its chunks and its links."""
    if not manifests:
        return {}
    cursor.execute(
        "UPDATE documents SET last_generation = last_generation + 1 WHERE document_id = ANY(%s) "
        "RETURNING document_id, last_generation",
        [[manifest.document_id for manifest in manifests]],
    )
    generations: dict[UUID, int] = dict(cursor.fetchall())
    cursor.executemany(
        "INSERT INTO generations (index_version, document_id, generation, batch_id, plan_id, state, base, title, "
        "fingerprint, stamp, access, content_digest, chunk_count, source_digest, made_from_version, made_from, "
        "is_stale, writer_until) VALUES (%s, %s, %s, %s, %s, 'loading', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, "
        "clock_timestamp() + make_interval(secs => %s))",
        [
            (
                plan.index_version,
                m.document_id,
                generations[m.document_id],
                batch_id,
                plan.plan_id,
                m.base,
                m.title,
                m.fingerprint,
                m.stamp,
                list(m.access),
                m.content_digest,
                len(m.text_digests),
                m.source_digest,
                *(m.made_from or (None, None)),
                m.is_stale,
                lease_seconds,
            )
            for m in manifests
        ],
    )
    with cursor.copy(
        "COPY chunks (index_version, document_id, generation, ordinal, chunk_id, text_digest) FROM STDIN"
    ) as copy:
        for row in _chunk_rows(plan.index_version, manifests, generations):
            copy.write_row(row)
    with cursor.copy("COPY links (index_version, document_id, generation, target_id, kind) FROM STDIN") as copy:
        for m in manifests:
            for target_id, kind in m.links:
                copy.write_row((plan.index_version, m.document_id, generations[m.document_id], target_id, kind))
    return generations


def _chunk_rows(index_version: int, manifests: Sequence[Manifest], generations: dict[UUID, int]) -> Any:
    for m in manifests:
        generation = generations[m.document_id]
        for ordinal, text_digest in enumerate(m.text_digests):
            chunk_id = ids.chunk_id(
                index_version=index_version, document_id=m.document_id, generation=generation, ordinal=ordinal
            )
            yield index_version, m.document_id, generation, ordinal, chunk_id, bytes.fromhex(text_digest)


def _plan_of(cursor: Cursor, batch_id: UUID) -> UUID:
    cursor.execute("SELECT plan_id FROM batches WHERE batch_id = %s", [batch_id])
    row = cursor.fetchone()
    if row is None:
        raise Conflict(f"Batch {batch_id} is not in the ledger: start a new run")
    plan_id: UUID = row[0]
    return plan_id


def _hold(cursor: Cursor, batch_id: UUID, token: int) -> str:
    """Lock the batch and check that `token` is still its newest and that its lease runs; returns the batch's state."""
    cursor.execute(
        "SELECT state, token, lease_until > clock_timestamp() FROM batches WHERE batch_id = %s FOR UPDATE", [batch_id]
    )
    row = cursor.fetchone()
    assert row is not None
    state, newest, is_leased = row
    if newest != token:
        raise Conflict(f"Batch {batch_id} was taken over by another attempt (token {newest}, ours {token})")
    if state == "closed":
        raise Conflict(f"Batch {batch_id} is closed: a newer plan or an erase was first. Start a new run")
    if state == "intent" and not is_leased:
        raise Transient(
            f"The lease of batch {batch_id} ran out before it was verified: the next attempt begins it again. If this "
            "happens often, raise AIRFLOW__CONCORDANCE__LEASE_SECONDS or lower AIRFLOW__CONCORDANCE__BATCH_CHUNKS"
        )
    return str(state)
