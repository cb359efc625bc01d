"""The ledger's side of repairs: marks that any worker may act upon, and locks under which rows are put back.

Every mark is idempotent, and what is marked stays right if the worker that marked it dies: the dirty list leads to a
settle or a sweep, `is_damaged` to a reload by the next ingest, a floor only costs numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from concordance.ledger.database import Cursor, Database
from concordance.ledger.versions import version_from
from concordance.model import GenerationKey, IndexVersion


@dataclass(frozen=True, slots=True)
class Floor:
    """A document of which a store holds generations up to `generation` that the ledger does not know."""

    document_id: UUID
    tenant: str
    source: str
    uri: str
    generation: int


class Repairing:
    def __init__(self, database: Database) -> None:
        self._database = database

    def resettle(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> None:
        """Put current generations back on the dirty list: any worker settles them again."""

        def work(cursor: Cursor) -> None:
            cursor.execute(
                "UPDATE generations g SET dirty = true "
                "FROM unnest(%s::uuid[], %s::bigint[]) AS k (document_id, generation) WHERE g.index_version = %s "
                "AND g.document_id = k.document_id AND g.generation = k.generation AND g.state = 'current'",
                [*_columns(generations), version.version],
            )

        self._database.transact("mark generations to be settled", work)

    def relist(self, version: IndexVersion) -> int:
        """Put what is on no list back on the dirty one: open, replaced and closed generations. Returns how many."""

        def work(cursor: Cursor) -> int:
            cursor.execute(
                "UPDATE generations SET dirty = true, ended_at = coalesce(ended_at, CASE WHEN state IN ('replaced', "
                "  'closed') THEN clock_timestamp() END) "
                "WHERE index_version = %s AND NOT dirty AND state IN ('loading', 'verified', 'replaced', 'closed')",
                [version.version],
            )
            return cursor.rowcount

        return self._database.transact("list what is on no list", work, is_bulk=True)

    def damaged(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> dict[str, int]:
        """Mark current generations for a reload by the next ingest of their source; how many, by source."""

        def work(cursor: Cursor) -> dict[str, int]:
            cursor.execute(
                "WITH marked AS (UPDATE generations g SET is_damaged = true "
                "FROM unnest(%s::uuid[], %s::bigint[]) AS k (document_id, generation) WHERE g.index_version = %s "
                "AND g.document_id = k.document_id AND g.generation = k.generation AND g.state = 'current' "
                "RETURNING g.document_id) "
                "SELECT d.source, count(*) FROM marked JOIN documents d USING (document_id) GROUP BY 1",
                [*_columns(generations), version.version],
            )
            return dict(cursor.fetchall())

        return self._database.transact("mark generations as damaged", work)

    def still_damaged(self, version: IndexVersion) -> dict[str, int]:
        """Documents that wait for a reload, by source."""

        def work(cursor: Cursor) -> dict[str, int]:
            cursor.execute(
                "SELECT d.source, count(*) FROM generations g JOIN documents d USING (document_id) "
                "WHERE g.index_version = %s AND g.state = 'current' AND g.is_damaged GROUP BY 1",
                [version.version],
            )
            return dict(cursor.fetchall())

        return self._database.transact("read what is damaged", work, is_bulk=True)

    def plans_of(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> dict[GenerationKey, UUID]:
        """The plan under which each of the generations was loaded."""

        def work(cursor: Cursor) -> dict[GenerationKey, UUID]:
            cursor.execute(
                "SELECT document_id, generation, plan_id FROM generations JOIN unnest(%s::uuid[], %s::bigint[]) "
                "AS k (document_id, generation) USING (document_id, generation) WHERE index_version = %s",
                [*_columns(generations), version.version],
            )
            return {GenerationKey(row[0], row[1]): row[2] for row in cursor}

        return self._database.transact("read the plans of generations", work)

    def plan_reference(self, plan_id: UUID) -> dict[str, object] | None:
        """The reference of the plan, by which its artefacts are found; None when its run kept none."""

        def work(cursor: Cursor) -> dict[str, object] | None:
            cursor.execute(
                "SELECT r.plan_reference FROM plans p JOIN runs r USING (run_id) WHERE p.plan_id = %s", [plan_id]
            )
            row = cursor.fetchone()
            return None if row is None else row[0]

        return self._database.transact("read a plan's reference", work)

    def raise_floors(self, floors: Sequence[Floor]) -> None:
        """From here on no batch is allotted these generation numbers, or lower ones.

        A document that the ledger never heard of is entered: rows of it may then be deleted at any later time without
        taking anything away that a batch wrote meanwhile.
        """

        def work(cursor: Cursor) -> None:
            for floor in sorted(floors, key=lambda each: each.document_id):
                cursor.execute(
                    "INSERT INTO sources (source, tenant) VALUES (%s, %s) ON CONFLICT (source) DO NOTHING",
                    [floor.source, floor.tenant],
                )
                cursor.execute(
                    "INSERT INTO documents (document_id, tenant, source, uri, last_generation) "
                    "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (document_id) DO UPDATE "
                    "SET last_generation = greatest(documents.last_generation, excluded.last_generation)",
                    [floor.document_id, floor.tenant, floor.source, floor.uri, floor.generation],
                )

        self._database.transact("raise the floors of documents", work)

    @contextmanager
    def holding(
        self, version: IndexVersion, generations: Sequence[GenerationKey]
    ) -> Iterator[dict[GenerationKey, str | None]]:
        """Lock the generations' documents and yield each generation's state, None for one the ledger does not know.

        While the block runs nothing begins, publishes or sweeps these documents: what is current stays current, what is
        neither current nor on the dirty list stays so. (Numbers are never used twice: an unknown generation of a known
        document is either below its last number, or a batch would have to begin it, which waits for this lock.)
        """
        with self._database.locking("hold documents for a repair") as cursor:
            cursor.execute(
                "SELECT 1 FROM documents WHERE document_id = ANY(%s) ORDER BY document_id FOR UPDATE",
                [sorted({key.document_id for key in generations})],
            )
            cursor.execute(
                "SELECT document_id, generation, state, dirty FROM generations JOIN unnest(%s::uuid[], %s::bigint[]) "
                "AS k (document_id, generation) USING (document_id, generation) WHERE index_version = %s",
                [*_columns(generations), version.version],
            )
            found = {GenerationKey(row[0], row[1]): f"{row[2]}{' dirty' if row[3] else ''}" for row in cursor}
            yield {key: found.get(key) for key in generations}

    @contextmanager
    def holding_live(self) -> Iterator[IndexVersion | None]:
        """The live version, which stays the live one while the block runs."""
        with self._database.locking("hold the live version") as cursor:
            cursor.execute("SELECT epoch FROM control FOR SHARE")
            cursor.execute(
                "SELECT v.version, v.state, v.settings, c.epoch FROM index_versions v, control c WHERE v.state = 'live'"
            )
            row = cursor.fetchone()
            yield None if row is None else version_from(row)


def _columns(generations: Sequence[GenerationKey]) -> list[list[object]]:
    return [[key.document_id for key in generations], [key.generation for key in generations]]
