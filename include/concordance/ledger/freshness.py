"""Freshness: up to which moment a source is searchable, and how long its changes took to become so.

A **source state** is a whole listing: of the whole source, by a run that takes up everything it finds (no replay, no
`max_documents`). It is **fully searchable** when its plan was published, or ended with nothing to do, and no document
of it was superseded: that one was left to a newer plan, whose own state then counts. A document that was quarantined
does not keep a source stale: it is told of by the quarantine, and one that nobody can read would hide every later
delay. Only states that the live version has seen count: its own, and those of before it went live, which its build
caught up with; so a way back makes a source as old as the version that is live again.

A **change** is dated by what the source tells of the document, but never before the last whole listing that did not
show it (a moved or restored file has an old time), nor after the listing that did; where the source tells nothing, by
that listing. A document that a run took up in vain keeps its date for the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from concordance.ledger.database import Cursor, Database
from concordance.ledger.runs import enter_source

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
# So many earlier plans are asked whether they took a document up in vain.
_EARLIER_PLANS = 10
_IS_WHOLE = (
    "p.scope = '' AND p.made_at IS NOT NULL AND r.build_id IS NULL "
    "AND r.request ->> 'replay' IS NULL AND r.request ->> 'max_documents' IS NULL"
)


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source that was ever seen. `searchable_at` is when the newest fully searchable state was listed, None when
    there is none; `declared_at` when the source was first seen; `now` the ledger's clock."""

    source: str
    declared_at: datetime
    searchable_at: datetime | None
    now: datetime

    @property
    def age_seconds(self) -> float:
        """How old what is searchable is; a source of which nothing is counts from when it was first seen."""
        return max(0.0, (self.now - (self.searchable_at or self.declared_at)).total_seconds())


@dataclass(frozen=True, slots=True)
class ChangeLag:
    """From change to searchable, in seconds by quantile, over so many documents."""

    documents: int
    seconds: dict[str, float]


class Freshness:
    def __init__(self, database: Database) -> None:
        self._database = database

    def declare(self, sources: dict[str, str]) -> None:
        """Note the declared sources with their tenants: from then on one that is not searchable grows stale."""

        def work(cursor: Cursor) -> None:
            for source, tenant in sorted(sources.items()):
                enter_source(cursor, source=source, tenant=tenant)

        self._database.transact("note the declared sources", work)

    def states(self) -> list[SourceState]:
        """How far each source is searchable, by name, all at one moment."""
        with self._database.reading("read how fresh the sources are") as cursor:
            cursor.execute(_STATES)
            return [SourceState(*row) for row in cursor]

    def lag(self, source: str, *, window_seconds: float, max_documents: int) -> ChangeLag | None:
        """Over the documents that were published in the window, the newest first and at most so many; None when no
        change was."""
        with self._database.reading("read how long changes took") as cursor:
            cursor.execute(
                _LAG,
                {
                    "source": source,
                    "window": window_seconds,
                    "documents": max_documents,
                    "quantiles": list(QUANTILES.values()),
                },
            )
            documents, found = cursor.fetchone() or (0, None)
        if not documents:
            return None
        return ChangeLag(int(documents), dict(zip(QUANTILES, map(float, found), strict=True)))


def enter_plan_documents(
    cursor: Cursor,
    plan_id: UUID,
    *,
    document_ids: list[UUID],
    actions: list[str],
    bases: list[int | None],
    shards: list[int | None],
    made_from: list[int | None],
    changed_at: list[datetime | None],
) -> None:
    """Making a plan's part: enter the plan's documents, one place of each list a document, with their changes dated;
    `changed_at` are the source's own times."""
    cursor.execute(
        _ENTER,
        {
            "plan": plan_id,
            "earlier": _EARLIER_PLANS,
            "documents": document_ids,
            "actions": actions,
            "bases": bases,
            "shards": shards,
            "made_from": made_from,
            "changed_at": changed_at,
        },
    )


_STATES = f"""
SELECT s.source, s.declared_at, (
    SELECT p.drawn_at FROM plans p JOIN runs r USING (run_id)
    WHERE p.source = s.source AND {_IS_WHOLE}
      AND (p.state = 'published' OR (p.state = 'closed' AND r.state = 'nothing'
           AND r.plan_reference ->> 'plan_id' = p.plan_id::text))
      AND NOT EXISTS (SELECT 1 FROM plan_documents x WHERE x.plan_id = p.plan_id AND x.outcome = 'superseded')
      AND (p.index_version = live.version OR p.ended_at <= live.since)
    ORDER BY p.number DESC LIMIT 1), clock_timestamp()
FROM sources s LEFT JOIN (
    SELECT v.version, coalesce((SELECT min(b.finished_at) FROM builds b
                                WHERE b.index_version = v.version AND b.state = 'published'), v.created_at) AS since
    FROM index_versions v WHERE v.state = 'live') live ON true
ORDER BY 1
"""  # noqa: S608 - constants
_LAG = """
SELECT count(*), percentile_cont(%(quantiles)s::float8[]) WITHIN GROUP (ORDER BY seconds) FROM (
    SELECT greatest(0, extract(epoch FROM p.ended_at - pd.changed_at))::float8 AS seconds
    FROM plans p JOIN plan_documents pd USING (plan_id)
    WHERE p.source = %(source)s AND p.state = 'published'
      AND p.ended_at > clock_timestamp() - make_interval(secs => %(window)s)
      AND pd.outcome = 'committed' AND pd.changed_at IS NOT NULL
    ORDER BY p.ended_at DESC LIMIT %(documents)s
) AS changes
"""
# One pass over the plan's documents, each with a look into the few earlier plans by their key: rows that a transaction
# has written itself are in no statistics, and a join with them may be carried out as each with each.
_ENTER = f"""
WITH this AS (
    SELECT p.plan_id, p.source, p.number, p.drawn_at, r.build_id FROM plans p JOIN runs r USING (run_id)
    WHERE p.plan_id = %(plan)s
), listed AS (
    SELECT max(p.drawn_at) AS at FROM this, plans p JOIN runs r USING (run_id)
    WHERE p.source = this.source AND p.number < this.number AND {_IS_WHOLE}
), before AS MATERIALIZED (
    SELECT p.plan_id, p.number, p.drawn_at FROM this, plans p JOIN runs r USING (run_id)
    WHERE p.source = this.source AND p.number < this.number AND p.made_at IS NOT NULL AND r.build_id IS NULL
    ORDER BY p.number DESC LIMIT %(earlier)s
)
INSERT INTO plan_documents (plan_id, document_id, action, base, shard, made_from, changed_at, outcome)
SELECT this.plan_id, e.document_id, e.action, e.base, e.shard, e.made_from, CASE
        WHEN this.build_id IS NOT NULL OR e.action = 'delete' OR listed.at IS NULL THEN NULL
        WHEN earlier.outcome IN ('superseded', 'quarantined') AND coalesce(e.changed_at <= earlier.drawn_at, true)
            THEN earlier.changed_at
        ELSE greatest(listed.at, least(coalesce(e.changed_at, this.drawn_at), this.drawn_at)) END,
    -- What was erased since the plan listed has its outcome from the start: no stage takes it up.
    (SELECT t.kind FROM tombstones t WHERE t.document_id = e.document_id AND t.kind = 'erased')
FROM this CROSS JOIN listed CROSS JOIN
    unnest(%(documents)s::uuid[], %(actions)s::text[], %(bases)s::bigint[], %(shards)s::integer[],
           %(made_from)s::bigint[], %(changed_at)s::timestamptz[])
    AS e (document_id, action, base, shard, made_from, changed_at)
LEFT JOIN LATERAL (
    SELECT pd.outcome, pd.changed_at, before.drawn_at
    FROM before JOIN plan_documents pd ON pd.plan_id = before.plan_id AND pd.document_id = e.document_id
    ORDER BY before.number DESC LIMIT 1
) earlier ON true
"""  # noqa: S608 - constants
