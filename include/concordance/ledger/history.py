"""I8: what no allowed history of the ledger leaves behind.

Transitions along other than the allowed edges are refused by triggers (migration 0003), so that the protocol's own
transactions cannot take one. What is read here is what somebody did past them, and what several rows say together.
"""

from __future__ import annotations

from concordance.ledger.database import Cursor

FORBIDDEN = {
    "current generations whose plan was not published": (
        "SELECT count(*) FROM generations g JOIN plans p USING (plan_id) "
        "WHERE g.state = 'current' AND p.state <> 'published'"
    ),
    "open generations whose plan has ended": (
        "SELECT count(*) FROM generations g JOIN plans p USING (plan_id) "
        "WHERE g.state IN ('loading', 'verified') AND p.state IN ('published', 'closed')"
    ),
    "generations that still load in a verified batch": (
        "SELECT count(*) FROM generations g JOIN batches b USING (batch_id) "
        "WHERE g.state = 'loading' AND b.state = 'verified'"
    ),
    "generations whose times do not fit their state": (
        "SELECT count(*) FROM generations WHERE (state IN ('loading', 'verified') AND "
        "(current_at IS NOT NULL OR ended_at IS NOT NULL)) OR (state = 'current' AND (current_at IS NULL OR "
        "ended_at IS NOT NULL)) OR (state IN ('replaced', 'closed') AND ended_at IS NULL) "
        "OR (state = 'replaced' AND current_at IS NULL)"
    ),
    "generations in no list": (
        "SELECT count(*) FROM generations WHERE NOT dirty AND state IN ('loading', 'verified', 'replaced', 'closed')"
    ),
    "swept generations that are still on the dirty list": (
        "SELECT count(*) FROM generations WHERE dirty AND state = 'swept'"
    ),
    "documents with a generation number above their last one": (
        "SELECT count(*) FROM documents d WHERE EXISTS (SELECT 1 FROM generations g "
        "WHERE g.document_id = d.document_id AND g.generation > d.last_generation)"
    ),
    "deleted or erased documents with a current generation": (
        "SELECT count(*) FROM tombstones t JOIN generations g USING (document_id) JOIN index_versions v "
        "ON v.version = g.index_version WHERE g.state = 'current' AND (t.kind = 'erased' OR v.state = 'live')"
    ),
    "documents of a published plan without an outcome": (
        "SELECT count(*) FROM plan_documents pd JOIN plans p USING (plan_id) "
        "WHERE p.state IN ('published', 'closed') AND pd.outcome IS NULL"
    ),
    "committed documents without a generation that was current": (
        # A version that is dropped takes its generations along.
        "SELECT count(*) FROM plan_documents pd JOIN plans p USING (plan_id) JOIN index_versions v "
        "ON v.version = p.index_version WHERE pd.outcome = 'committed' AND v.state NOT IN ('dropping', 'dropped') "
        "AND NOT EXISTS (SELECT 1 FROM generations g WHERE g.plan_id = pd.plan_id AND g.document_id = pd.document_id "
        "AND g.state IN ('current', 'replaced', 'swept'))"
    ),
    "plans with a number above the last one of their source": (
        "SELECT count(*) FROM plans p JOIN sources s USING (source) WHERE p.number > s.last_plan_number"
    ),
    "index versions live beside another one": (
        "SELECT greatest(count(*) - 1, 0) FROM index_versions WHERE state = 'live'"
    ),
}


def read_forbidden(cursor: Cursor) -> dict[str, int]:
    """Counts of what is forbidden, by what it is; empty when nothing is."""
    found = {}
    for what, query in FORBIDDEN.items():
        cursor.execute(query)
        row = cursor.fetchone()
        if row is not None and row[0]:
            found[what] = int(row[0])
    return found
