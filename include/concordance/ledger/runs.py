"""Runs and the lease of a source: one run at a time per source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from concordance.errors import Conflict, Misconfigured
from concordance.ledger.database import Cursor, Database
from concordance.ledger.leases import (
    give_back,
    holds_builder,
    holds_source,
    keep_builder,
    keep_source,
    take_builder,
    take_source,
)

# So many of the last runs say how long the next one takes.
_MEASURED_RUNS = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """What the last published runs did, together: bytes read, chunks, texts, and seconds by stage."""

    runs: int
    bytes: int
    chunks: int
    embedded: int
    reused: int
    seconds: dict[str, float]


def enter_source(cursor: Cursor, *, source: str, tenant: str) -> str:
    """Note a declared source; returns the tenant that it belongs to. Until its first plan that is the last declared:
    a declaration may be corrected."""
    cursor.execute(
        "INSERT INTO sources AS s (source, tenant) VALUES (%s, %s) ON CONFLICT (source) DO UPDATE "
        "SET tenant = EXCLUDED.tenant WHERE s.tenant <> EXCLUDED.tenant AND s.last_plan_number = 0 "
        "AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.source = s.source)",
        [source, tenant],
    )
    cursor.execute("SELECT tenant FROM sources WHERE source = %s", [source])
    row = cursor.fetchone()
    assert row is not None
    return str(row[0])


class Runs:
    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    def open(
        self, *, run_id: str, source: str, tenant: str, request: dict[str, Any], build_id: str | None = None
    ) -> dict[str, Any] | None:
        """Take the source's lease for this run and record the run; a repeated call renews.

        Returns the plan reference that an earlier attempt of this run stored, if any. Raises `Leased` while another
        run holds the source, `Misconfigured` when the source was ingested for another tenant. A run of a build
        (`build_id`) holds the builder's place instead, and no source.
        """

        def work(cursor: Cursor) -> dict[str, Any] | None:
            known = enter_source(cursor, source=source, tenant=tenant)
            if known != tenant:
                raise Misconfigured(
                    f"Source {source!r} is declared for tenant {tenant!r} and was ingested for {known!r}: a tenant is "
                    "part of each document's identity, so declare it under another name, and erase what this one holds"
                )
            if build_id is None:
                take_source(cursor, source=source, run_id=run_id, seconds=self._lease_seconds)
            else:
                take_builder(cursor, build_id=build_id, seconds=self._lease_seconds)
            cursor.execute(
                "INSERT INTO runs (run_id, source, state, request, build_id) VALUES (%s, %s, 'planning', %s, %s) "
                "ON CONFLICT (run_id) DO NOTHING",
                [run_id, source, json.dumps(request), build_id],
            )
            cursor.execute("SELECT plan_reference FROM runs WHERE run_id = %s", [run_id])
            row = cursor.fetchone()
            return None if row is None else row[0]

        return self._database.transact("open a run", work)

    def renew(self, *, run_id: str, source: str) -> None:
        """Hold the run's lease (its source's, or the builder's place) for another span. Raises `Leased` when another
        took it meanwhile, `Conflict` when the run no longer holds it and its plan is closed: a late task must not keep
        the next run out."""

        self._extend("renew a source's lease", take_source, take_builder, run_id=run_id, source=source)

    def keep(self, *, run_id: str, source: str) -> None:
        """The same for a run at work, from any thread: what another took meanwhile is not taken back, though that one
        be done or dead by now. Raises `Leased` then, `Conflict` as `renew` does."""
        self._extend("keep a source's lease", keep_source, keep_builder, run_id=run_id, source=source)

    def _extend(
        self,
        what: str,
        source_lease: Callable[..., None],
        builder_lease: Callable[..., None],
        *,
        run_id: str,
        source: str,
    ) -> None:
        def work(cursor: Cursor) -> None:
            build_id = _build_of(cursor, run_id)
            if build_id is None:
                is_held = holds_source(cursor, source=source, run_id=run_id)
            else:
                is_held = holds_builder(cursor, build_id=build_id)
            if not is_held and _is_closed(cursor, run_id):
                raise Conflict(f"The plan of run {run_id!r} of source {source!r} is closed: start a new run")
            if build_id is None:
                source_lease(cursor, source=source, run_id=run_id, seconds=self._lease_seconds)
            else:
                builder_lease(cursor, build_id=build_id, seconds=self._lease_seconds)

        self._database.transact(what, work)

    def release(self, *, run_id: str, source: str) -> None:
        """Give the source's lease back, if this run holds it; the run itself can be taken up again."""
        self._database.transact("release a source", lambda cursor: give_back(cursor, source=source, run_id=run_id))

    def under_way(self) -> list[str]:
        """The sources that a run holds now."""

        def work(cursor: Cursor) -> list[str]:
            cursor.execute(
                "SELECT source FROM sources WHERE lease_holder IS NOT NULL AND lease_until > clock_timestamp() "
                "ORDER BY source"
            )
            return [row[0] for row in cursor]

        return self._database.transact("read what is under way", work)

    def give_up(self, *, run_id: str, source: str) -> None:
        """Give the source's lease back if the run's plan is closed: no attempt of this run can go on."""

        def work(cursor: Cursor) -> None:
            if holds_source(cursor, source=source, run_id=run_id) and _is_closed(cursor, run_id):
                give_back(cursor, source=source, run_id=run_id)

        self._database.transact("give a run up", work)

    def finish(self, *, run_id: str, source: str, state: str, report: dict[str, Any]) -> None:
        """Record how the run ended and give the source's lease back."""

        def work(cursor: Cursor) -> None:
            cursor.execute(
                "UPDATE runs SET state = %s, report = %s, finished_at = now() WHERE run_id = %s",
                [state, json.dumps(report), run_id],
            )
            give_back(cursor, source=source, run_id=run_id)

        self._database.transact("finish a run", work)

    def report(self, run_id: str) -> dict[str, Any] | None:
        """The run's row as JSON: state, request, report, times; None when there is no such run."""

        def work(cursor: Cursor) -> dict[str, Any] | None:
            cursor.execute(
                "SELECT row_to_json(r) FROM (SELECT run_id, source, state, request, report, started_at, finished_at "
                "FROM runs WHERE run_id = %s) r",
                [run_id],
            )
            row = cursor.fetchone()
            return None if row is None else row[0]

        return self._database.transact("read a run", work)

    def measured(self, source: str) -> Measured | None:
        """The last published runs of the source that wrote something; of any source if there is none; else None."""

        def work(cursor: Cursor) -> Measured | None:
            for chosen in (source, None):
                cursor.execute(_MEASURED, {"source": chosen, "runs": _MEASURED_RUNS})
                row = cursor.fetchone()
                if row is not None and row[0]:
                    runs, size, chunks, embedded, reused = map(int, row[:5])
                    seconds = dict(zip(("extract", "embed", "load"), map(float, row[5:]), strict=True))
                    return Measured(runs, size, chunks, embedded, reused, seconds)
            return None

        return self._database.transact("read what the last runs took", work)


_MEASURED = """
SELECT count(*), sum((counts ->> 'bytes')::bigint), sum((counts ->> 'chunks')::bigint),
       sum((counts ->> 'embedded')::bigint), sum((counts ->> 'reused')::bigint),
       sum((seconds ->> 'extract')::float8), sum((seconds ->> 'embed')::float8), sum((seconds ->> 'load')::float8)
FROM (
    SELECT report -> 'counts' AS counts, report -> 'seconds' AS seconds FROM runs
    WHERE state = 'published' AND build_id IS NULL AND (source = %(source)s OR %(source)s::text IS NULL)
      AND (report -> 'seconds' -> 'load') IS NOT NULL
      AND (report -> 'counts' ->> 'chunks')::bigint > 0 AND (report -> 'counts' ->> 'bytes')::bigint > 0
    ORDER BY started_at DESC LIMIT %(runs)s
) AS latest
"""


def _build_of(cursor: Cursor, run_id: str) -> str | None:
    cursor.execute("SELECT build_id FROM runs WHERE run_id = %s", [run_id])
    row = cursor.fetchone()
    return None if row is None else row[0]


def _is_closed(cursor: Cursor, run_id: str) -> bool:
    """Whether the run has plans, and none of them can still be worked on."""
    cursor.execute("SELECT bool_and(state = 'closed') FROM plans WHERE run_id = %s", [run_id])
    row = cursor.fetchone()
    return row is not None and row[0] is True
