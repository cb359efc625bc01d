"""`VectorStore` in memory: what the vector index promises, in the fewest words."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from concordance import ids
from concordance.errors import Conflict, Misconfigured
from concordance.model import (
    Anchor,
    GenerationKey,
    IndexState,
    IndexVersion,
    Point,
    ScoredPoint,
    Span,
    SparseVector,
    StoreCounts,
    StoredChunk,
    Vector,
    VectorFault,
)
from concordance.stores.checks import check_points, check_query
from concordance.stores.point_payloads import DENSE, SPARSE, digest_of_vectors, wrong_with


@dataclass(slots=True)
class _Collection:
    dimension: int
    points: dict[UUID, Point] = field(default_factory=dict)
    digests: dict[UUID, str] = field(default_factory=dict)
    points_of: dict[UUID, dict[int, set[UUID]]] = field(default_factory=lambda: defaultdict(dict))
    live: set[UUID] = field(default_factory=set)
    indexed: set[UUID] = field(default_factory=set)

    def upsert(self, points: Sequence[Point]) -> None:
        for point in points:
            if point.chunk_id not in self.points:
                self.points[point.chunk_id] = point
                self.digests[point.chunk_id] = digest_of_vectors(point)
                self.points_of[point.document_id].setdefault(point.generation, set()).add(point.chunk_id)

    def rewrite(self, points: Sequence[Point]) -> None:
        for point in points:
            self.remove(point.chunk_id)
        self.upsert(points)

    def remove(self, chunk_id: UUID) -> None:
        self._take(chunk_id)
        for generations in self.points_of.values():
            for chunk_ids in generations.values():
                chunk_ids.discard(chunk_id)

    def _take(self, chunk_id: UUID) -> None:
        self.points.pop(chunk_id, None)
        self.live.discard(chunk_id)
        self.indexed.discard(chunk_id)

    def stored(self, point: Point) -> StoredChunk:
        return StoredChunk(
            point.chunk_id,
            point.document_id,
            point.generation,
            point.ordinal,
            ids.read_digest(point.text, point.text_digest),
            document_digest=ids.document_digest(
                tenant=point.tenant, source=point.source, uri=point.uri, title=point.title, access=point.access
            ),
            view_digest=ids.view_digest(
                tenant=point.tenant, heading_path=point.heading_path, live=point.chunk_id in self.live
            ),
        )

    def of(self, generation: GenerationKey) -> set[UUID]:
        return self.points_of.get(generation.document_id, {}).get(generation.generation, set())

    def below(self, generation: GenerationKey) -> Iterator[UUID]:
        for number, points in self.points_of.get(generation.document_id, {}).items():
            if number < generation.generation:
                yield from points

    def is_shown_above(self, generation: GenerationKey) -> bool:
        return any(
            number > generation.generation and not points.isdisjoint(self.live)
            for number, points in self.points_of.get(generation.document_id, {}).items()
        )

    def sweep(self, generation: GenerationKey) -> None:
        for chunk_id in self.points_of.get(generation.document_id, {}).pop(generation.generation, ()):
            self._take(chunk_id)

    def scores(self, query: Vector | SparseVector, candidates: Sequence[Point]) -> Iterator[tuple[float, Point]]:
        if not isinstance(query, SparseVector):
            for point in candidates:
                yield float(np.dot(point.dense, query)), point
            return
        weights = {term: value * self._idf(term) for term, value in zip(query.indices, query.values, strict=True)}
        for point in candidates:
            terms = dict(zip(point.sparse.indices, point.sparse.values, strict=True))
            common = weights.keys() & terms.keys()
            if common:
                yield sum(weights[term] * terms[term] for term in common), point

    def _idf(self, term: int) -> float:
        """The inverse document frequency as Qdrant's `modifier: idf` computes it, over the whole collection."""
        frequency = sum(term in point.sparse.indices for point in self.points.values())
        return math.log((len(self.points) - frequency + 0.5) / (frequency + 0.5) + 1)


class MemoryVectors:
    """`VectorStore` in memory."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._collections: dict[int, _Collection] = {}
        self._pointer: int | None = None

    def ping(self) -> str:
        return "memory vectors"

    def prepare(self, version: IndexVersion) -> None:
        dimension = version.settings.model.dimension
        with self._lock:
            if self._collections.setdefault(version.version, _Collection(dimension)).dimension != dimension:
                raise Misconfigured(
                    f"{version.collection} has another dimension than {dimension}: build a new index version"
                )

    def _collection(self, version: IndexVersion) -> _Collection:
        try:
            return self._collections[version.version]
        except KeyError:
            raise Misconfigured(
                f"there is no collection {version.collection}: prepare the index version first"
            ) from None

    def upsert(self, version: IndexVersion, points: Sequence[Point], *, timeout_seconds: float) -> None:
        check_points(points, dimension=version.settings.model.dimension)
        with self._lock:
            self._collection(version).upsert(points)

    def read_back(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> list[StoredChunk]:
        with self._lock:
            collection = self._collection(version)
            points = collection.points
            return [collection.stored(points[each]) for each in dict.fromkeys(chunk_ids) if each in points]

    def vectors(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Vector]:
        with self._lock:
            points = self._collection(version).points
            return {chunk_id: points[chunk_id].dense for chunk_id in chunk_ids if chunk_id in points}

    def settle(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        with self._lock:
            collection = self._collection(version)
            for generation in generations:
                if not collection.is_shown_above(generation):
                    collection.live.difference_update(collection.below(generation))
                    collection.live.update(collection.of(generation))

    def hide(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        with self._lock:
            collection = self._collection(version)
            for generation in generations:
                collection.live.difference_update(collection.below(generation))
                collection.live.difference_update(collection.of(generation))

    def sweep(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        with self._lock:
            for generation in generations:
                self._collection(version).sweep(generation)

    def generations_of(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Mapping[GenerationKey, int]:
        with self._lock:
            points_of = self._collection(version).points_of
            return {
                GenerationKey(document_id, number): len(points)
                for document_id in set(document_ids)
                for number, points in points_of.get(document_id, {}).items()
                if points
            }

    def points(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        with self._lock:
            collection = self._collection(version)
            found = sorted(_inside(collection.points, span), key=lambda point: point.chunk_id)
            return iter([collection.stored(point) for point in found])

    def checked_vectors(self, version: IndexVersion, span: Span | None = None) -> Iterator[VectorFault | None]:
        dimension = version.settings.model.dimension
        with self._lock:
            collection = self._collection(version)
            for point in _inside(collection.points, span):
                sparse = {"indices": point.sparse.indices, "values": point.sparse.values}
                claimed = collection.digests.get(point.chunk_id)
                what = wrong_with({DENSE: point.dense, SPARSE: sparse}, claimed, dimension=dimension)
                yield VectorFault(point.chunk_id, what) if what else None

    def places(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Anchor]:
        with self._lock:
            points = self._collection(version).points
            found = [points[each] for each in chunk_ids if each in points]
            return {each.document_id: Anchor(each.document_id, each.tenant, each.source, each.uri) for each in found}

    def schema_gaps(self, version: IndexVersion) -> list[str]:
        with self._lock:
            found = self._collections.get(version.version)
        if found is None:
            return [f"the collection {version.collection} is missing"]
        if found.dimension != version.settings.model.dimension:
            return [f"the collection {version.collection} has vectors of another shape"]
        return []

    def rewrite(self, version: IndexVersion, points: Sequence[Point], *, timeout_seconds: float) -> None:
        check_points(points, dimension=version.settings.model.dimension)
        with self._lock:
            self._collection(version).rewrite(points)

    def remove(self, version: IndexVersion, chunk_ids: Sequence[UUID], *, timeout_seconds: float) -> None:
        with self._lock:
            for chunk_id in chunk_ids:
                self._collection(version).remove(chunk_id)

    def search(
        self,
        version: IndexVersion,
        query: Vector | SparseVector,
        *,
        tenant: str,
        access: Sequence[str],
        limit: int,
        timeout_seconds: float,
        exact: bool = False,
    ) -> list[ScoredPoint]:
        check_query(query, dimension=version.settings.model.dimension)
        wanted = frozenset(access)
        with self._lock:
            collection = self._collection(version)
            candidates = [
                point
                for point in collection.points.values()
                if point.tenant == tenant and not wanted.isdisjoint(point.access)
            ]
            scored = sorted(collection.scores(query, candidates), key=lambda hit: (-hit[0], hit[1].chunk_id))
        return [_hit(score, point) for score, point in scored[:limit]]

    def point_to(self, version: IndexVersion) -> None:
        with self._lock:
            self._collection(version)
            self._pointer = version.version

    def pointer(self) -> int | None:
        with self._lock:
            return self._pointer

    def kept(self) -> set[int]:
        with self._lock:
            return set(self._collections)

    def drop(self, version: IndexVersion, *, timeout_seconds: float) -> None:
        with self._lock:
            if self._pointer == version.version:
                raise Conflict(f"the alias names {version.collection}: let it name another version first")
            self._collections.pop(version.version, None)

    def index_state(self, version: IndexVersion) -> IndexState:
        with self._lock:
            collection = self._collection(version)
            return IndexState(points=len(collection.points), indexed=len(collection.indexed))

    def defer_indexing(self, version: IndexVersion) -> None:
        """Nothing is indexed here before `build_hnsw` anyway."""
        with self._lock:
            self._collection(version)

    def build_hnsw(self, version: IndexVersion, *, timeout_seconds: float) -> None:
        """Here it is only noted: every search of this store reads all vectors."""
        with self._lock:
            collection = self._collection(version)
            collection.indexed = set(collection.points)

    def counts(self, version: IndexVersion) -> StoreCounts:
        with self._lock:
            return StoreCounts({"points": len(self._collection(version).points)})

    def counts_of(self, version: IndexVersion, source: str) -> StoreCounts:
        with self._lock:
            points = self._collection(version).points.values()
            return StoreCounts({"points": sum(point.source == source for point in points)})

    def close(self) -> None:
        return None

    # what raw readers see: no part of the port, read by tests and the simulator

    def live_points(self, version: IndexVersion) -> frozenset[UUID]:
        """The points that carry the flag `live`."""
        with self._lock:
            return frozenset(self._collection(version).live)


def _inside(points: Mapping[UUID, Point], span: Span | None) -> list[Point]:
    return [point for key, point in points.items() if span is None or span.first <= key <= span.last]


def _hit(score: float, point: Point) -> ScoredPoint:
    return ScoredPoint(
        score=score,
        chunk_id=point.chunk_id,
        document_id=point.document_id,
        generation=point.generation,
        ordinal=point.ordinal,
        tenant=point.tenant,
        source=point.source,
        uri=point.uri,
        title=point.title,
        heading_path=point.heading_path,
        text=point.text,
        access=point.access,
    )
