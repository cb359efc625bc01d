"""What readers see: everything inside one snapshot belongs to one moment of the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from concordance.errors import Misconfigured
from concordance.ledger.database import Cursor
from concordance.ledger.history import read_forbidden
from concordance.ledger.versions import version_from
from concordance.model import DocumentRow, GenerationKey, IndexVersion, LinkRow, Span, StoredChunk

_PAGE_ROWS = 5_000
# The digest is `ids.document_digest`: the same words, joined by the same separator.
_COMMITTED = """
SELECT c.chunk_id, c.document_id, c.generation, c.ordinal, encode(c.text_digest, 'hex'),
       CASE WHEN g.state = 'current' THEN substr(sha256(convert_to(concat_ws(E'\\x1f', d.tenant, d.source, d.uri,
         CASE WHEN g.title IS NULL THEN '0' ELSE '1' || g.title END,
         array_to_string(g.access, E'\\x1f')), 'UTF8')), 1, 8) END
FROM (SELECT * FROM chunks WHERE index_version = %s AND chunk_id > %s AND chunk_id <= %s ORDER BY chunk_id LIMIT %s) c
CROSS JOIN LATERAL (SELECT state, title, access FROM generations g WHERE g.index_version = c.index_version
                    AND g.document_id = c.document_id AND g.generation = c.generation LIMIT 1) g
CROSS JOIN LATERAL (SELECT tenant, source, uri FROM documents WHERE document_id = c.document_id LIMIT 1) d
ORDER BY c.chunk_id
"""

_PROMISES = """
SELECT g.document_id, d.tenant, d.source, d.uri, g.generation, g.title, g.fingerprint, g.access, g.stamp,
       g.content_digest, g.chunk_count, g.dirty,
       ARRAY(SELECT l.kind || ' ' || l.target_id FROM links l WHERE l.index_version = g.index_version
             AND l.document_id = g.document_id AND l.generation = g.generation ORDER BY 1),
       ARRAY(SELECT encode(c.text_digest, 'hex') FROM chunks c WHERE c.index_version = g.index_version
             AND c.document_id = g.document_id AND c.generation = g.generation ORDER BY c.ordinal)
FROM generations g JOIN documents d USING (document_id)
WHERE g.index_version = %(version)s AND g.state = 'current' """
_PROMISES_AFTER = f"{_PROMISES} AND g.document_id > %(after)s ORDER BY g.document_id LIMIT %(limit)s"
_PROMISES_OF = f"{_PROMISES} AND g.document_id = ANY(%(documents)s) ORDER BY g.document_id"


@dataclass(frozen=True, slots=True)
class Promise:
    """A current generation as the ledger has it: its row with stamp, content digest and links, its texts' digests."""

    row: DocumentRow
    chunk_count: int
    is_dirty: bool
    text_digests: tuple[str, ...]

    @property
    def key(self) -> GenerationKey:
        return GenerationKey(self.row.document_id, self.row.generation)


class Snapshot:
    """One REPEATABLE READ, READ ONLY transaction of the ledger."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def live(self) -> IndexVersion:
        """The live index version. Raises `Misconfigured` before the first one."""
        self._cursor.execute(
            "SELECT v.version, v.state, v.settings, c.epoch FROM index_versions v, control c WHERE v.state = 'live'"
        )
        row = self._cursor.fetchone()
        if row is None:
            raise Misconfigured("There is no live index yet: run `python -m concordance ingest SOURCE` first")
        return version_from(row)

    def current(self, version: IndexVersion, keys: Collection[GenerationKey]) -> dict[GenerationKey, DocumentRow]:
        """Those of the generations that are current, with their documents."""
        self._cursor.execute(
            "SELECT document_id, tenant, source, uri, generation, title, fingerprint, access FROM document_generations "
            "JOIN unnest(%s::uuid[], %s::bigint[]) AS k (document_id, generation) USING (document_id, generation) "
            "WHERE index_version = %s AND state = 'current'",
            [[key.document_id for key in keys], [key.generation for key in keys], version.version],
        )
        return {GenerationKey(row[0], row[4]): document_row(row) for row in self._cursor}

    def documents(self, version: IndexVersion, document_ids: Collection[UUID]) -> dict[UUID, DocumentRow]:
        """The current generation of each of these documents that has one."""
        self._cursor.execute(
            "SELECT document_id, tenant, source, uri, generation, title, fingerprint, access FROM document_generations "
            "WHERE index_version = %s AND state = 'current' AND document_id = ANY(%s)",
            [version.version, list(document_ids)],
        )
        return {row[0]: document_row(row) for row in self._cursor}

    def stale(self, version: IndexVersion, document_ids: Collection[UUID]) -> set[UUID]:
        """Those of the documents of which an older state is current: the newer one is in quarantine, or the version was
        taken back."""
        self._cursor.execute(
            "SELECT document_id FROM quarantine WHERE index_version = %(version)s AND document_id = ANY(%(documents)s) "
            "UNION SELECT document_id FROM generations WHERE index_version = %(version)s AND state = 'current' "
            "AND is_stale AND document_id = ANY(%(documents)s)",
            {"version": version.version, "documents": list(document_ids)},
        )
        return {row[0] for row in self._cursor}

    def committed(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        """Chunks of all current generations (inside the span), streamed in pages, ordered by chunk id."""
        # Keyset pages instead of a server-side cursor: the connection stays free for other reads of the snapshot. Each
        # is cut before anything is joined to it, so that it costs the same wherever it stands.
        last = UUID(int=0) if span is None else UUID(int=max(0, span.first.int - 1))
        until = UUID(int=2**128 - 1) if span is None else span.last
        while True:
            self._cursor.execute(_COMMITTED, [version.version, last, until, _PAGE_ROWS])
            page = self._cursor.fetchall()
            # Those of generations that are not current have no digest of their document.
            yield from (StoredChunk(*row) for row in page if row[-1] is not None)
            if len(page) < _PAGE_ROWS:
                return
            last = page[-1][0]

    def in_flight(self, version: IndexVersion) -> set[GenerationKey]:
        """The dirty list: rows of these generations may or may not be in the stores."""
        self._cursor.execute(
            "SELECT document_id, generation FROM generations WHERE index_version = %s AND dirty", [version.version]
        )
        return {GenerationKey(*row) for row in self._cursor}

    def links(self, version: IndexVersion) -> list[LinkRow]:
        """Links of all current generations, also those whose target is not there yet."""
        self._cursor.execute(
            "SELECT l.document_id, l.target_id, l.kind, l.generation FROM links l "
            "JOIN generations g USING (index_version, document_id, generation) "
            "WHERE l.index_version = %s AND g.state = 'current' ORDER BY 1, 2, 3",
            [version.version],
        )
        return [LinkRow(*row) for row in self._cursor]

    def counts(self, version: IndexVersion) -> dict[str, int]:
        """`documents`, `chunks`, `links`, `quarantined`, `in_flight` of the version."""
        self._cursor.execute(
            "SELECT (SELECT count(*) FROM generations WHERE index_version = %(v)s AND state = 'current'), "
            "(SELECT coalesce(sum(chunk_count), 0) FROM generations "
            "  WHERE index_version = %(v)s AND state = 'current'), "
            "(SELECT count(*) FROM links JOIN generations g USING (index_version, document_id, generation) "
            "  WHERE index_version = %(v)s AND g.state = 'current'), "
            "(SELECT count(*) FROM quarantine WHERE index_version = %(v)s), "
            "(SELECT count(*) FROM generations WHERE index_version = %(v)s AND dirty)",
            {"v": version.version},
        )
        row = self._cursor.fetchone()
        assert row is not None
        return dict(zip(("documents", "chunks", "links", "quarantined", "in_flight"), map(int, row), strict=True))

    def known_texts(self, version: IndexVersion, text_digests: Sequence[str]) -> dict[str, UUID]:
        """For each digest that a current chunk embeds: the id of one such chunk, whose vector can be copied."""
        self._cursor.execute(
            "SELECT DISTINCT ON (c.text_digest) encode(c.text_digest, 'hex'), c.chunk_id FROM chunks c "
            "JOIN generations g USING (index_version, document_id, generation) "
            "WHERE c.index_version = %s AND c.text_digest = ANY(%s) AND g.state = 'current' AND NOT g.is_damaged "
            "ORDER BY c.text_digest, c.chunk_id",
            [version.version, [bytes.fromhex(digest) for digest in text_digests]],
        )
        return dict(self._cursor.fetchall())

    def impact(self, version: IndexVersion, *, changed: Collection[UUID], deleted: Collection[UUID]) -> dict[str, int]:
        """What readers would notice if these documents changed or went: `chunks_replaced`, `chunks_deleted`,
        `chunks_current` in all, and `links_broken` from documents that stay."""
        self._cursor.execute(
            "SELECT (SELECT coalesce(sum(chunk_count), 0) FROM generations WHERE index_version = %(v)s "
            "  AND state = 'current' AND document_id = ANY(%(changed)s)), "
            "(SELECT coalesce(sum(chunk_count), 0) FROM generations WHERE index_version = %(v)s "
            "  AND state = 'current' AND document_id = ANY(%(deleted)s)), "
            "(SELECT coalesce(sum(chunk_count), 0) FROM generations WHERE index_version = %(v)s "
            "  AND state = 'current'), "
            "(SELECT count(*) FROM links l JOIN generations g USING (index_version, document_id, generation) "
            "  WHERE l.index_version = %(v)s AND g.state = 'current' AND l.target_id = ANY(%(deleted)s) "
            "  AND l.document_id <> ALL(%(deleted)s))",
            {"v": version.version, "changed": list(changed), "deleted": list(deleted)},
        )
        row = self._cursor.fetchone()
        assert row is not None
        names = ("chunks_replaced", "chunks_deleted", "chunks_current", "links_broken")
        return dict(zip(names, map(int, row), strict=True))

    def verified_of(self, plan_id: UUID) -> list[GenerationKey]:
        """The plan's generations that were read back from both stores and are not published yet."""
        self._cursor.execute(
            "SELECT document_id, generation FROM generations WHERE plan_id = %s AND state = 'verified' ORDER BY 1",
            [plan_id],
        )
        return [GenerationKey(*row) for row in self._cursor]

    def loaded_of(self, plan_id: UUID, document_ids: Collection[UUID]) -> list[GenerationKey]:
        """The plan's generations of these documents that were read back from both stores and are to become current, or
        are by now."""
        self._cursor.execute(
            "SELECT document_id, generation FROM generations WHERE plan_id = %s AND document_id = ANY(%s) "
            "AND state IN ('verified', 'current') ORDER BY 1",
            [plan_id, list(document_ids)],
        )
        return [GenerationKey(*row) for row in self._cursor]

    def bases_of(self, plan_id: UUID, *, after: UUID, limit: int) -> list[GenerationKey]:
        """A page, by document id, of the generations that were current as the plan was made and still are: what the
        plan's documents show until it is published. What waits for a new load because it is damaged is left out."""
        self._cursor.execute(
            "SELECT pd.document_id, g.generation FROM plan_documents pd JOIN plans p USING (plan_id) "
            "CROSS JOIN LATERAL (SELECT generation FROM generations WHERE index_version = p.index_version "
            "  AND document_id = pd.document_id AND generation = pd.base AND state = 'current' AND NOT is_damaged "
            "  LIMIT 1) g WHERE pd.plan_id = %s AND pd.document_id > %s ORDER BY 1 LIMIT %s",
            [plan_id, after, limit],
        )
        return [GenerationKey(*row) for row in self._cursor]

    def expected_of(self, version: IndexVersion, source: str) -> dict[str, int]:
        """`documents` and `chunks` of the source that both stores must hold: those of its generations that are current
        and not damaged, or verified."""
        self._cursor.execute(
            "SELECT count(DISTINCT g.document_id), coalesce(sum(g.chunk_count), 0) FROM generations g "
            "JOIN documents d USING (document_id) WHERE g.index_version = %s AND d.source = %s "
            "AND (g.state = 'verified' OR (g.state = 'current' AND NOT g.is_damaged))",
            [version.version, source],
        )
        row = self._cursor.fetchone()
        assert row is not None
        return {"documents": int(row[0]), "chunks": int(row[1])}

    # --- what reconcile compares

    def kept(self) -> list[IndexVersion]:
        """Every version whose rows the stores hold: building, ready, live and retired ones. One that nothing was loaded
        into yet is none of them: the stores may not even have heard of it."""
        self._cursor.execute(
            "SELECT v.version, v.state, v.settings, c.epoch FROM index_versions v, control c "
            "WHERE v.state IN ('ready', 'live', 'retired') OR (v.state = 'building' AND EXISTS "
            "(SELECT 1 FROM generations g WHERE g.index_version = v.version)) ORDER BY v.version"
        )
        return [version_from(row) for row in self._cursor]

    def promises(self, version: IndexVersion, *, after: UUID, limit: int) -> list[Promise]:
        """A page of current generations by document id, each with what it promised to write."""
        self._cursor.execute(_PROMISES_AFTER, {"version": version.version, "after": after, "limit": limit})
        return self._promises()

    def promises_of(self, version: IndexVersion, keys: Collection[GenerationKey]) -> list[Promise]:
        """Those of these generations that are current, by document id."""
        documents = [key.document_id for key in keys]
        self._cursor.execute(_PROMISES_OF, {"version": version.version, "documents": documents})
        wanted = set(keys)
        return [promise for promise in self._promises() if promise.key in wanted]

    def _promises(self) -> list[Promise]:
        return [
            Promise(
                row=replace(document_row(row[:8]), stamp=row[8], content_digest=row[9], links=tuple(row[12])),
                chunk_count=row[10],
                is_dirty=row[11],
                text_digests=tuple(row[13]),
            )
            for row in self._cursor
        ]

    def miscounted(self, version: IndexVersion) -> list[GenerationKey]:
        """Current generations with more or fewer chunk rows than they began with."""
        self._cursor.execute(
            "SELECT g.document_id, g.generation FROM generations g LEFT JOIN (SELECT document_id, generation, "
            "  count(*) AS rows FROM chunks WHERE index_version = %(v)s GROUP BY 1, 2) c "
            "USING (document_id, generation) "
            "WHERE g.index_version = %(v)s AND g.state = 'current' AND g.chunk_count <> coalesce(c.rows, 0) "
            "ORDER BY 1, 2 LIMIT 100000",
            {"v": version.version},
        )
        return [GenerationKey(*row) for row in self._cursor]

    def overdue(self, version: IndexVersion, *, seconds: float) -> list[GenerationKey]:
        """Generations that could have been swept for `seconds` and longer, and are not."""
        self._cursor.execute(
            "SELECT document_id, generation FROM generations WHERE index_version = %s AND dirty "
            "AND state IN ('closed', 'replaced') "
            "AND clock_timestamp() > greatest(writer_until, ended_at) + make_interval(secs => %s) "
            "ORDER BY 1, 2 LIMIT 100000",
            [version.version, seconds],
        )
        return [GenerationKey(*row) for row in self._cursor]

    def forbidden_history(self) -> dict[str, int]:
        """I8: rows that no allowed history of the ledger leaves, counted by what is wrong with them."""
        return read_forbidden(self._cursor)

    def chunks_of(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> list[StoredChunk]:
        """What the ledger says these generations wrote, whatever their state."""
        self._cursor.execute(
            "SELECT c.chunk_id, c.document_id, c.generation, c.ordinal, encode(c.text_digest, 'hex') "
            "FROM unnest(%s::uuid[], %s::bigint[]) AS k (document_id, generation) JOIN chunks c "
            "ON c.index_version = %s AND c.document_id = k.document_id AND c.generation = k.generation",
            [[key.document_id for key in generations], [key.generation for key in generations], version.version],
        )
        return [StoredChunk(*row) for row in self._cursor]


def document_row(row: tuple[Any, ...]) -> DocumentRow:
    document_id, tenant, source, uri, generation, title, fingerprint, access = row
    return DocumentRow(document_id, tenant, source, uri, generation, title, fingerprint, tuple(access))
