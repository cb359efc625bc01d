"""One query after the other, asked of two index versions in one snapshot of the ledger each.

Both answer by the ranking that readers get (`retrieval.ranking`). What the next version's store returns on the way is
looked at for leaks; then it is asked the same as a reader of another tenant, and of one that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from concordance.ledger.reading import Snapshot
from concordance.model import IndexVersion, SparseVector, Vector
from concordance.operations.correlation import Threads
from concordance.pipeline.adapters import Adapters
from concordance.quality.relevance import (
    DEPTH,
    NO_TENANT,
    Answer,
    Leak,
    Pair,
    Query,
    best_documents,
    leaks_of,
    recall_by_score,
)
from concordance.retrieval.ranking import Found, Ranking, Reader, VersionReader
from concordance.settings import Settings


@dataclass(frozen=True, slots=True)
class Question:
    """A query as the stores take it: `before` and `after` are its vectors by the models of live and next."""

    query: Query
    before: Vector
    after: Vector
    sparse: SparseVector
    compares_hnsw: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """Both answers; of the next version how many points were looked at, which leaked, and what HNSW found."""

    pair: Pair
    checked: int
    leaks: tuple[Leak, ...]
    hnsw_recall: float | None


class Asking:
    """Asks `live` and `following`, who have documents of these `tenants`."""

    def __init__(
        self,
        live: IndexVersion,
        following: IndexVersion,
        *,
        tenants: Set[str],
        adapters: Adapters,
        settings: Settings,
    ) -> None:
        self._live = live
        self._following = following
        self._tenants = sorted(tenants)
        self._adapters = adapters
        self._settings = settings

    def ask_all(self, questions: Sequence[Question]) -> list[Asked]:
        """The answers in the order of the questions, some of which are asked at once. Raises `Unavailable`."""
        with Threads(self._settings.relevance_threads) as threads:
            asked = [threads.submit(self._ask, question) for question in questions]
            try:
                return [each.result() for each in asked]
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def _ask(self, question: Question) -> Asked:
        query = question.query
        reader = Reader(query.tenant, query.access)
        with self._adapters.ledger.snapshot() as snapshot:
            earlier = self._reading(snapshot, self._live, reader)
            later = self._reading(snapshot, self._following, reader)
            before = _answer(earlier.rank(question.before, question.sparse, limit=DEPTH), earlier)
            ranking = later.rank(question.after, question.sparse, limit=DEPTH)
            seen = [(reader, "as the query's tenant", [*ranking.dense, *ranking.sparse])]
            seen += [
                (each, "as another tenant", self._found_by(each, snapshot, question)) for each in self._others(query)
            ]
            recall = self._hnsw_recall(later, ranking, question) if question.compares_hnsw else None
        return Asked(
            pair=Pair(query, before, _answer(ranking, later)),
            checked=sum(len(found) for *_, found in seen),
            leaks=tuple(
                leak
                for asker, asked, found in seen
                for leak in leaks_of(found, asker, query=query.identity, asked=asked)
            ),
            hnsw_recall=recall,
        )

    def _reading(self, snapshot: Snapshot, version: IndexVersion, reader: Reader) -> VersionReader:
        return VersionReader(
            snapshot,
            version,
            reader,
            vectors=self._adapters.vectors,
            settings=self._settings,
            seconds_left=lambda: self._settings.call_timeout_seconds,
        )

    def _others(self, query: Query) -> Iterator[Reader]:
        """A reader of the next tenant by name, if there is another one, and a reader of none, with the same labels."""
        others = [tenant for tenant in self._tenants if tenant != query.tenant]
        if others:
            yield Reader(next((tenant for tenant in others if tenant > query.tenant), others[0]), query.access)
        yield Reader(NO_TENANT, query.access)

    def _found_by(self, reader: Reader, snapshot: Snapshot, question: Question) -> list[Found]:
        """The heads of both lists of the next version, as this reader is given them."""
        reading = self._reading(snapshot, self._following, reader)
        worded = reading.find(question.sparse, limit=DEPTH) if question.sparse.indices else []
        return [*reading.find(question.after, limit=DEPTH), *worded]

    def _hnsw_recall(self, reading: VersionReader, ranking: Ranking, question: Question) -> float | None:
        """By the head of the list that readers are given, which HNSW searches as deep as they do; None without any."""
        exact = [found.point.score for found in reading.find(question.after, limit=DEPTH, exact=True)]
        approximate = [found.point.score for found in ranking.dense[:DEPTH]]
        return recall_by_score(approximate, exact) if exact else None


def _answer(ranking: Ranking, reading: VersionReader) -> Answer:
    dense, sparse = (
        best_documents(found.point.document_id for found in points if reading.shows(found))
        for points in (ranking.dense, ranking.sparse)
    )
    return Answer(best_documents(chunk.document_id for chunk in ranking.chunks), dense, sparse)
