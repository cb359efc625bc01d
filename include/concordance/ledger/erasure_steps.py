"""The statements of an erasure: what a scope matches, what hiding changes, and what the ledger forgets in the end.

All of them run inside one transaction of `erasing.py` and take their locks in the ledger's one order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.errors import Misconfigured
from concordance.ledger.database import Cursor
from concordance.ledger.erasure_scope import Scope, glob_regex

MINE = "IN (SELECT document_id FROM erasure_documents WHERE erasure_id = %(erasure)s)"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a document's bar needs to be put up again, in a ledger that never heard of the document."""

    document_id: UUID
    tenant: str
    source: str


def matching(cursor: Cursor, scope: Scope, declared: str | None) -> tuple[str, dict[str, Any]]:
    """The condition on `documents d` that the scope means, with its values."""
    if scope.tenant is not None:
        return "d.tenant = %(tenant)s", {"tenant": scope.tenant}
    if scope.pattern is not None:
        return "d.source = %(source)s AND d.uri ~ %(regex)s", {
            "source": scope.source,
            "regex": glob_regex(scope.pattern),
        }
    cursor.execute("SELECT tenant FROM sources WHERE source = %s", [scope.source])
    tenants = {row[0] for row in cursor} | ({declared} if declared else set())
    named = [ids.document_id(tenant=tenant, source=scope.source or "", uri=scope.uri or "") for tenant in tenants]
    return "d.source = %(source)s AND (d.uri = %(uri)s OR d.document_id = ANY(%(named)s))", {
        "source": scope.source,
        "uri": scope.uri,
        "named": named,
    }


def take_documents(cursor: Cursor, erasure_id: UUID, scope: Scope, declared: str | None) -> None:
    """Lock the sources, and write down which documents the erasure bars: from here on it is these and no others."""
    if scope.uri is not None and declared is not None:
        cursor.execute(
            "INSERT INTO sources (source, tenant) VALUES (%s, %s) ON CONFLICT (source) DO NOTHING",
            [scope.source, declared],
        )
    column, value = ("tenant", scope.tenant) if scope.tenant is not None else ("source", scope.source)
    cursor.execute(f"SELECT source, tenant FROM sources WHERE {column} = %s ORDER BY source FOR UPDATE", [value])  # noqa: S608 - constants
    sources = cursor.fetchall()
    if not sources:
        raise Misconfigured(
            f"Nothing to erase: the ledger knows no {column} of this name, and no declaration names it. Check the "
            f"spelling (`python -m concordance sources` lists what is declared)"
        )
    if scope.uri is not None:
        ((source, known),) = sources
        tenant = declared or known
        cursor.execute(
            "INSERT INTO documents (document_id, tenant, source, uri) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [ids.document_id(tenant=tenant, source=source, uri=scope.uri), tenant, source, scope.uri],
        )
    matches, values = matching(cursor, scope, declared)
    cursor.execute(
        "INSERT INTO erasure_documents (erasure_id, document_id) "  # noqa: S608 - constants
        f"SELECT %(erasure)s, d.document_id FROM documents d WHERE {matches}",
        {**values, "erasure": erasure_id},
    )
    if not cursor.rowcount:
        raise Misconfigured("Nothing to erase: the scope matches no document that the ledger knows. Nothing was barred")


def hide(cursor: Cursor, erasure_id: UUID) -> None:
    mine: dict[str, Any] = {"erasure": erasure_id}
    cursor.execute(
        f"SELECT 1 FROM documents d WHERE d.document_id {MINE} ORDER BY d.document_id FOR UPDATE",  # noqa: S608 - constants
        mine,
    )
    counts = count_documents(cursor, MINE, mine)
    cursor.execute(
        "INSERT INTO tombstones (document_id, kind) SELECT document_id, 'erased' FROM erasure_documents "
        "WHERE erasure_id = %(erasure)s ORDER BY document_id "
        "ON CONFLICT (document_id) DO UPDATE SET kind = 'erased', at = now() WHERE tombstones.kind <> 'erased'",
        mine,
    )
    cursor.execute(
        "INSERT INTO erasure_texts (erasure_id, text_digest) SELECT DISTINCT %(erasure)s::uuid, c.text_digest "  # noqa: S608 - constants
        f"FROM index_versions v JOIN chunks c ON c.index_version = v.version AND c.document_id {MINE}",
        mine,
    )
    # The title is text of the document; only a current generation's is ever shown.
    for before, after in (("= 'current'", "replaced"), ("IN ('loading', 'verified')", "closed")):
        cursor.execute(
            f"UPDATE generations g SET state = '{after}', dirty = true, title = NULL, ended_at = clock_timestamp() "  # noqa: S608 - constants
            f"FROM index_versions v WHERE g.index_version = v.version AND g.document_id {MINE} AND g.state {before}",
            mine,
        )
    cursor.execute(
        "UPDATE plan_documents pd SET outcome = 'erased' FROM plans p WHERE p.state IN ('drawn', 'made') "  # noqa: S608 - constants
        f"AND pd.plan_id = p.plan_id AND pd.document_id {MINE} AND pd.outcome IS NULL",
        mine,
    )
    _clear_quarantine(cursor, mine)
    cursor.execute(
        "UPDATE erasures SET counts = %(counts)s WHERE erasure_id = %(erasure)s", {**mine, "counts": json.dumps(counts)}
    )


def _clear_quarantine(cursor: Cursor, mine: dict[str, Any]) -> None:
    cursor.execute(
        f"DELETE FROM quarantine q USING index_versions v WHERE q.index_version = v.version AND q.document_id {MINE}",  # noqa: S608 - constants
        mine,
    )


def count_documents(cursor: Cursor, among: str, values: Mapping[str, Any]) -> dict[str, int]:
    """Of the documents: how many, already erased, with something to show, in work, generations, chunks, quarantined."""
    cursor.execute(
        f"SELECT (SELECT count(*) FROM documents WHERE document_id {among}), "  # noqa: S608 - constants
        f"(SELECT count(*) FROM tombstones WHERE kind = 'erased' AND document_id {among}), "
        "count(DISTINCT g.document_id) FILTER (WHERE g.state = 'current'), "
        "count(*) FILTER (WHERE g.state IN ('loading', 'verified')), "
        "count(g.generation) FILTER (WHERE g.state <> 'swept'), "
        "coalesce(sum(g.chunk_count) FILTER (WHERE g.state <> 'swept'), 0), "
        f"(SELECT count(*) FROM quarantine WHERE document_id {among}) "
        f"FROM index_versions v JOIN generations g ON g.index_version = v.version AND g.document_id {among}",
        values,
    )
    names = ("documents", "already_erased", "shown", "in_work", "generations", "chunks", "quarantined")
    return dict(zip(names, map(int, cursor.fetchone() or ()), strict=True))


def forget(cursor: Cursor, erasure_id: UUID) -> None:
    """Take out of the ledger what it held of the documents; what stays are ids, numbers, states and times."""
    mine: dict[str, Any] = {"erasure": erasure_id}
    cursor.execute(
        "SELECT 1 FROM sources WHERE source IN "  # noqa: S608 - constants
        f"(SELECT d.source FROM documents d WHERE d.document_id {MINE}) ORDER BY source FOR UPDATE",
        mine,
    )
    cursor.execute(
        f"SELECT 1 FROM documents d WHERE d.document_id {MINE} ORDER BY d.document_id FOR UPDATE",  # noqa: S608 - constants
        mine,
    )
    for table in ("chunks", "links"):
        cursor.execute(
            f"DELETE FROM {table} r USING index_versions v WHERE r.index_version = v.version AND r.document_id {MINE}",  # noqa: S608 - constants
            mine,
        )
    cursor.execute(
        "UPDATE generations g SET state = 'swept', dirty = false, title = NULL, fingerprint = '', stamp = '', "  # noqa: S608 - constants
        "access = '{}', content_digest = '' FROM index_versions v "
        f"WHERE g.index_version = v.version AND g.document_id {MINE} AND g.state IN ('closed', 'replaced', 'swept')",
        mine,
    )
    _clear_quarantine(cursor, mine)
    # A run over one document has its uri as scope; what ended needs it no more.
    cursor.execute(
        "UPDATE plans p SET scope = 'erased:' || d.document_id FROM documents d "  # noqa: S608 - constants
        f"WHERE d.document_id {MINE} AND p.source = d.source AND p.scope = d.uri "
        "AND p.state IN ('published', 'closed')",
        mine,
    )
    cursor.execute(
        "UPDATE runs r SET request = jsonb_set(r.request, '{subpath}', to_jsonb('erased:' || d.document_id)) "  # noqa: S608 - constants
        f"FROM documents d WHERE d.document_id {MINE} AND r.source = d.source "
        "AND r.request ->> 'subpath' = d.uri AND r.finished_at IS NOT NULL",
        mine,
    )
    cursor.execute(
        f"UPDATE documents d SET uri = 'erased:' || d.document_id WHERE d.document_id {MINE}",  # noqa: S608 - constants
        mine,
    )
    cursor.execute("DELETE FROM erasure_texts WHERE erasure_id = %(erasure)s", mine)


def bar(cursor: Cursor, bars: Sequence[Bar]) -> int:
    """Bar documents that a lost ledger had barred, and hide those that were taken over from the stores meanwhile.

    Returns how many bars were missing. Nothing is known of a barred document but its id, tenant and source.
    """
    documents, tenants, sources = (
        [each.document_id for each in bars],
        [b.tenant for b in bars],
        [b.source for b in bars],
    )
    cursor.execute(
        "INSERT INTO sources (source, tenant) SELECT DISTINCT ON (source) source, tenant "
        "FROM unnest(%s::text[], %s::text[]) AS b (tenant, source) ORDER BY source ON CONFLICT (source) DO NOTHING",
        [tenants, sources],
    )
    cursor.execute(
        "INSERT INTO documents (document_id, tenant, source, uri) "
        "SELECT document_id, tenant, source, 'erased:' || document_id "
        "FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS b (document_id, tenant, source) "
        "ORDER BY document_id ON CONFLICT (document_id) DO UPDATE SET uri = excluded.uri",
        [documents, tenants, sources],
    )
    cursor.execute(
        "INSERT INTO tombstones (document_id, kind) SELECT document_id, 'erased' "
        "FROM unnest(%s::uuid[]) AS b (document_id) ORDER BY document_id "
        "ON CONFLICT (document_id) DO UPDATE SET kind = 'erased', at = now() WHERE tombstones.kind <> 'erased'",
        [documents],
    )
    missing = cursor.rowcount
    cursor.execute(
        "UPDATE generations g SET state = 'replaced', dirty = true, title = NULL, ended_at = clock_timestamp() "
        "FROM index_versions v WHERE g.index_version = v.version AND g.document_id = ANY(%s) AND g.state = 'current'",
        [documents],
    )
    return missing
