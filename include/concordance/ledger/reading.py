"""What readers see: everything inside one snapshot belongs to one moment of the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

from concordance.errors import Misconfigured
from concordance.ledger.database import Cursor
from concordance.ledger.versions import version_from
from concordance.model import DocumentRow, GenerationKey, IndexVersion, LinkRow, StoredChunk

_PAGE_ROWS = 5_000


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

    def committed(self, version: IndexVersion) -> Iterator[StoredChunk]:
        """Chunks of all current generations, streamed in pages, ordered by chunk id."""
        # Keyset pages instead of a server-side cursor: the connection stays free for other reads of the snapshot.
        last = UUID(int=0)
        while True:
            self._cursor.execute(
                "SELECT c.chunk_id, c.document_id, c.generation, c.ordinal, encode(c.text_digest, 'hex') FROM chunks c "
                "JOIN generations g USING (index_version, document_id, generation) "
                "WHERE c.index_version = %s AND c.chunk_id > %s AND g.state = 'current' ORDER BY c.chunk_id LIMIT %s",
                [version.version, last, _PAGE_ROWS],
            )
            page = [StoredChunk(*row) for row in self._cursor.fetchall()]
            yield from page
            if len(page) < _PAGE_ROWS:
                return
            last = page[-1].chunk_id

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
            "WHERE c.index_version = %s AND c.text_digest = ANY(%s) AND g.state = 'current' "
            "ORDER BY c.text_digest, c.chunk_id",
            [version.version, [bytes.fromhex(digest) for digest in text_digests]],
        )
        return dict(self._cursor.fetchall())

    def verified_of(self, plan_id: UUID) -> list[GenerationKey]:
        """The plan's generations that were read back from both stores and are not published yet."""
        self._cursor.execute(
            "SELECT document_id, generation FROM generations WHERE plan_id = %s AND state = 'verified' ORDER BY 1",
            [plan_id],
        )
        return [GenerationKey(*row) for row in self._cursor]

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
