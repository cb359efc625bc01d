"""The ranking that one index version gives, read inside one snapshot of the ledger: steps 2 and 3 of the reader's
protocol (`search.py`), for the live version as for any other that is kept.

What the store's payload says of tenant and labels is a filter for speed: shown is only what the ledger's row allows.
What the store returned is kept beside it, so that a gate can look at what the filter let through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from concordance.model import DocumentRow, GenerationKey, IndexVersion, ScoredPoint, SparseVector, Vector
from concordance.retrieval.fusion import fuse
from concordance.retrieval.reader import LedgerSnapshot
from concordance.settings import Settings
from concordance.stores.ports import VectorStore

_REFILL = 4  # how many times more points are read when too few of the last ones could be shown


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks: one tenant's reader, the labels that it carries, and the source that it asks about (None: all)."""

    tenant: str
    access: tuple[str, ...]
    source: str | None = None

    def may_see(self, row: DocumentRow) -> bool:
        return row.tenant == self.tenant and not set(row.access).isdisjoint(self.access)


@dataclass(frozen=True, slots=True)
class Found:
    """A point as the store returned it, and the ledger's row of its generation; None when that is not current."""

    point: ScoredPoint
    row: DocumentRow | None


@dataclass(frozen=True, slots=True)
class RankedChunk:
    """A chunk that the reader may see. `score` is in 0..1 and compares chunks of one ranking only."""

    chunk_id: UUID
    document_id: UUID
    score: float
    point: ScoredPoint
    row: DocumentRow


@dataclass(frozen=True, slots=True)
class Ranking:
    """`chunks`: dense and sparse fused, best first, all that may be shown. `dense` and `sparse` are what the store
    returned for each, best first, shown or not. `reached_bound`: there may be more beyond `search_max_candidates`."""

    chunks: tuple[RankedChunk, ...]
    dense: tuple[Found, ...]
    sparse: tuple[Found, ...]
    reached_bound: bool


class VersionReader:
    """Reads one index version for one reader; what it learns of generations is of its snapshot.

    `seconds_left` is asked before each call of the store, and may raise where no time is left.
    """

    def __init__(
        self,
        snapshot: LedgerSnapshot,
        version: IndexVersion,
        reader: Reader,
        *,
        vectors: VectorStore,
        settings: Settings,
        seconds_left: Callable[[], float],
    ) -> None:
        self._snapshot = snapshot
        self._version = version
        self._reader = reader
        self._vectors = vectors
        self._settings = settings
        self._seconds_left = seconds_left
        self._rows: dict[GenerationKey, DocumentRow | None] = {}
        self._reached_bound = False

    def rank(self, dense: Vector, sparse: SparseVector, *, limit: int) -> Ranking:
        """What the version answers: at least `limit` chunks, unless there are fewer or the bound is reached. A query
        without a term has no sparse list. Raises `Unavailable` when the store does not answer."""
        near = self._enough(dense, limit)
        worded = self._enough(sparse, limit) if sparse.indices else []
        shown = {found.point.chunk_id: found for found in (*near, *worded) if self.shows(found)}
        ranking = fuse(
            {found.point.chunk_id: found.point.score for found in near if found.point.chunk_id in shown},
            {found.point.chunk_id: found.point.score for found in worded if found.point.chunk_id in shown},
            dense_weight=self._settings.dense_weight,
        )
        return Ranking(
            chunks=tuple(_ranked(shown[chunk_id], score) for chunk_id, score in ranking),
            dense=tuple(near),
            sparse=tuple(worded),
            reached_bound=self._reached_bound,
        )

    def find(self, query: Vector | SparseVector, *, limit: int, exact: bool = False) -> list[Found]:
        """The best `limit` points that the store has for this reader, best first, with what the ledger says of each."""
        points = self._vectors.search(
            self._version,
            query,
            tenant=self._reader.tenant,
            access=self._reader.access,
            limit=limit,
            timeout_seconds=min(self._settings.call_timeout_seconds, self._seconds_left()),
            exact=exact,
        )
        self._learn({_generation(point) for point in points})
        return [Found(point, self._rows[_generation(point)]) for point in points]

    def shows(self, found: Found) -> bool:
        """Whether this reader may see what was found, by the ledger's word."""
        row, source = found.row, self._reader.source
        return row is not None and self._reader.may_see(row) and (source is None or row.source == source)

    def _enough(self, query: Vector | SparseVector, limit: int) -> list[Found]:
        """The best points, so many that at least `limit` of them may be shown, as far as there are any."""
        bound = self._settings.search_max_candidates
        fetch = min(max(limit * self._settings.search_overfetch, self._settings.search_min_candidates), bound)
        while True:
            found = self.find(query, limit=fetch)
            if len(found) < fetch or sum(map(self.shows, found)) >= limit:
                return found
            if fetch >= bound:
                self._reached_bound = True
                return found
            fetch = min(fetch * _REFILL, bound)

    def _learn(self, keys: Collection[GenerationKey]) -> None:
        unknown = set(keys) - self._rows.keys()
        if unknown:
            current = self._snapshot.current(self._version, unknown)
            self._rows.update((key, current.get(key)) for key in unknown)


def _ranked(found: Found, score: float) -> RankedChunk:
    assert found.row is not None, "only what may be shown is ranked"
    return RankedChunk(found.point.chunk_id, found.row.document_id, score, found.point, found.row)


def _generation(point: ScoredPoint) -> GenerationKey:
    return GenerationKey(point.document_id, point.generation)
