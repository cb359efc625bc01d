"""Search, by the reader's protocol (design, section 5): top to bottom on one screen.

1. One snapshot of the ledger says which index version is live and which generations are current.
2. Points are read by name of that version's collection, more than are asked for (`ranking.py`).
3. Those of current generations stay, if the document's current tenant and access labels allow it. What the store's
   payload says about either is a filter for speed, never the reason to show anything.
4. The graph gives what is around the chunks, by their ids.
5. Last, outside the snapshot, what is erased by now is dropped.

A reader that took longer than `reader_timeout_seconds` may have outlived the sweep's grace: it starts again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from concordance.chunking.bm25 import query_vector
from concordance.embedding.port import Embedder
from concordance.errors import ConcordanceError, Misconfigured, Unavailable
from concordance.model import DocumentRow, IndexVersion, ModelFingerprint, Neighbourhood, SparseVector, Vector
from concordance.operations import telemetry
from concordance.retrieval.answer import Hit, LinkedDocument, NamedEntity, SearchAnswer, SearchQuery
from concordance.retrieval.ranking import RankedChunk, Reader, VersionReader
from concordance.retrieval.reader import LedgerReader, LedgerSnapshot
from concordance.retrieval.snippet import snippet
from concordance.settings import Settings
from concordance.stores.ports import GraphStore, VectorStore


class _TooLate(Exception):
    """This attempt's snapshot is older than `reader_timeout_seconds`."""


class _Swapped(Exception):
    """The version that is live by now has another model than those that the query was encoded with."""


def search(
    query: SearchQuery,
    *,
    ledger: LedgerReader,
    graph: GraphStore,
    vectors: VectorStore,
    embedder_of: Callable[[IndexVersion], Embedder],
    settings: Settings,
    clock: Callable[[], float] = time.monotonic,
) -> SearchAnswer:
    """Answer `query` from the live index version.

    `embedder_of` gives the model that a version was built with. Raises `Misconfigured` for a query that cannot be
    asked, an index that was never published, or what `embedder_of` raises; `Unavailable` when a store does not answer,
    or no attempt ended within `reader_timeout_seconds`.
    """
    try:
        with telemetry.timer("search.duration"):
            answer = _answered(
                query,
                ledger=ledger,
                graph=graph,
                vectors=vectors,
                embedder_of=embedder_of,
                settings=settings,
                clock=clock,
            )
    except ConcordanceError as error:
        telemetry.count("search.failed", error=type(error).__name__)
        raise
    telemetry.count("search.answered")
    return answer


def _answered(
    query: SearchQuery,
    *,
    ledger: LedgerReader,
    graph: GraphStore,
    vectors: VectorStore,
    embedder_of: Callable[[IndexVersion], Embedder],
    settings: Settings,
    clock: Callable[[], float],
) -> SearchAnswer:
    text, limit = checked(query, settings)
    with ledger.snapshot() as snapshot:
        version = snapshot.live()
    sparse = query_vector(text)
    dense: dict[ModelFingerprint, Vector] = {}
    for _ in range(settings.reader_attempts):
        if version.settings.model not in dense:
            # Encoding may load a model for seconds: it stays outside the snapshot that the answer is read in.
            dense[version.settings.model] = embedder_of(version).encode([text])[0]
        deadline = _Deadline(clock, settings.reader_timeout_seconds)
        reading = _Reading(query, limit, graph=graph, vectors=vectors, settings=settings, deadline=deadline)
        try:
            with ledger.snapshot() as snapshot:
                version = snapshot.live()
                if version.settings.model not in dense:
                    raise _Swapped
                answer = reading.answer(snapshot, dense[version.settings.model], sparse)
            answer = _without_erased(answer, ledger)
            deadline.check()
        except (_TooLate, _Swapped):
            telemetry.count("search.restarted")
            continue
        return answer
    raise Unavailable(
        f"The search took longer than {settings.reader_timeout_seconds:g} seconds {settings.reader_attempts} times, or "
        "another model's index went live meanwhile: the stores are overloaded; try again, or ask for fewer hits"
    )


def checked(query: SearchQuery, settings: Settings) -> tuple[str, int]:
    """The query's text on one line, and its limit. Raises `Misconfigured` saying what to change."""
    text = " ".join(query.text.split())
    if not text:
        raise Misconfigured("The query is empty: give at least one word")
    if len(text) > settings.search_max_query_characters:
        raise Misconfigured(
            f"The query has {len(text)} characters, allowed are {settings.search_max_query_characters}: shorten it"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Misconfigured("The query is not valid Unicode: give it in UTF-8") from None
    if not query.tenant:
        raise Misconfigured("The query names no tenant: a reader sees the documents of exactly one")
    limit = settings.search_limit if query.limit is None else query.limit
    if not 1 <= limit <= settings.search_max_limit:
        raise Misconfigured(f"The limit is {limit}, allowed are 1 to {settings.search_max_limit}")
    return text, limit


class _Deadline:
    """The time that one attempt has, from its creation on."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock = clock
        self._ends_at = clock() + seconds

    def remaining_seconds(self) -> float:
        """Above 0. Raises `_TooLate` when nothing is left."""
        left = self._ends_at - self._clock()
        if left <= 0:
            raise _TooLate
        return left

    def check(self) -> None:
        self.remaining_seconds()


class _Reading:
    """One attempt: everything it reads belongs to one snapshot."""

    def __init__(
        self,
        query: SearchQuery,
        limit: int,
        *,
        graph: GraphStore,
        vectors: VectorStore,
        settings: Settings,
        deadline: _Deadline,
    ) -> None:
        self._query = query
        self._limit = limit
        self._graph = graph
        self._vectors = vectors
        self._settings = settings
        self._deadline = deadline
        self._reader = Reader(query.tenant, query.access, query.source or None)

    def answer(self, snapshot: LedgerSnapshot, dense: Vector, sparse: SparseVector) -> SearchAnswer:
        version = snapshot.live()
        ranking = VersionReader(
            snapshot,
            version,
            self._reader,
            vectors=self._vectors,
            settings=self._settings,
            seconds_left=self._deadline.remaining_seconds,
        ).rank(dense, sparse, limit=self._limit)
        chosen = spread(ranking.chunks, limit=self._limit, per_document=self._settings.search_hits_per_document)
        around = self._graph.neighbourhoods(version, [chunk.chunk_id for chunk in chosen])
        linked = self._linked(snapshot, version, around)
        stale = snapshot.stale(version, {chunk.document_id for chunk in chosen})
        hits = [self._hit(chunk, around[chunk.chunk_id], linked, stale) for chunk in chosen if chunk.chunk_id in around]
        self._deadline.check()
        return SearchAnswer(
            hits=tuple(hits),
            index_version=version.version,
            is_exhaustive=len(chosen) >= self._limit or not ranking.reached_bound,
            missing_in_graph=len(chosen) - len(hits),
        )

    def _linked(
        self, snapshot: LedgerSnapshot, version: IndexVersion, around: Mapping[UUID, Neighbourhood]
    ) -> dict[UUID, DocumentRow]:
        """Documents that are linked to and may be seen. A hub's thousands of links are cut before the look-up."""
        most = 10 * self._settings.search_max_neighbours
        wanted = {target for one in around.values() for target in sorted(one.linked_documents)[:most]}
        rows = snapshot.documents(version, wanted) if wanted else {}
        return {document_id: row for document_id, row in rows.items() if self._reader.may_see(row)}

    def _hit(
        self, chunk: RankedChunk, around: Neighbourhood, linked: Mapping[UUID, DocumentRow], stale: Collection[UUID]
    ) -> Hit:
        row = chunk.row
        most = self._settings.search_max_neighbours
        others = sorted((linked[target] for target in set(around.linked_documents) if target in linked), key=_by_uri)
        entities = list(dict.fromkeys(NamedEntity(entity.type, entity.name) for entity in around.entities))
        return Hit(
            document_id=row.document_id,
            uri=row.uri,
            source=row.source,
            title=row.title,
            heading_path=chunk.point.heading_path,
            score=chunk.score,
            snippet=snippet(
                chunk.point.text.partition("\n\n")[2],
                self._query.text,
                max_characters=self._settings.snippet_characters,
            ),
            entities=tuple(entities[:most]),
            linked=tuple(LinkedDocument(other.document_id, other.uri, other.title) for other in others[:most]),
            is_stale=row.document_id in stale,
        )


def spread(ranking: Sequence[RankedChunk], *, limit: int, per_document: int) -> list[RankedChunk]:
    """The best `limit` chunks, best first, at most `per_document` of each document while others can fill the places."""
    taken: Counter[UUID] = Counter()
    first: list[RankedChunk] = []
    spare: list[RankedChunk] = []
    for chunk in ranking:
        (first if taken[chunk.document_id] < per_document else spare).append(chunk)
        taken[chunk.document_id] += 1
    return sorted((first + spare)[:limit], key=lambda chunk: (-chunk.score, chunk.chunk_id))


def _without_erased(answer: SearchAnswer, ledger: LedgerReader) -> SearchAnswer:
    shown: set[UUID] = {hit.document_id for hit in answer.hits}
    shown.update(other.document_id for hit in answer.hits for other in hit.linked)
    erased: Collection[UUID] = ledger.erased(shown) if shown else ()
    if not erased:
        return answer
    hits = tuple(
        replace(hit, linked=tuple(other for other in hit.linked if other.document_id not in erased))
        for hit in answer.hits
        if hit.document_id not in erased
    )
    return replace(answer, hits=hits)


def _by_uri(row: DocumentRow) -> tuple[str, UUID]:
    return row.uri, row.document_id
