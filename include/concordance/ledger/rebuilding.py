"""A lost ledger made anew from what the stores hold, in one transaction. The rows walk along the allowed steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.errors import Conflict
from concordance.ledger.database import Cursor, Database
from concordance.model import DocumentRow, IndexSettings

# Numbers that the lost ledger may have allotted to batches whose writers are still under way, or whose rows are gone.
NUMBERS_LEFT_OUT = 1_000


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """The version that both stores point to, with what is frozen with it."""

    version: int
    settings: IndexSettings
    frozen: Any


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document as the stores hold it. `chunks` are (chunk id, text digest) of its current generation in order, empty
    when none of its generations is whole; `row` then names only the document. `others` are generations to be swept,
    each with the number of its chunks: sweeps are cut by it."""

    row: DocumentRow
    chunks: tuple[tuple[UUID, str], ...]
    others: Mapping[int, int]
    highest: int


class Rebuilding:
    def __init__(self, database: Database) -> None:
        self._database = database

    def is_empty(self) -> bool:
        """Whether the ledger knows nothing yet."""
        return self._database.transact("look whether the ledger is empty", _is_empty)

    def rebuild(self, found: FoundVersion, documents: Sequence[FoundDocument]) -> None:
        """Enter the version as the live one and the documents with their generations, all or nothing.

        Raises `Conflict` when the ledger is not empty: nothing of it is changed then.
        """

        def work(cursor: Cursor) -> None:
            cursor.execute("SELECT epoch FROM control FOR UPDATE")
            if not _is_empty(cursor):
                raise Conflict(
                    "The ledger is not empty, so it is the truth: repair the stores by it (`verify --repair`). To make "
                    "it anew all the same, empty it first"
                )
            _enter_version(cursor, found)
            for source, tenant in sorted({(each.row.source, each.row.tenant) for each in documents}):
                mine = [each for each in documents if each.row.source == source]
                _enter_source(cursor, source, tenant, mine, found.version)

        self._database.transact("rebuild the ledger", work, is_bulk=True)
        self._database.refresh_statistics(("documents", "plan_documents", "generations", "chunks", "links"))


def _is_empty(cursor: Cursor) -> bool:
    # Bars of erased documents may have been put up again before: they are no index.
    cursor.execute("SELECT EXISTS (SELECT 1 FROM index_versions) OR EXISTS (SELECT 1 FROM generations)")
    row = cursor.fetchone()
    return row is not None and not row[0]


def _enter_version(cursor: Cursor, found: FoundVersion) -> None:
    cursor.execute(
        "INSERT INTO index_versions (version, state, settings, settings_digest, frozen) "
        "VALUES (%s, 'building', %s, %s, %s)",
        [found.version, json.dumps(found.settings.as_json()), found.settings.digest, json.dumps(found.frozen)],
    )
    for state in ("ready", "live"):
        cursor.execute("UPDATE index_versions SET state = %s WHERE version = %s", [state, found.version])
    cursor.execute("UPDATE control SET epoch = epoch + 1")


def _enter_source(cursor: Cursor, source: str, tenant: str, documents: Sequence[FoundDocument], version: int) -> None:
    # Plan numbers go on from the clock: the artefacts of the lost ledger's plans are still named by their numbers.
    cursor.execute(
        "INSERT INTO sources (source, tenant, last_plan_number) VALUES (%s, %s, extract(epoch FROM now())::bigint) "
        "ON CONFLICT (source) DO UPDATE SET last_plan_number = "
        "  greatest(sources.last_plan_number + 1, excluded.last_plan_number) RETURNING last_plan_number",
        [source, tenant],
    )
    (number,) = cursor.fetchone() or (0,)
    run_id, plan_id = f"rebuilt_{source}_{number}", ids.plan_id(source=source, number=number)
    batch_id = ids.batch_id(plan_id=plan_id, shard=0, ordinal=0)
    cursor.execute(
        "INSERT INTO runs (run_id, source, state, request, finished_at) VALUES (%s, %s, 'published', '{}', now())",
        [run_id, source],
    )
    cursor.execute(
        "INSERT INTO plans (plan_id, source, number, run_id, scope, index_version, epoch, state) "
        "VALUES (%s, %s, %s, %s, '', %s, 0, 'drawn')",
        [plan_id, source, number, run_id, version],
    )
    cursor.execute("UPDATE plans SET state = 'made', made_at = now() WHERE plan_id = %s", [plan_id])
    cursor.execute(
        "INSERT INTO batches (batch_id, plan_id, index_version, state, token, holder, lease_until, manifest_digest) "
        "VALUES (%s, %s, %s, 'intent', 1, 'rebuilt', now(), '')",
        [batch_id, plan_id, version],
    )
    for document in documents:
        _enter_document(cursor, document, version=version, plan_id=plan_id, batch_id=batch_id)
    cursor.execute("UPDATE generations SET state = 'verified' WHERE plan_id = %s AND state = 'loading'", [plan_id])
    cursor.execute("UPDATE batches SET state = 'verified', verified_at = now() WHERE batch_id = %s", [batch_id])
    cursor.execute(
        "UPDATE generations SET state = 'current', current_at = now() WHERE plan_id = %s AND state = 'verified'",
        [plan_id],
    )
    cursor.execute("UPDATE plans SET state = 'published', ended_at = now() WHERE plan_id = %s", [plan_id])


def _enter_document(cursor: Cursor, found: FoundDocument, *, version: int, plan_id: UUID, batch_id: UUID) -> None:
    row = found.row
    cursor.execute(
        "INSERT INTO documents (document_id, tenant, source, uri, last_generation) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (document_id) DO UPDATE SET last_generation = excluded.last_generation",
        [row.document_id, row.tenant, row.source, row.uri, found.highest + NUMBERS_LEFT_OUT],
    )
    names = (version, row.document_id)
    if found.chunks:
        _enter_generation(cursor, found, row.generation, len(found.chunks), version, plan_id, batch_id)
        cursor.executemany(
            "INSERT INTO chunks (index_version, document_id, generation, ordinal, chunk_id, text_digest) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            [
                (*names, row.generation, ordinal, chunk_id, bytes.fromhex(digest))
                for ordinal, (chunk_id, digest) in enumerate(found.chunks)
            ],
        )
        links = [link.split(" ", 1) for link in row.links]
        cursor.executemany(
            "INSERT INTO links (index_version, document_id, generation, kind, target_id) VALUES (%s, %s, %s, %s, %s)",
            [(*names, row.generation, kind, target) for kind, target in links],
        )
    for generation, chunks in found.others.items():
        _enter_generation(cursor, found, generation, chunks, version, plan_id, batch_id)
        # The lost ledger's writers may be under way for as long as any lease: the sweep's grace counts from now.
        cursor.execute(
            "UPDATE generations SET state = 'closed', ended_at = now() "
            "WHERE index_version = %s AND document_id = %s AND generation = %s",
            [*names, generation],
        )


def _enter_generation(
    cursor: Cursor, found: FoundDocument, generation: int, chunks: int, version: int, plan_id: UUID, batch_id: UUID
) -> None:
    row = found.row
    is_current = generation == row.generation and bool(found.chunks)
    cursor.execute(
        "INSERT INTO generations (index_version, document_id, generation, batch_id, plan_id, state, title, "
        "fingerprint, stamp, access, content_digest, chunk_count, writer_until) "
        "VALUES (%s, %s, %s, %s, %s, 'loading', %s, %s, %s, %s, %s, %s, now())",
        [
            version,
            row.document_id,
            generation,
            batch_id,
            plan_id,
            row.title if is_current else None,
            row.fingerprint if is_current else "",
            row.stamp if is_current else "",
            list(row.access) if is_current else [],
            row.content_digest if is_current else "",
            chunks,
        ],
    )
