"""Builds of an index version beside the live one: who builds, and what the two versions differ in.

What differs is a state, read from the two versions as they are now: a log of what happened meanwhile would miss what
commits late. Two versions hold the same of a document if one's generation was made from the other's, or if both saw
the document in the same state in its source.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from concordance.errors import Conflict
from concordance.ledger.database import Cursor, Database
from concordance.ledger.leases import give_builder_back, keep_builder, take_builder
from concordance.model import IndexVersion

# The stage that takes a document over as it was: what it rejects, nobody can make again.
CARRY = "carry"
SAME = """
    NOT f.is_damaged AND coalesce(
        (f.made_from_version = l.index_version AND f.made_from = l.generation)
        OR (l.made_from_version = f.index_version AND l.made_from = f.generation)
        OR l.source_digest = f.source_digest, false)
"""
# l: the live version's current generations; f: the other version's.
DIFFERENT = f"""
    (SELECT * FROM generations WHERE index_version = %(live)s AND state = 'current') l
    FULL JOIN (SELECT * FROM generations WHERE index_version = %(other)s AND state = 'current') f USING (document_id)
    WHERE (l.document_id IS NULL OR f.document_id IS NULL OR NOT ({SAME}))
"""  # noqa: S608 - constants
_DIFFERING = f"""
SELECT document_id, l.generation AS in_live, l.stamp, l.chunk_count, f.generation AS in_other FROM {DIFFERENT}
"""  # noqa: S608 - constants
# The stage or gate that rejected the very generation that is live, when a build tried it. What is rejected a second
# time was rejected as it was: nothing is left to try.
_REJECTED_IN = f"""
(SELECT CASE WHEN (SELECT count(*) FROM plans p JOIN plan_documents t USING (plan_id)
                   WHERE p.index_version = %(other)s AND t.document_id = x.document_id AND t.made_from = x.in_live
                   AND t.outcome = 'quarantined') > 1 THEN '{CARRY}' ELSE q.stage END
 FROM quarantine q JOIN plan_documents pd USING (plan_id, document_id)
 WHERE q.index_version = %(other)s AND q.document_id = x.document_id AND pd.made_from = x.in_live)
"""  # noqa: S608 - constants
_DIFFERENCES = f"""
SELECT x.document_id, d.uri, x.in_live, x.stamp, x.chunk_count, x.in_other, {_REJECTED_IN}
FROM ({_DIFFERING}) x JOIN documents d USING (document_id) WHERE d.source = %(source)s ORDER BY d.uri
"""  # noqa: S608 - constants
_LAG = f"""
SELECT count(*) FILTER (WHERE x.in_other IS NULL), count(*) FILTER (WHERE x.in_live IS NULL),
       count(*) FILTER (WHERE x.in_live IS NOT NULL AND x.in_other IS NOT NULL),
       count(*) FILTER (WHERE x.in_live IS NOT NULL AND {_REJECTED_IN} = '{CARRY}')
FROM ({_DIFFERING}) x
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Difference:
    """A document that is not the same in the live version and the other one. `in_live` and `in_other` are the current
    generations, None where there is none; `rejected_in` is the stage or gate that did not let this generation pass
    when a build tried it."""

    document_id: UUID
    uri: str
    in_live: int | None
    stamp: str | None
    chunk_count: int | None
    in_other: int | None
    rejected_in: str | None


@dataclass(frozen=True, slots=True)
class Lag:
    """How many documents a version is behind the live one: it lacks them, has them still, or has them otherwise. Those
    of them that nobody can make again are `lost`."""

    missing: int
    gone: int
    changed: int
    lost: int

    @property
    def documents(self) -> int:
        return self.missing + self.gone + self.changed


@dataclass(frozen=True, slots=True)
class Build:
    """A build as the ledger has it."""

    build_id: str
    version: int | None
    state: str
    request: dict[str, Any]
    report: dict[str, Any] | None


class Building:
    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    def begin(self, build_id: str, request: dict[str, Any]) -> Build:
        """Take the builder's place for this build and record it; a repeated call takes it up again. Raises `Leased`
        while another build is at work."""

        def work(cursor: Cursor) -> Build:
            take_builder(cursor, build_id=build_id, seconds=self._lease_seconds)
            cursor.execute(
                "INSERT INTO builds (build_id, state, request) VALUES (%s, 'running', %s) "
                "ON CONFLICT (build_id) DO UPDATE SET state = 'running', finished_at = NULL",
                [build_id, json.dumps(request)],
            )
            return _read(cursor, build_id)

        return self._database.transact("begin a build", work)

    def builds(self, build_id: str, version: IndexVersion) -> None:
        """Record which version this build makes. Raises `Leased` when another build took the builder's place."""

        def work(cursor: Cursor) -> None:
            take_builder(cursor, build_id=build_id, seconds=self._lease_seconds)
            cursor.execute("UPDATE builds SET index_version = %s WHERE build_id = %s", [version.version, build_id])

        self._database.transact("record what is built", work)

    def is_closed(self, plan_id: UUID) -> bool:
        """Whether a newer plan, or a swap, has closed this one."""

        def work(cursor: Cursor) -> bool:
            cursor.execute("SELECT state = 'closed' FROM plans WHERE plan_id = %s", [plan_id])
            row = cursor.fetchone()
            return row is not None and bool(row[0])

        return self._database.transact("read a build's plan", work)

    def get(self, build_id: str) -> Build:
        """Raises `Conflict` when there is no such build."""
        return self._database.transact("read a build", lambda cursor: _read(cursor, build_id))

    def newest_of(self, version: IndexVersion) -> Build | None:
        """The last build that worked on this version."""

        def work(cursor: Cursor) -> Build | None:
            cursor.execute(
                f"SELECT {_COLUMNS} FROM builds WHERE index_version = %s ORDER BY started_at DESC LIMIT 1",  # noqa: S608
                [version.version],
            )
            row = cursor.fetchone()
            return None if row is None else Build(*row)

        return self._database.transact("read the builds of a version", work)

    def renew(self, build_id: str) -> None:
        """Hold the builder's place for another span. Raises `Leased` when another build took it."""
        self._database.transact(
            "renew the builder's lease",
            lambda cursor: take_builder(cursor, build_id=build_id, seconds=self._lease_seconds),
        )

    def keep(self, build_id: str) -> None:
        """The same for a build at work, from any thread: what another took meanwhile is not taken back, though that one
        be done or dead by now. Raises `Leased` then."""
        self._database.transact(
            "keep the builder's lease",
            lambda cursor: keep_builder(cursor, build_id=build_id, seconds=self._lease_seconds),
        )

    def release(self, build_id: str) -> None:
        """Give the builder's place back; the build can be taken up again."""
        self._database.transact("release the builder", lambda cursor: give_builder_back(cursor, build_id=build_id))

    def finish(self, build_id: str, *, state: str, said: dict[str, Any]) -> None:
        """Record how the build ended, and give the builder's place back."""

        def work(cursor: Cursor) -> None:
            cursor.execute(
                "UPDATE builds SET state = %s, report = coalesce(report, '{}') || %s, finished_at = now() "
                "WHERE build_id = %s",
                [state, json.dumps(said), build_id],
            )
            cursor.execute(
                "UPDATE runs SET state = 'failed', finished_at = now() "
                "WHERE build_id = %s AND state IN ('planning', 'running')",
                [build_id],
            )
            give_builder_back(cursor, build_id=build_id)

        self._database.transact("finish a build", work)

    def record(self, build_id: str, said: dict[str, Any]) -> None:
        """Add to what the build has to report."""
        self._database.transact(
            "record what a build found",
            lambda cursor: cursor.execute(
                "UPDATE builds SET report = coalesce(report, '{}') || %s WHERE build_id = %s",
                [json.dumps(said), build_id],
            ),
        )

    def sources(self, versions: Sequence[IndexVersion]) -> dict[str, str]:
        """The sources with current documents in one of the versions, with their tenants."""

        def work(cursor: Cursor) -> dict[str, str]:
            cursor.execute(
                "SELECT s.source, s.tenant FROM sources s WHERE EXISTS (SELECT 1 FROM documents d "
                "JOIN generations g USING (document_id) WHERE d.source = s.source AND g.state = 'current' "
                "AND g.index_version = ANY(%s)) ORDER BY 1",
                [[version.version for version in versions]],
            )
            return dict(cursor.fetchall())

        return self._database.transact("read the sources of versions", work, is_bulk=True)

    def differences(self, live: IndexVersion, other: IndexVersion, source: str) -> list[Difference]:
        """What of a source is not the same in both versions, by uri."""

        def work(cursor: Cursor) -> list[Difference]:
            cursor.execute(_DIFFERENCES, {"live": live.version, "other": other.version, "source": source})
            return [Difference(*row) for row in cursor]

        return self._database.transact("compare two index versions", work, is_bulk=True)

    def lag(self, live: IndexVersion, other: IndexVersion) -> Lag:
        """How far the other version is behind the live one."""
        return self._database.transact(
            "count what differs in two index versions", lambda cursor: lag_of(cursor, live, other), is_bulk=True
        )


def lag_of(cursor: Cursor, live: IndexVersion, other: IndexVersion) -> Lag:
    cursor.execute(_LAG, {"live": live.version, "other": other.version})
    return Lag(*map(int, cursor.fetchone() or (0, 0, 0, 0)))


_COLUMNS = "build_id, index_version, state, request, report"


def _read(cursor: Cursor, build_id: str) -> Build:
    cursor.execute(f"SELECT {_COLUMNS} FROM builds WHERE build_id = %s", [build_id])  # noqa: S608 - constants
    row = cursor.fetchone()
    if row is None:
        raise Conflict(f"There is no build {build_id!r}: `python -m concordance index list` shows what there is")
    return Build(*row)
