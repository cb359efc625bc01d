"""The dirty list: generations whose rows in the stores do not yet look as the ledger says.

current -> to be settled; closed or replaced -> to be swept, once the grace has passed; loading or verified -> left
alone, because a plan may still make them current. Time alone closes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import itemgetter
from typing import Any
from uuid import UUID

from concordance.ledger.database import Cursor, Database
from concordance.ledger.reading import document_row
from concordance.model import DocumentRow, GenerationKey, IndexVersion
from concordance.slices import weighed_slices

# The page first: the documents of all that is dirty are not looked up for each page. A generation weighs what its
# settle changes: its own chunks are shown, and those of older ones that were not swept yet are hidden.
_DIRTY_AFTER = """
SELECT d.document_id, d.tenant, d.source, d.uri, g.generation, g.title, g.fingerprint, g.access, g.stamp,
       g.content_digest,
       ARRAY(SELECT l.kind || ' ' || l.target_id FROM links l WHERE l.index_version = g.index_version
             AND l.document_id = g.document_id AND l.generation = g.generation ORDER BY 1),
       g.batch_id,
       g.chunk_count + (SELECT coalesce(sum(o.chunk_count), 0) FROM generations o
                        WHERE o.index_version = g.index_version AND o.document_id = g.document_id
                        AND o.generation < g.generation AND o.dirty)
FROM (SELECT * FROM generations WHERE index_version = %s AND (batch_id, document_id) > (%s, %s) AND dirty
      AND state = 'current' ORDER BY batch_id, document_id LIMIT %s) g
JOIN documents d USING (document_id)
ORDER BY g.batch_id, g.document_id
"""


class Settling:
    def __init__(self, database: Database, *, sweep_grace_seconds: float) -> None:
        self._database = database
        self._grace_seconds = sweep_grace_seconds

    def to_settle(self, version: IndexVersion, *, limit: int, max_chunks: int) -> Iterator[list[DocumentRow]]:
        """The current generations that are still dirty, page by page, each page read when it is asked for: at most
        `limit` that have at most `max_chunks` together, those that they replace included, and one at least.

        Batch by batch, because what was loaded together lies together in the stores; what was passed is not passed
        again, settled or not.
        """
        passed = [UUID(int=0), UUID(int=0)]
        while page := _first(self._dirty_after(version, passed, limit), max_chunks):
            passed = [page[-1][-2], page[-1][0]]
            yield [
                replace(document_row(row[:8]), stamp=row[8], content_digest=row[9], links=tuple(row[10]))
                for row in page
            ]

    def _dirty_after(self, version: IndexVersion, passed: list[UUID], limit: int) -> list[tuple[Any, ...]]:
        """Rows of what is to be settled behind this batch and document, which end with batch and chunks to change."""

        def work(cursor: Cursor) -> list[tuple[Any, ...]]:
            cursor.execute(_DIRTY_AFTER, [version.version, *passed, limit])
            return cursor.fetchall()

        return self._database.transact("read what is to be settled", work)

    def settled(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> None:
        """Unmark those of the generations that are still current; one replaced meanwhile stays dirty for its sweep."""

        def work(cursor: Cursor) -> None:
            cursor.execute(
                "UPDATE generations g SET dirty = false "
                "FROM unnest(%s::uuid[], %s::bigint[]) AS k (document_id, generation) "
                "WHERE g.index_version = %s AND g.document_id = k.document_id AND g.generation = k.generation "
                "AND g.state = 'current'",
                [*_columns(generations), version.version],
            )

        self._database.transact("mark generations settled", work)

    def to_hide(self, version: IndexVersion, plan_id: UUID | None = None) -> dict[GenerationKey, int]:
        """Replaced generations (of the plan's deleted documents, if one is given), each with the number of its chunks:
        nothing current stands in their place."""

        def work(cursor: Cursor) -> dict[GenerationKey, int]:
            cursor.execute(
                "SELECT g.document_id, g.generation, g.chunk_count FROM generations g "
                "WHERE g.index_version = %(version)s "
                "AND g.state = 'replaced' AND g.dirty AND (%(plan)s::uuid IS NULL OR g.document_id IN ("
                "  SELECT document_id FROM plan_documents WHERE plan_id = %(plan)s AND outcome = 'deleted')) "
                "AND NOT EXISTS (SELECT 1 FROM generations c WHERE c.index_version = g.index_version "
                "  AND c.document_id = g.document_id AND c.state = 'current') ORDER BY 1, 2",
                {"version": version.version, "plan": plan_id},
            )
            return {GenerationKey(*key): chunks for *key, chunks in cursor}

        return self._database.transact("read what is to be hidden", work)

    @contextmanager
    def sweeping(self, version: IndexVersion, *, limit: int, max_chunks: int) -> Iterator[list[GenerationKey]]:
        """Lock and yield generations that can never become current again and that nobody writes or reads any more: at
        most `limit` that have at most `max_chunks` together, and one at least, if there is one.

        The documents' rows stay locked while the caller clears the stores, so that no batch begins one of these
        documents meanwhile: the anchor node that a sweep removes with its last chunk is not the one that a batch has
        just brought. When the block ends well, the generations are marked swept and their chunks and links leave the
        ledger. Documents that another worker holds are skipped.
        """
        with self._database.locking("sweep generations") as cursor:
            cursor.execute(
                "SELECT g.document_id, g.generation, g.chunk_count "
                "FROM generations g JOIN documents d USING (document_id) "
                "WHERE g.index_version = %s AND g.dirty AND g.state IN ('closed', 'replaced') "
                "AND clock_timestamp() > greatest(g.writer_until, g.ended_at) + make_interval(secs => %s) "
                "ORDER BY g.document_id, g.generation LIMIT %s FOR UPDATE OF d, g SKIP LOCKED",
                [version.version, self._grace_seconds, limit],
            )
            generations = [GenerationKey(*key) for *key, _ in _first(cursor.fetchall(), max_chunks)]
            yield generations
            names = [*_columns(generations), version.version]
            cursor.execute(
                "DELETE FROM chunks r USING unnest(%s::uuid[], %s::bigint[]) AS k (document_id, generation) "
                "WHERE r.index_version = %s AND r.document_id = k.document_id AND r.generation = k.generation",
                names,
            )
            cursor.execute(
                "DELETE FROM links r USING unnest(%s::uuid[], %s::bigint[]) AS k (document_id, generation) "
                "WHERE r.index_version = %s AND r.document_id = k.document_id AND r.generation = k.generation",
                names,
            )
            cursor.execute(
                "UPDATE generations g SET state = 'swept', dirty = false "
                "FROM unnest(%s::uuid[], %s::bigint[]) AS k (document_id, generation) "
                "WHERE g.index_version = %s AND g.document_id = k.document_id AND g.generation = k.generation",
                names,
            )


def _first(rows: list[tuple[Any, ...]], max_chunks: int) -> list[tuple[Any, ...]]:
    """The first rows whose chunks, the last value of each, are at most so many together; one at least."""
    return next(weighed_slices(rows, itemgetter(-1), size=len(rows), heaviest=max_chunks), [])


def _columns(generations: Sequence[GenerationKey]) -> list[list[object]]:
    return [[key.document_id for key in generations], [key.generation for key in generations]]
