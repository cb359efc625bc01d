"""`GraphStore` on a server that speaks Bolt: Neo4j, or ArcadeDB on the local stack.

Every method is one explicit transaction (a page each for the streams): see `neo4j_transactions`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import neo4j

from concordance import ids
from concordance.circuit import Circuit
from concordance.errors import BatchTooLarge, Misconfigured, Unavailable
from concordance.model import (
    Anchor,
    ChunkRow,
    DocumentRow,
    GenerationKey,
    GraphBatch,
    IndexVersion,
    LinkRow,
    Neighbourhood,
    Span,
    StoreCounts,
    StoredChunk,
    StoredContent,
)
from concordance.resilience import LostRace
from concordance.settings import Settings
from concordance.slices import slices
from concordance.stores import cypher
from concordance.stores import neo4j_reconcile as reconcile
from concordance.stores import neo4j_settling as settling
from concordance.stores import neo4j_versions as versions
from concordance.stores.checks import check_batch, is_itself
from concordance.stores.cypher_reconcile import DELETE_CHUNKS_BY_ID, READ_BACK, SET_DESCRIPTION, SHOW_DESCRIPTION
from concordance.stores.graph_rows import (
    Rows,
    document_rows,
    generation_rows,
    link_rows,
    listed,
    parts,
    settle_rows,
    write_queries,
)
from concordance.stores.neo4j_neighbourhoods import neighbourhoods_of
from concordance.stores.neo4j_transactions import Transactions, Work
from concordance.stores.sizing import Sizing

# One answer of the server comes within `graph_timeout_seconds`, also on a machine that has much else to do.
ROWS_PER_QUERY = 1_000
CHUNKS_PER_PAGE = 5_000
_INDEX_POLL_SECONDS = 0.1


class Neo4jGraph:
    """`GraphStore` over Bolt. Thread-safe: each call takes a connection of its own from the driver's pool."""

    def __init__(self, settings: Settings) -> None:
        self._bolt = Transactions(settings)
        self._max_bytes = settings.graph_query_bytes
        self._sizing = Sizing(
            least=settings.write_rows_min,
            most=settings.graph_query_rows,
            start=ROWS_PER_QUERY,
            wanted_seconds=settings.write_answer_seconds,
        )
        # One at first: only a transaction tells how large the documents are and how quick the server is with them.
        self._settling, self._sweeping = (
            Sizing(least=1, most=ROWS_PER_QUERY, start=1, wanted_seconds=settings.write_answer_seconds)
            for _ in range(2)
        )

    @property
    def circuit(self) -> Circuit:
        """Whether this process leaves the graph alone now."""
        return self._bolt.circuit

    def close(self) -> None:
        self._bolt.close()

    def ping(self) -> str:
        return self._bolt.agent()

    def prepare(self) -> None:
        for query in cypher.SCHEMA:
            self._bolt.write("preparing the graph", _runs(query), is_whole=True)
        names = self._bolt.read("reading the constraints", lambda tx: tx.run(cypher.SHOW_CONSTRAINTS).value())
        if missing := cypher.CONSTRAINTS - set(names):
            raise Misconfigured(
                f"the graph at {self._bolt.url} lacks the constraints {', '.join(sorted(missing))} although they were "
                "created: an index of the same name or on the same property stands in their way, drop it"
            )
        self._await_indexes()

    def _await_indexes(self) -> None:
        deadline = time.monotonic() + self._bolt.seconds
        while True:
            found = self._bolt.read("reading the indexes", lambda tx: tx.run(cypher.SHOW_INDEXES).values())
            waiting = [name for name, state in found if state != "ONLINE"]
            if not waiting:
                return
            if time.monotonic() >= deadline:
                raise Unavailable(f"the graph still builds its indexes {', '.join(sorted(waiting))}: try again later")
            time.sleep(_INDEX_POLL_SECONDS)

    def write(self, version: IndexVersion, batch: GraphBatch, *, timeout_seconds: float) -> None:
        check_batch(batch)
        tables = [(query, rows) for query, rows in write_queries(version, batch) if rows]
        if not tables:
            return
        what = f"writing {len(batch.chunks)} chunks of {len(batch.documents)} documents"

        def work(transaction: neo4j.Transaction) -> None:
            for query, rows in tables:
                if self._run(transaction, query, rows, version=version.version) < len(rows):
                    raise LostRace(f"{what}: a sweep took a node of this batch away; nothing of it was applied")

        self._bolt.write(what, work, timeout_seconds=timeout_seconds)

    def write_links(self, version: IndexVersion, links: Sequence[LinkRow], *, timeout_seconds: float) -> None:
        rows = link_rows(version, links)
        if rows:
            self._bolt.write(
                f"writing {len(links)} links",
                lambda transaction: self._run(transaction, cypher.MERGE_LINKS, rows),
                timeout_seconds=timeout_seconds,
            )

    def _run(self, transaction: neo4j.Transaction, query: str, rows: Rows, **values: int) -> int:
        """The query over all rows, in as many parts as the server answers in time. Returns how many rows it applied,
        where the query counts them; else all."""
        applied = 0
        for part in parts(rows, lambda: self._sizing.rows, max_bytes=self._max_bytes):
            with self._sizing.measured(len(part)):
                result = transaction.run(query, {"rows": part, **values})
                # No more than it was given: what an edge that is there twice adds must not hide a row that is missing.
                applied += min(_rows(result), len(part)) if query in cypher.COUNTED else len(part)
                result.consume()
        return applied

    def settle(self, version: IndexVersion, documents: Sequence[DocumentRow], *, timeout_seconds: float) -> None:
        def work(transaction: neo4j.Transaction, rows: Rows) -> int:
            settling.settle(transaction, version, rows)
            return len(rows)

        rows = settle_rows(version, documents)
        self._in_transactions("settling documents", rows, work, self._settling, timeout_seconds=timeout_seconds)

    def hide(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        def work(transaction: neo4j.Transaction, rows: Rows) -> int:
            settling.hide(transaction, version, rows)
            return len(rows)

        rows = generation_rows(version, generations)
        self._in_transactions("hiding generations", rows, work, self._settling, timeout_seconds=timeout_seconds)

    def sweep(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> int:
        def work(transaction: neo4j.Transaction, rows: Rows) -> int:
            return settling.sweep(transaction, version, rows)

        rows = generation_rows(version, generations)
        return self._in_transactions(
            "sweeping generations", rows, work, self._sweeping, timeout_seconds=timeout_seconds
        )

    def _in_transactions(
        self,
        what: str,
        rows: Rows,
        work: Callable[[neo4j.Transaction, Rows], int],
        sizing: Sizing,
        *,
        timeout_seconds: float,
    ) -> int:
        """The work over all rows, in transactions of as many as the server takes in its time, one at least. Returns
        the sum of what it counts. What is committed stays when a later one fails: the next call finds less to do."""
        deadline = time.monotonic() + timeout_seconds
        done = counted = 0
        while done < len(rows):
            some = rows[done : done + sizing.rows]
            try:
                with sizing.measured(len(some)):
                    counted += self._bolt.write(
                        f"{what}, {len(some)} of {len(rows)}",
                        lambda tx, some=some: work(tx, some),  # type: ignore[misc]
                        timeout_seconds=max(deadline - time.monotonic(), 0.001),
                    )
            except BatchTooLarge:
                # Only the server knows what the edges of a chunk cost it.
                if len(some) == 1:
                    raise
                sizing.shrink_to(len(some) // 2)
            else:
                done += len(some)
        return counted

    def read_back(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> list[StoredChunk]:
        pages = list(slices(generation_rows(version, generations), ROWS_PER_QUERY))

        def work(transaction: neo4j.Transaction) -> list[StoredChunk]:
            return [
                reconcile.stored_chunk(row, version)
                for rows in pages
                for _, chunks in transaction.run(READ_BACK, rows=rows).values()
                for row in chunks
            ]

        return self._bolt.read(f"reading {len(generations)} generations back", work) if pages else []

    def generations_of(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Mapping[GenerationKey, int]:
        pages = list(slices(document_rows(version, document_ids), ROWS_PER_QUERY))

        def work(transaction: neo4j.Transaction) -> dict[GenerationKey, int]:
            found: Counter[GenerationKey] = Counter()
            for query in cypher.ROWS_OF_DOCUMENTS:
                for rows in pages:
                    given = {"rows": rows, "version": version.version, **listed(rows)}
                    for document_id, number, count in transaction.run(query, given):
                        found[GenerationKey(UUID(document_id), number)] += count
            return dict(found)

        return self._bolt.read(f"looking for rows of {len(document_ids)} documents", work) if pages else {}

    def chunks(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        wanted = span or reconcile.EVERYTHING
        after, last = reconcile.just_before(wanted), str(wanted.last)
        while True:
            page = self._page(version, after, last)
            yield from page
            if len(page) < CHUNKS_PER_PAGE:
                return
            after = str(page[-1].chunk_id)

    def _page(self, version: IndexVersion, after: str, last: str) -> list[StoredChunk]:
        return self._bolt.read(
            "streaming the chunks",
            lambda tx: reconcile.page_of_span(tx, version, after=after, last=last, limit=CHUNKS_PER_PAGE),
        )

    def scan(self, version: IndexVersion) -> Iterator[StoredChunk]:
        return self._bolt.stream("streaming the chunks", lambda tx: reconcile.scanned(tx, version))

    # --- reconcile --------------------------------------------------------------------------------------------------

    def contents(
        self, version: IndexVersion, generations: Sequence[GenerationKey]
    ) -> Mapping[GenerationKey, StoredContent]:
        if not generations:
            return {}
        what = f"reading the contents of {len(generations)} generations"
        return self._bolt.read(what, lambda tx: reconcile.contents(tx, version, generations))

    def chunk_rows(self, version: IndexVersion, generations: Sequence[GenerationKey]) -> list[ChunkRow]:
        rows = generation_rows(version, generations)
        return self._bolt.read("reading chunks", lambda tx: reconcile.chunk_rows(tx, rows)) if rows else []

    def anchors(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Mapping[UUID, Anchor]:
        rows = reconcile.document_keys(version, document_ids)
        found = self._bolt.read("reading anchors", lambda tx: reconcile.anchors_of(tx, rows)) if rows else []
        return {each.document_id: each for each in found}

    def documents(self, version: IndexVersion) -> Iterator[Anchor]:
        return self._bolt.stream("streaming the documents", lambda tx: reconcile.scanned_documents(tx, version))

    def altered_entities(self, version: IndexVersion) -> Iterator[str]:
        found = self._bolt.stream("streaming the entities", lambda tx: reconcile.scanned_entities(tx, version))
        return (key for key, row in found if not is_itself(version, key, row))

    def mentioning(self, version: IndexVersion, node_keys: Sequence[str]) -> set[GenerationKey]:
        what = f"looking for what mentions {len(node_keys)} entities"
        return self._bolt.read(what, lambda tx: reconcile.mentioning(tx, node_keys)) if node_keys else set()

    def loose(self, version: IndexVersion) -> set[GenerationKey]:
        return self._bolt.read(
            "looking for what hangs on nothing", lambda tx: reconcile.loose(tx, version), is_whole=True
        )

    def drop_unused(self, version: IndexVersion, *, timeout_seconds: float) -> int:
        return self._bolt.write(
            "dropping what nothing uses",
            lambda tx: reconcile.drop_unused(tx, version, limit=ROWS_PER_QUERY),
            timeout_seconds=timeout_seconds,
            is_whole=True,
        )

    def rewrite(
        self, version: IndexVersion, batch: GraphBatch, settled: Sequence[DocumentRow], *, timeout_seconds: float
    ) -> None:
        check_batch(batch)
        self._bolt.write(
            f"writing {len(batch.documents)} documents over",
            lambda tx: reconcile.rewrite(tx, version, batch, settled),
            timeout_seconds=timeout_seconds,
        )

    def remove(self, version: IndexVersion, chunk_ids: Sequence[UUID], *, timeout_seconds: float) -> None:
        parameters = {"ids": [str(each) for each in chunk_ids], "version": version.version}
        self._bolt.write("removing chunks", _runs(DELETE_CHUNKS_BY_ID, parameters), timeout_seconds=timeout_seconds)

    def schema_gaps(self) -> list[str]:
        return self._bolt.read("reading the constraints", reconcile.schema_gaps)

    def describe(self, version: IndexVersion, description: str) -> None:
        parameters = {"name": reconcile.node_of(version), "version": version.version, "description": description}
        self._bolt.write("describing a version", _runs(SET_DESCRIPTION, parameters))

    def description(self, version: IndexVersion) -> str | None:
        name = reconcile.node_of(version)
        found = self._bolt.read("reading a description", lambda tx: tx.run(SHOW_DESCRIPTION, name=name).value())
        return found[0] if found else None

    def neighbourhoods(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Neighbourhood]:
        keys = sorted({ids.node_key(version.version, chunk_id) for chunk_id in chunk_ids})
        what = f"reading around {len(keys)} chunks"
        return self._bolt.read(what, lambda tx: neighbourhoods_of(tx, keys)) if keys else {}

    def kept(self) -> set[int]:
        return self._bolt.read("looking for index versions", versions.kept, is_whole=True)

    def drop(self, version: IndexVersion, *, limit: int, timeout_seconds: float) -> int:
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                return self._bolt.write(
                    f"dropping index version {version.version}",
                    lambda tx, limit=limit: versions.drop(tx, version, limit=limit),  # type: ignore[misc]
                    timeout_seconds=max(deadline - time.monotonic(), 0.001),
                    is_whole=True,
                )
            except BatchTooLarge:
                # A node takes its edges along, and only the server knows what they cost it.
                if limit == 1:
                    raise
                limit //= 2

    def orphans(self, version: IndexVersion) -> Mapping[str, int]:
        return self._count("counting what hangs on nothing", cypher.ORPHANS, version)

    def counts(self, version: IndexVersion, only: Collection[str] = ()) -> StoreCounts:
        wanted = {name: query for name, query in cypher.COUNTS.items() if not only or name in only}
        return StoreCounts(self._count("counting the graph", wanted, version))

    def counts_of(self, version: IndexVersion, source: str) -> StoreCounts:
        what = f"counting source {source!r} in the graph"
        return StoreCounts(self._count(what, cypher.COUNTS_OF_SOURCE, version, source=source))

    def _count(self, what: str, queries: Mapping[str, str], version: IndexVersion, **values: str) -> dict[str, int]:
        given = {"version": version.version, **values}

        def work(transaction: neo4j.Transaction) -> dict[str, int]:
            return {name: _rows(transaction.run(query, given)) for name, query in queries.items()}

        return self._bolt.read(what, work, is_whole=True)

    def point_to(self, version: IndexVersion) -> None:
        parameters = {"name": cypher.POINTER_NAME, "version": version.version}
        self._bolt.write("moving the pointer", _runs(cypher.SET_POINTER, parameters))

    def pointer(self) -> int | None:
        name = cypher.POINTER_NAME
        found = self._bolt.read("reading the pointer", lambda tx: tx.run(cypher.GET_POINTER, name=name).value())
        return int(found[0]) if found else None


def _runs(query: str, parameters: Mapping[str, Any] | None = None) -> Work[None]:
    def work(transaction: neo4j.Transaction) -> None:
        transaction.run(query, dict(parameters or {})).consume()

    return work


def _rows(result: neo4j.Result) -> int:
    return int(result.single(strict=True)["rows"])
