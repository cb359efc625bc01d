"""The ledger's side of erase: one transaction hides, one ends it with the receipt; between them it says who is barred.

What is barred are documents, by their ids: those that the scope matched when the erasure began, and a document that
the scope names exactly even if the ledger had never heard of it. A document that comes later is a new one: it is
ingested, also where it matches the pattern or belongs to the tenant of an earlier erasure. (Whoever wants none of them
removes the source's declaration, or narrows its glob.) A barred document never comes back: no command lifts the bar.

Locks are taken in the ledger's one order: control, source, plan, batch, documents by id, generations. Holding the
sources for update keeps out every plan, begin, verified and publish of theirs, so each of these is wholly before the
erasure or wholly after it. A batch that holds barred documents beside others stays open: the barred ones drop out of
it singly, as they do at begin.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.errors import Conflict, Leased, Misconfigured
from concordance.ledger.database import Cursor, Database
from concordance.ledger.erasure_scope import Scope
from concordance.ledger.erasure_steps import MINE, Bar, bar, count_documents, forget, hide, matching, take_documents
from concordance.ledger.versions import version_from
from concordance.model import GenerationKey, IndexVersion

_COLUMNS = "erasure_id, requested_by, reason, scope, state, counts, artefacts_removed, hidden_at, erased_at, receipt"


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure as the ledger has it. `counts` are of what was hidden; `receipt` is there once it is erased.

    `is_new` is true only in the answer of the call that hid it.
    """

    erasure_id: UUID
    requested_by: str
    reason: str
    scope: Scope
    state: str
    counts: Mapping[str, int]
    artefacts_removed: int
    hidden_at: datetime
    erased_at: datetime | None
    receipt: Mapping[str, Any] | None
    is_new: bool = False

    @property
    def is_erased(self) -> bool:
        return self.state == "erased"


class Erasing:
    def __init__(self, database: Database, *, sweep_grace_seconds: float) -> None:
        self._database = database
        self._grace_seconds = sweep_grace_seconds

    def preview(self, scope: Scope, *, tenant: str | None = None) -> dict[str, int]:
        """What an erasure of this scope would hide now, as counts. `tenant` is the source's declared one."""

        def work(cursor: Cursor) -> dict[str, int]:
            matches, values = matching(cursor, scope, tenant)
            among = f"IN (SELECT document_id FROM documents d WHERE {matches})"  # noqa: S608 - constants
            return count_documents(cursor, among, values)

        return self._database.transact("preview an erasure", work, is_bulk=True)

    def begin(
        self, erasure_id: UUID, *, scope: Scope, requested_by: str, reason: str, tenant: str | None = None
    ) -> Erasure:
        """Hide what the scope names, in one transaction; a repeated call with the same id changes nothing.

        From its commit on no reader sees these documents and nothing ingests them: their current generations are
        replaced in every index version, their open ones closed, all of them dirty; their quarantine rows are gone, and
        open plans have them as erased. `tenant` is the declared tenant of the scope's source, for a source that never
        ran. Raises `Misconfigured` when the scope names nothing, `Conflict` when the id is of another request.
        """

        def work(cursor: Cursor) -> Erasure:
            cursor.execute("SELECT epoch FROM control FOR SHARE")
            cursor.execute(
                "INSERT INTO erasures (erasure_id, requested_by, reason, scope, state, hidden_at) "
                "VALUES (%s, %s, %s, %s, 'hidden', clock_timestamp()) ON CONFLICT (erasure_id) DO NOTHING",
                [erasure_id, requested_by, reason, json.dumps(scope.as_json())],
            )
            is_new = cursor.rowcount == 1
            if is_new:
                take_documents(cursor, erasure_id, scope, tenant)
                hide(cursor, erasure_id)
            erasure = _read(cursor, erasure_id)
            if erasure.scope != scope:
                raise Conflict(f"Erasure {erasure_id} was asked for with another scope: give this one an id of its own")
            return replace(erasure, is_new=is_new)

        return self._database.transact("begin an erasure", work, is_bulk=True)

    def get(self, erasure_id: UUID) -> Erasure:
        """Raises `Misconfigured` when there is no such erasure."""
        return self._database.transact("read an erasure", lambda cursor: _read(cursor, erasure_id))

    def unfinished(self) -> list[Erasure]:
        """Every erasure that is still only hidden, the oldest first."""

        def work(cursor: Cursor) -> list[Erasure]:
            cursor.execute(f"SELECT {_COLUMNS} FROM erasures WHERE state = 'hidden' ORDER BY hidden_at, erasure_id")  # noqa: S608 - constants
            return [_erasure(row) for row in cursor]

        return self._database.transact("read unfinished erasures", work)

    def kept_versions(self) -> list[IndexVersion]:
        """Every index version whose rows may still be in the stores."""

        def work(cursor: Cursor) -> list[IndexVersion]:
            cursor.execute(
                "SELECT v.version, v.state, v.settings, c.epoch FROM index_versions v, control c "
                "WHERE v.state <> 'dropped' ORDER BY v.version"
            )
            return [version_from(row) for row in cursor]

        return self._database.transact("read the kept index versions", work)

    def documents(self, erasure_id: UUID, *, page_documents: int) -> Iterator[list[UUID]]:
        """The barred documents in pages, ordered by id."""
        last = UUID(int=0)
        while True:
            page = self._database.transact(
                "read the documents of an erasure",
                lambda cursor, last=last: _page(cursor, erasure_id, last, page_documents),  # type: ignore[misc]
            )
            if page:
                yield page
            if len(page) < page_documents:
                return
            last = page[-1]

    def bars(self, document_ids: Sequence[UUID]) -> list[Bar]:
        """The bars of these documents, ordered by id."""

        def work(cursor: Cursor) -> list[Bar]:
            cursor.execute(
                "SELECT document_id, tenant, source FROM documents WHERE document_id = ANY(%s) ORDER BY document_id",
                [list(document_ids)],
            )
            return [Bar(*row) for row in cursor]

        return self._database.transact("read the bars of documents", work)

    def bar_again(self, bars: Sequence[Bar]) -> int:
        """Put bars up that a lost ledger had; returns how many were missing. A repeated call changes nothing."""

        return self._database.transact("bar erased documents again", lambda cursor: bar(cursor, bars), is_bulk=True)

    @contextmanager
    def clearing(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Iterator[list[GenerationKey]]:
        """Lock the documents as a sweep does, and yield their generations in this version, swept ones included.

        While the caller clears the stores, no batch begins one of these documents and no sweep works on them.
        """
        with self._database.locking("clear erased documents") as cursor:
            cursor.execute(
                "SELECT 1 FROM documents WHERE document_id = ANY(%s) ORDER BY document_id FOR UPDATE",
                [list(document_ids)],
            )
            cursor.execute(
                "SELECT document_id, generation FROM generations WHERE index_version = %s AND document_id = ANY(%s)",
                [version.version, list(document_ids)],
            )
            yield [GenerationKey(*row) for row in cursor]

    def named(self, erasure_id: UUID, document_ids: Collection[UUID]) -> set[UUID]:
        """Those of the documents that this erasure bars."""

        def work(cursor: Cursor) -> set[UUID]:
            cursor.execute(
                "SELECT document_id FROM erasure_documents WHERE erasure_id = %s AND document_id = ANY(%s)",
                [erasure_id, list(document_ids)],
            )
            return {row[0] for row in cursor}

        return self._database.transact("look documents up in an erasure", work)

    def remember_texts(self, erasure_id: UUID, text_digests: Collection[str]) -> None:
        """Texts of the barred documents that an artefact knew and the ledger did not."""
        self._database.transact(
            "remember texts of an erasure",
            lambda cursor: cursor.execute(
                "INSERT INTO erasure_texts (erasure_id, text_digest) SELECT %s, unnest(%s::bytea[]) "
                "ON CONFLICT DO NOTHING",
                [erasure_id, [bytes.fromhex(digest) for digest in set(text_digests)]],
            ),
        )

    def erased_texts(self, erasure_id: UUID, text_digests: Collection[str]) -> set[str]:
        """Those of the digests that are texts of the barred documents, and of no document that readers may see."""

        def work(cursor: Cursor) -> set[str]:
            cursor.execute(
                "SELECT encode(t.text_digest, 'hex') FROM erasure_texts t "
                "WHERE t.erasure_id = %s AND t.text_digest = ANY(%s) AND NOT EXISTS ("
                "  SELECT 1 FROM index_versions v JOIN chunks c ON c.index_version = v.version "
                "    AND c.text_digest = t.text_digest "
                "  JOIN generations g USING (index_version, document_id, generation) WHERE g.state = 'current')",
                [erasure_id, [bytes.fromhex(digest) for digest in text_digests]],
            )
            return {row[0] for row in cursor}

        return self._database.transact("look texts up in an erasure", work)

    def removed_artefacts(self, erasure_id: UUID, number: int) -> None:
        """Add to the erasure's count of removed artefacts."""
        self._database.transact(
            "count removed artefacts",
            lambda cursor: cursor.execute(
                "UPDATE erasures SET artefacts_removed = artefacts_removed + %s WHERE erasure_id = %s",
                [number, erasure_id],
            ),
        )

    def seconds_left(self, erasure_id: UUID) -> float:
        """How long a writer or reader of these documents may still be at work, by the ledger's clock; 0 when none."""
        return self._database.transact(
            "read when an erasure may end", lambda cursor: self._seconds_left(cursor, erasure_id), is_bulk=True
        )

    def _seconds_left(self, cursor: Cursor, erasure_id: UUID) -> float:
        cursor.execute(
            "SELECT extract(epoch FROM greatest(e.hidden_at, (SELECT max(g.writer_until) FROM index_versions v "  # noqa: S608 - constants
            f"  JOIN generations g ON g.index_version = v.version AND g.document_id {MINE})) "
            "+ make_interval(secs => %(grace)s) - clock_timestamp())::float8 FROM erasures e "
            "WHERE e.erasure_id = %(erasure)s",
            {"erasure": erasure_id, "grace": self._grace_seconds},
        )
        row = cursor.fetchone()
        return max(0.0, float(row[0])) if row is not None else 0.0

    def finish(self, erasure_id: UUID, *, evidence: Mapping[str, Any]) -> Erasure:
        """hidden -> erased, with the receipt; what the ledger itself still held of the documents goes.

        `evidence` is what the stores gave back last: counts and times. A repeated call changes nothing. Raises `Leased`
        while a writer's lease, or the grace after it, still runs.
        """

        def work(cursor: Cursor) -> Erasure:
            cursor.execute("SELECT epoch FROM control FOR SHARE")
            cursor.execute("SELECT 1 FROM erasures WHERE erasure_id = %s FOR UPDATE", [erasure_id])
            erasure = _read(cursor, erasure_id)
            if erasure.is_erased:
                return erasure
            if (left := self._seconds_left(cursor, erasure_id)) > 0:
                raise Leased(
                    f"Erasure {erasure_id} is hidden, not erased: a writer that began before it may be at work for "
                    f"{left:.0f} s more. Finish it then",
                    retry_after_seconds=left,
                )
            forget(cursor, erasure_id)
            cursor.execute("SELECT clock_timestamp()")
            (now,) = cursor.fetchone() or (None,)
            receipt = _receipt(erasure, _documents_digest(cursor, erasure_id), evidence, erased_at=now)
            cursor.execute(
                "UPDATE erasures SET state = 'erased', erased_at = %s, receipt = %s WHERE erasure_id = %s",
                [now, json.dumps(receipt), erasure_id],
            )
            return _read(cursor, erasure_id)

        return self._database.transact("finish an erasure", work, is_bulk=True)


def _documents_digest(cursor: Cursor, erasure_id: UUID) -> str:
    """SHA-256 over the barred documents' ids, in order: who has the ids can check it, nobody can read it."""
    cursor.execute(
        "SELECT encode(sha256(convert_to(string_agg(document_id::text, ',' ORDER BY document_id), 'UTF8')), 'hex') "
        "FROM erasure_documents WHERE erasure_id = %s",
        [erasure_id],
    )
    (digest,) = cursor.fetchone() or ("",)
    return str(digest)


def _receipt(
    erasure: Erasure, documents_digest: str, evidence: Mapping[str, Any], *, erased_at: datetime
) -> dict[str, Any]:
    said = {
        "erasure_id": str(erasure.erasure_id),
        "scope": erasure.scope.as_json(),
        "requested_by": erasure.requested_by,
        "reason": erasure.reason,
        "documents_digest": documents_digest,
        "hidden": dict(erasure.counts),
        "artefacts_removed": erasure.artefacts_removed,
        "read_back": dict(evidence),
        "hidden_at": erasure.hidden_at.isoformat(),
        "erased_at": erased_at.isoformat(),
    }
    return {**said, "receipt_digest": ids.digest(said)}


def _page(cursor: Cursor, erasure_id: UUID, last: UUID, limit: int) -> list[UUID]:
    cursor.execute(
        "SELECT document_id FROM erasure_documents WHERE erasure_id = %s AND document_id > %s "
        "ORDER BY document_id LIMIT %s",
        [erasure_id, last, limit],
    )
    return [row[0] for row in cursor]


def _read(cursor: Cursor, erasure_id: UUID) -> Erasure:
    cursor.execute(f"SELECT {_COLUMNS} FROM erasures WHERE erasure_id = %s", [erasure_id])  # noqa: S608 - constants
    row = cursor.fetchone()
    if row is None:
        raise Misconfigured(
            f"There is no erasure {erasure_id}: `python -m concordance erase --list` shows those that are not finished"
        )
    return _erasure(row)


def _erasure(row: tuple[Any, ...]) -> Erasure:
    erasure_id, requested_by, reason, scope, *rest = row
    return Erasure(erasure_id, requested_by, reason, Scope.from_json(scope), *rest)
