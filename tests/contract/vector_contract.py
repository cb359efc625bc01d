"""What every `VectorStore` promises. An adapter's test file subclasses these and gives the fixtures `vectors`, `raw`
and, where collections must be cleared away, its own `version`.

`raw` looks at the store as a raw reader does, past the port: `live_points(version)` gives the ids of the points that
carry `live`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import pytest

from concordance.errors import ConcordanceError, Conflict, Corrupt, Misconfigured, PoisonDocument
from concordance.model import IndexState, IndexVersion, Point, Reason, ScoredPoint, Span, SparseVector, Vector
from concordance.stores import VectorStore
from support.index_rows import DIMENSION, Written, bag_of_words, index_version, points, term, unit_vector

SECONDS = 30.0
# Of vectors that are far from each other, so that an HNSW has something to miss.
WIDE = 64


class RawVectors(Protocol):
    def live_points(self, version: IndexVersion) -> set[UUID]: ...


class _OwnVersion:
    @pytest.fixture
    def version(self) -> IndexVersion:
        return index_version()

    @pytest.fixture(autouse=True)
    def _collection(self, vectors: VectorStore, version: IndexVersion) -> None:
        vectors.prepare(version)


def upsert(vectors: VectorStore, version: IndexVersion, *documents: Written) -> list[Point]:
    written = points(version, *documents)
    vectors.upsert(version, written, timeout_seconds=SECONDS)
    return written


def settle(vectors: VectorStore, version: IndexVersion, *documents: Written) -> None:
    vectors.settle(version, [document.key for document in documents], timeout_seconds=SECONDS)


def search(
    vectors: VectorStore, version: IndexVersion, query: Vector | SparseVector, **changes: Any
) -> list[ScoredPoint]:
    asked: dict[str, Any] = {"tenant": "acme", "access": ["public"], "limit": 10, "timeout_seconds": SECONDS}
    return vectors.search(version, query, **{**asked, **changes})


def count(vectors: VectorStore, version: IndexVersion) -> int:
    return vectors.counts(version).rows["points"]


class VectorWriteContract(_OwnVersion):
    def test_points_are_counted_by_source_in_all_their_generations(
        self, vectors: VectorStore, version: IndexVersion
    ) -> None:
        upsert(vectors, version, Written("a"), Written("a", generation=2), Written("c", source="letters"))
        counted = {source: vectors.counts_of(version, source).rows for source in ("manuals", "letters", "nobody's")}
        assert counted == {"manuals": {"points": 4}, "letters": {"points": 2}, "nobody's": {"points": 0}}

    def test_points_are_read_back_as_they_were_named(self, vectors: VectorStore, version: IndexVersion) -> None:
        written = upsert(vectors, version, Written("a"), Written("b", generation=4))
        missing = Written("never there").chunk_ids(version)
        found = {chunk.chunk_id: chunk for chunk in vectors.read_back(version, [p.chunk_id for p in written] + missing)}
        assert found.keys() == {point.chunk_id for point in written}
        for point in written:
            chunk = found[point.chunk_id]
            assert (chunk.document_id, chunk.generation, chunk.ordinal, chunk.text_digest) == (
                point.document_id,
                point.generation,
                point.ordinal,
                point.text_digest,
            )

    def test_vectors_come_back_bit_for_bit(self, vectors: VectorStore, version: IndexVersion) -> None:
        written = upsert(vectors, version, Written("a", texts=[f"text {number}" for number in range(50)]))
        missing = Written("never there").chunk_ids(version)
        found = vectors.vectors(version, [point.chunk_id for point in written] + missing)
        assert found.keys() == {point.chunk_id for point in written}
        for point in written:
            assert found[point.chunk_id].dtype == np.float32
            assert found[point.chunk_id].tobytes() == point.dense.tobytes()

    def test_the_same_points_again_change_nothing(
        self, vectors: VectorStore, raw: RawVectors, version: IndexVersion
    ) -> None:
        upsert(vectors, version, Written("a"))
        settle(vectors, version, Written("a"))
        upsert(vectors, version, Written("a"))
        assert count(vectors, version) == 2
        assert raw.live_points(version) == set(Written("a").chunk_ids(version))

    def test_what_a_generation_wrote_never_changes(self, vectors: VectorStore, version: IndexVersion) -> None:
        first, other = Written("a", texts=("as it was",)), Written("a", texts=("as it never was",))
        (written,) = upsert(vectors, version, first)
        upsert(vectors, version, other)
        (chunk,) = vectors.read_back(version, [written.chunk_id])
        assert chunk.text_digest == written.text_digest
        assert vectors.vectors(version, [written.chunk_id])[written.chunk_id].tobytes() == written.dense.tobytes()

    def test_more_points_than_one_request_takes_are_written(self, vectors: VectorStore, version: IndexVersion) -> None:
        document = Written("a", texts=[f"text {number} " + "x" * 2000 for number in range(700)])
        written = upsert(vectors, version, document)
        assert count(vectors, version) == 700
        assert len(vectors.read_back(version, [point.chunk_id for point in written])) == 700

    def test_nothing_is_written_by_an_empty_upsert(self, vectors: VectorStore, version: IndexVersion) -> None:
        vectors.upsert(version, [], timeout_seconds=SECONDS)
        assert count(vectors, version) == 0
        assert vectors.read_back(version, []) == []
        assert vectors.vectors(version, []) == {}

    def test_a_point_without_terms_is_written_too(self, vectors: VectorStore, version: IndexVersion) -> None:
        (point,) = points(version, Written("a", texts=("words",)))
        vectors.upsert(version, [replace(point, sparse=SparseVector((), ()))], timeout_seconds=SECONDS)
        assert count(vectors, version) == 1
        assert [hit.chunk_id for hit in search(vectors, version, point.dense)] == [point.chunk_id]

    def test_hostile_text_comes_back_as_it_was_written(self, vectors: VectorStore, version: IndexVersion) -> None:
        text = '"}]} NUL \x00 \u202e 𝄞 e\u0301 \\u0060 \n two\ttabs \x1f'
        upsert(vectors, version, Written(text, title=text, texts=(text,), access=(text,)))
        (hit,) = search(vectors, version, unit_vector(text), access=[text])
        assert (hit.uri, hit.title, hit.text, hit.access) == (text, text, text, (text,))

    def test_index_versions_do_not_see_each_other(self, vectors: VectorStore, version: IndexVersion) -> None:
        upsert(vectors, version, Written("a"))
        vectors.prepare(version)
        assert count(vectors, version) == 2
        with pytest.raises(Misconfigured, match="collection"):
            vectors.counts(index_version())


def _too_long(point: Point) -> Point:
    return replace(point, dense=unit_vector("other", DIMENSION + 1))


def _not_finite(point: Point) -> Point:
    return replace(point, dense=np.array([math.nan] * DIMENSION, dtype=np.float32))


def _infinite(point: Point) -> Point:
    return replace(point, dense=np.array([math.inf] + [0.0] * (DIMENSION - 1), dtype=np.float32))


def _zero(point: Point) -> Point:
    return replace(point, dense=np.zeros(DIMENSION, dtype=np.float32))


def _huge(point: Point) -> Point:
    return replace(point, dense=np.full(DIMENSION, 3e38, dtype=np.float32))


def _double(point: Point) -> Point:
    return replace(point, dense=point.dense.astype(np.float64))


def _unsorted_terms(point: Point) -> Point:
    return replace(point, sparse=SparseVector((2, 1), (1.0, 1.0)))


def _bad_weight(point: Point) -> Point:
    return replace(point, sparse=SparseVector((1,), (math.nan,)))


def _term_too_large(point: Point) -> Point:
    return replace(point, sparse=SparseVector((2**32,), (1.0,)))


class VectorRefusalContract(_OwnVersion):
    @pytest.mark.parametrize(
        "spoil",
        [_too_long, _not_finite, _infinite, _zero, _huge, _double, _unsorted_terms, _bad_weight, _term_too_large],
    )
    def test_a_bad_vector_is_refused_before_anything_is_written(
        self, vectors: VectorStore, version: IndexVersion, spoil: Callable[[Point], Point]
    ) -> None:
        good = points(version, Written("good", texts=[f"text {number}" for number in range(300)]))
        (bad,) = points(version, Written("bad", texts=("unspeakable",)))
        with pytest.raises(PoisonDocument) as refused:
            vectors.upsert(version, [*good, spoil(bad)], timeout_seconds=SECONDS)
        assert refused.value.reason == Reason.BAD_VECTOR
        assert str(bad.document_id) in str(refused.value)
        assert "unspeakable" not in str(refused.value)
        assert count(vectors, version) == 0

    def test_text_that_is_no_unicode_is_refused(self, vectors: VectorStore, version: IndexVersion) -> None:
        (point,) = points(version, Written("a", texts=("words",)))
        with pytest.raises(PoisonDocument) as refused:
            vectors.upsert(version, [replace(point, title="\ud800")], timeout_seconds=SECONDS)
        assert refused.value.reason == Reason.STORE_REFUSED
        assert count(vectors, version) == 0

    def test_a_query_of_another_dimension_is_refused(self, vectors: VectorStore, version: IndexVersion) -> None:
        with pytest.raises(Corrupt, match="dimension"):
            search(vectors, version, unit_vector("query", DIMENSION + 1))

    def test_a_collection_of_another_shape_is_not_taken(self, vectors: VectorStore, version: IndexVersion) -> None:
        other = index_version(version.version, dimension=DIMENSION * 2)
        with pytest.raises(Misconfigured, match=version.collection):
            vectors.prepare(other)

    def test_a_version_that_was_never_prepared_is_a_clear_error(self, vectors: VectorStore) -> None:
        never = index_version()
        (point,) = points(never, Written("a", texts=("words",)))
        for call in (
            lambda: vectors.upsert(never, [point], timeout_seconds=SECONDS),
            lambda: vectors.read_back(never, [point.chunk_id]),
            lambda: list(vectors.points(never)),
            lambda: search(vectors, never, point.dense),
            lambda: vectors.point_to(never),
        ):
            with pytest.raises(Misconfigured, match=never.collection):
                call()


class VectorSettleContract(_OwnVersion):
    def test_points_are_not_live_before_they_are_settled(
        self, vectors: VectorStore, raw: RawVectors, version: IndexVersion
    ) -> None:
        upsert(vectors, version, Written("a"))
        assert raw.live_points(version) == set()

    def test_settling_shows_one_generation_and_takes_the_lower_ones_away(
        self, vectors: VectorStore, raw: RawVectors, version: IndexVersion
    ) -> None:
        first, second, bystander = Written("a", generation=3), Written("a", generation=7), Written("b")
        upsert(vectors, version, first, second, bystander)
        settle(vectors, version, first, bystander)
        assert raw.live_points(version) == {*first.chunk_ids(version), *bystander.chunk_ids(version)}
        for _ in range(2):
            settle(vectors, version, second)
            assert raw.live_points(version) == {*second.chunk_ids(version), *bystander.chunk_ids(version)}

    def test_a_late_settle_never_brings_a_lower_generation_back(
        self, vectors: VectorStore, raw: RawVectors, version: IndexVersion
    ) -> None:
        first, second = Written("a", generation=1), Written("a", generation=2)
        upsert(vectors, version, first, second)
        settle(vectors, version, second)
        settle(vectors, version, first)
        assert raw.live_points(version) == set(second.chunk_ids(version))

    def test_many_documents_are_settled_and_hidden_in_one_call(
        self, vectors: VectorStore, raw: RawVectors, version: IndexVersion
    ) -> None:
        documents = [Written(f"{number}", generation=number % 3 + 1) for number in range(150)]
        upsert(vectors, version, *documents)
        settle(vectors, version, *documents, Written("never there"))
        assert raw.live_points(version) == {each for document in documents for each in document.chunk_ids(version)}
        vectors.hide(version, [document.key for document in documents[10:]], timeout_seconds=SECONDS)
        assert len(raw.live_points(version)) == 20
        settle(vectors, version)
        vectors.hide(version, [], timeout_seconds=SECONDS)
        assert len(raw.live_points(version)) == 20

    def test_hiding_takes_a_generation_and_all_lower_ones_away(
        self, vectors: VectorStore, raw: RawVectors, version: IndexVersion
    ) -> None:
        documents = [Written("a", generation=number) for number in (1, 2, 3)]
        upsert(vectors, version, *documents)
        settle(vectors, version, documents[1])
        vectors.hide(version, [documents[0].key], timeout_seconds=SECONDS)
        assert raw.live_points(version) == set(documents[1].chunk_ids(version))
        vectors.hide(version, [documents[2].key], timeout_seconds=SECONDS)
        assert raw.live_points(version) == set()
        assert count(vectors, version) == 6


class VectorSweepContract(_OwnVersion):
    def test_sweeping_takes_the_named_generations_and_nothing_else(
        self, vectors: VectorStore, version: IndexVersion
    ) -> None:
        documents = [Written(uri, generation=number) for uri in ("a", "b") for number in (1, 2)]
        upsert(vectors, version, *documents)
        swept = [documents[0].key, documents[3].key]
        for _ in range(2):
            vectors.sweep(version, swept, timeout_seconds=SECONDS)
            left = {chunk.chunk_id for chunk in vectors.points(version)}
            assert left == {*documents[1].chunk_ids(version), *documents[2].chunk_ids(version)}
        vectors.sweep(version, [], timeout_seconds=SECONDS)
        assert count(vectors, version) == 4

    def test_many_generations_are_swept_in_one_call(self, vectors: VectorStore, version: IndexVersion) -> None:
        documents = [Written(f"{number}", generation=number % 5) for number in range(200)]
        upsert(vectors, version, *documents)
        vectors.sweep(version, [document.key for document in documents[:190]], timeout_seconds=SECONDS)
        assert count(vectors, version) == 20


class VectorEraseContract(_OwnVersion):
    def test_every_point_of_a_document_is_found_and_sweeping_what_is_found_leaves_nothing(
        self, vectors: VectorStore, version: IndexVersion
    ) -> None:
        first, second, other = Written("a"), Written("a", generation=4, texts=("only one",)), Written("b")
        upsert(vectors, version, first, second, other)
        settle(vectors, version, second)
        found = vectors.generations_of(version, [first.document_id, Written("never there").document_id])
        assert found == {first.key: 2, second.key: 1}
        vectors.sweep(version, list(found), timeout_seconds=SECONDS)
        assert vectors.generations_of(version, [first.document_id]) == {}
        assert vectors.generations_of(version, []) == {}
        assert count(vectors, version) == 2


class VectorReadContract(_OwnVersion):
    def test_points_stream_in_the_order_of_their_ids(self, vectors: VectorStore, version: IndexVersion) -> None:
        document = Written("a", texts=[f"text {number}" for number in range(2500)])
        upsert(vectors, version, document)
        streamed = list(vectors.points(version))
        assert [chunk.chunk_id for chunk in streamed] == sorted(document.chunk_ids(version))
        assert {chunk.ordinal for chunk in streamed} == set(range(2500))

    def test_many_points_are_read_back_in_one_call(self, vectors: VectorStore, version: IndexVersion) -> None:
        written = upsert(vectors, version, Written("a", texts=[f"text {number}" for number in range(2100)]))
        chunk_ids = [point.chunk_id for point in written]
        assert {chunk.chunk_id for chunk in vectors.read_back(version, chunk_ids)} == set(chunk_ids)
        assert vectors.vectors(version, chunk_ids).keys() == set(chunk_ids)

    def test_a_span_gives_its_own_points_in_order(self, vectors: VectorStore, version: IndexVersion) -> None:
        upsert(vectors, version, *(Written(f"doc {number}") for number in range(5)))
        ordered = list(vectors.points(version))
        middle = ordered[1:-1]
        assert list(vectors.points(version, Span(middle[0].chunk_id, middle[-1].chunk_id))) == middle
        assert list(vectors.points(version, Span(middle[0].chunk_id, middle[0].chunk_id))) == middle[:1]

    def test_vectors_that_were_written_are_sound_when_they_are_read(
        self, vectors: VectorStore, version: IndexVersion
    ) -> None:
        written = upsert(vectors, version, *(Written(f"doc {number}") for number in range(3)))
        assert list(vectors.checked_vectors(version)) == [None] * len(written)

    def test_points_written_over_are_as_they_are_given_and_places_name_their_documents(
        self, vectors: VectorStore, version: IndexVersion
    ) -> None:
        document = Written("a")
        first, *others = upsert(vectors, version, document)
        edited = replace(first, title="by hand", dense=np.roll(first.dense, 1))
        vectors.rewrite(version, [edited], timeout_seconds=SECONDS)
        assert np.array_equal(vectors.vectors(version, [first.chunk_id])[first.chunk_id], edited.dense)
        vectors.rewrite(version, [first], timeout_seconds=SECONDS)
        assert np.array_equal(vectors.vectors(version, [first.chunk_id])[first.chunk_id], first.dense)
        assert count(vectors, version) == 1 + len(others)
        place = vectors.places(version, [first.chunk_id])[document.document_id]
        assert (place.tenant, place.source, place.uri) == (document.tenant, document.source, document.uri)
        vectors.remove(version, [first.chunk_id], timeout_seconds=SECONDS)
        assert count(vectors, version) == len(others)

    def test_the_shape_of_a_prepared_version_has_no_gaps(self, vectors: VectorStore, version: IndexVersion) -> None:
        assert list(vectors.schema_gaps(version)) == []
        missing = replace(version, version=version.version + 1_000_000)
        assert vectors.schema_gaps(missing) == [f"the collection {missing.collection} is missing"]

    def test_a_collection_that_holds_nothing_streams_nothing(self, vectors: VectorStore, version: IndexVersion) -> None:
        assert list(vectors.points(version)) == []
        assert search(vectors, version, unit_vector("query")) == []

    def test_the_alias_flips_from_one_version_to_the_next(self, vectors: VectorStore, version: IndexVersion) -> None:
        vectors.point_to(version)
        assert vectors.pointer() == version.version
        other = index_version()
        with pytest.raises(ConcordanceError):
            vectors.point_to(other)
        assert vectors.pointer() == version.version
        vectors.point_to(version)
        assert vectors.pointer() == version.version

    def test_a_store_that_is_there_says_what_it_is(self, vectors: VectorStore) -> None:
        assert vectors.ping()


class VectorVersionContract(_OwnVersion):
    @pytest.fixture
    def other(self, vectors: VectorStore) -> Iterator[IndexVersion]:
        """Another version, with a point, which the alias names in the end."""
        other = index_version()
        vectors.prepare(other)
        upsert(vectors, other, Written("a", texts=("of the other",)))
        vectors.point_to(other)
        yield other
        third = index_version()
        vectors.prepare(third)
        vectors.point_to(third)
        vectors.drop(other, timeout_seconds=SECONDS)

    def test_a_dropped_version_is_gone_and_no_other_one(
        self, vectors: VectorStore, version: IndexVersion, other: IndexVersion
    ) -> None:
        upsert(vectors, version, Written("a"))
        assert {version.version, other.version} <= set(vectors.kept())
        for _ in range(2):
            vectors.drop(version, timeout_seconds=SECONDS)
            assert version.version not in vectors.kept()
            with pytest.raises(Misconfigured, match=version.collection):
                vectors.counts(version)
        assert other.version in vectors.kept()
        assert count(vectors, other) == 1
        assert vectors.pointer() == other.version
        vectors.prepare(version)
        assert count(vectors, version) == 0

    def test_the_version_that_the_alias_names_is_not_dropped(
        self, vectors: VectorStore, version: IndexVersion, other: IndexVersion
    ) -> None:
        upsert(vectors, version, Written("a"))
        vectors.point_to(version)
        with pytest.raises(Conflict, match=version.collection):
            vectors.drop(version, timeout_seconds=SECONDS)
        assert count(vectors, version) == 2
        vectors.point_to(other)
        vectors.drop(version, timeout_seconds=SECONDS)
        assert version.version not in vectors.kept()
        vectors.prepare(version)

    def test_the_alias_flips_between_two_versions_and_back_under_searches_that_never_fail(
        self, vectors: VectorStore, version: IndexVersion, other: IndexVersion
    ) -> None:
        upsert(vectors, version, Written("a"))
        is_over = threading.Event()

        def read() -> set[int | None]:
            found: set[int | None] = set()
            while not is_over.is_set():
                hits = [len(search(vectors, each, unit_vector("query"))) for each in (version, other)]
                assert hits == [2, 1]
                found.add(vectors.pointer())
            return found

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            for _ in range(10):
                for each in (version, other):
                    vectors.point_to(each)
                    assert vectors.pointer() == each.version
            is_over.set()
            seen = set().union(*(reader.result() for reader in readers))
        # Never none: each flip was one step.
        assert seen <= {version.version, other.version}

    def test_an_hnsw_that_was_built_has_every_vector_and_mostly_agrees_with_an_exact_search(
        self, vectors: VectorStore
    ) -> None:
        wide = index_version(dimension=WIDE)
        vectors.prepare(wide)
        try:
            written = upsert(vectors, wide, Written("a", texts=[f"text {number}" for number in range(1_000)]))
            assert vectors.index_state(wide) == IndexState(points=1_000, indexed=0)
            for _ in range(2):
                vectors.build_hnsw(wide, timeout_seconds=120)
                assert vectors.index_state(wide) == IndexState(points=1_000, indexed=1_000)
            queries = [unit_vector(f"query {number}", WIDE) for number in range(20)]
            assert _agreement(vectors, wide, written, queries, exact=True) == 1
            assert _agreement(vectors, wide, written, queries, exact=False) > 0.8
            more = upsert(vectors, wide, Written("b", texts=[f"more {number}" for number in range(30)]))
            assert vectors.index_state(wide) == IndexState(points=1_030, indexed=1_000)
            assert _agreement(vectors, wide, [*written, *more], queries, exact=False) > 0.8
            vectors.build_hnsw(wide, timeout_seconds=120)
            assert vectors.index_state(wide) == IndexState(points=1_030, indexed=1_030)
        finally:
            vectors.drop(wide, timeout_seconds=SECONDS)

    def test_an_index_that_was_put_off_comes_whole_when_it_is_asked_for_and_as_often_as_before(
        self, vectors: VectorStore
    ) -> None:
        wide = index_version(dimension=WIDE)
        vectors.prepare(wide)
        try:
            for _ in range(2):
                vectors.defer_indexing(wide)
            upsert(vectors, wide, Written("a", texts=[f"text {number}" for number in range(1_000)]))
            vectors.build_hnsw(wide, timeout_seconds=120)
            assert vectors.index_state(wide) == IndexState(points=1_000, indexed=1_000)
            # A build that was struck here begins again, and has its index all the same.
            vectors.defer_indexing(wide)
            vectors.build_hnsw(wide, timeout_seconds=120)
            assert vectors.index_state(wide) == IndexState(points=1_000, indexed=1_000)
        finally:
            vectors.drop(wide, timeout_seconds=SECONDS)

    def test_a_version_without_points_has_all_of_them_in_its_hnsw(
        self, vectors: VectorStore, version: IndexVersion
    ) -> None:
        vectors.build_hnsw(version, timeout_seconds=SECONDS)
        assert vectors.index_state(version) == IndexState(points=0, indexed=0)

    def test_the_hnsw_of_a_version_that_is_not_there_is_a_clear_error(self, vectors: VectorStore) -> None:
        never = index_version()
        for call in (
            lambda: vectors.index_state(never),
            lambda: vectors.build_hnsw(never, timeout_seconds=SECONDS),
            lambda: vectors.defer_indexing(never),
        ):
            with pytest.raises(Misconfigured, match=never.collection):
                call()


def _agreement(
    vectors: VectorStore, version: IndexVersion, written: Sequence[Point], queries: Sequence[Vector], *, exact: bool
) -> float:
    """How many of the ten nearest points, found by hand, a search finds: 0 to 1."""
    matrix = np.array([point.dense for point in written])
    found = 0
    for query in queries:
        nearest = {written[row].chunk_id for row in np.argsort(-(matrix @ query))[:10]}
        found += len(nearest & {hit.chunk_id for hit in search(vectors, version, query, exact=exact)})
    return found / (10 * len(queries))


class VectorSearchContract(_OwnVersion):
    def test_a_dense_query_scores_by_dot_product(self, vectors: VectorStore, version: IndexVersion) -> None:
        written = upsert(vectors, version, Written("a", texts=[f"text {number}" for number in range(40)]))
        query = unit_vector("query")
        by_hand = {point.chunk_id: float(np.dot(point.dense, query)) for point in written}
        for exact in (False, True):
            hits = search(vectors, version, query, limit=7, exact=exact)
            assert [hit.chunk_id for hit in hits] == sorted(by_hand, key=lambda each: -by_hand[each])[:7]
            assert [hit.score for hit in hits] == pytest.approx([by_hand[hit.chunk_id] for hit in hits], abs=1e-5)

    def test_a_sparse_query_weighs_rare_terms_more(self, vectors: VectorStore, version: IndexVersion) -> None:
        texts = [*(f"common filler{number}" for number in range(18)), "rare word", "common rare", "unrelated"]
        upsert(vectors, version, Written("a", texts=texts))
        hits = search(vectors, version, SparseVector(*_query("common", "rare")), limit=30)
        assert [hit.text for hit in hits[:2]] == ["common rare", "rare word"]
        assert len(hits) == 20
        total = len(texts)

        def idf(frequency: int) -> float:
            return math.log((total - frequency + 0.5) / (frequency + 0.5) + 1)

        assert hits[0].score == pytest.approx(idf(2) + idf(19), abs=1e-4)
        assert hits[1].score == pytest.approx(idf(2), abs=1e-4)

    def test_a_hit_carries_what_was_written(self, vectors: VectorStore, version: IndexVersion) -> None:
        document = Written("a", title=None, generation=6, texts=("only words",), access=("public", "staff"))
        (point,) = upsert(vectors, version, document)
        (hit,) = search(vectors, version, point.dense)
        assert hit == ScoredPoint(
            score=hit.score,
            chunk_id=point.chunk_id,
            document_id=document.document_id,
            generation=6,
            ordinal=0,
            tenant="acme",
            source="manuals",
            uri="a",
            title=None,
            heading_path=("Guide", "Part 0"),
            text="only words",
            access=("public", "staff"),
        )

    def test_only_the_tenant_s_points_with_one_of_the_labels_are_found(
        self, vectors: VectorStore, version: IndexVersion
    ) -> None:
        texts = ("same words",)
        public = Written("public", texts=texts)
        staff = Written("staff", texts=texts, access=("staff", "board"))
        nobody = Written("nobody", texts=texts, access=())
        foreign = Written("public", tenant="other", texts=texts)
        upsert(vectors, version, public, staff, nobody, foreign)

        def uris(**changes: Any) -> set[tuple[str, str]]:
            found, sparsely = (
                {(hit.tenant, hit.uri) for hit in search(vectors, version, query, **changes)}
                for query in (unit_vector("same words"), bag_of_words("same"))
            )
            assert found == sparsely
            return found

        assert uris() == {("acme", "public")}
        assert uris(access=["public", "board"]) == {("acme", "public"), ("acme", "staff")}
        assert uris(access=["board", "nothing"]) == {("acme", "staff")}
        assert uris(access=[]) == set()
        assert uris(tenant="other") == {("other", "public")}
        assert uris(tenant="oth") == set()

    def test_all_generations_are_found_live_or_not(self, vectors: VectorStore, version: IndexVersion) -> None:
        documents = [Written("a", generation=number, texts=("same words",)) for number in (1, 2)]
        upsert(vectors, version, *documents)
        settle(vectors, version, documents[1])
        for query in (unit_vector("same words"), bag_of_words("same")):
            assert {hit.generation for hit in search(vectors, version, query)} == {1, 2}

    def test_a_sparse_query_without_terms_finds_nothing(self, vectors: VectorStore, version: IndexVersion) -> None:
        upsert(vectors, version, Written("a"))
        assert search(vectors, version, SparseVector((), ())) == []
        assert search(vectors, version, bag_of_words("nowhere")) == []


def _query(*words: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
    terms = tuple(sorted(term(word) for word in words))
    return terms, (1.0,) * len(terms)


class VectorContract(
    VectorWriteContract,
    VectorRefusalContract,
    VectorSettleContract,
    VectorSweepContract,
    VectorEraseContract,
    VectorReadContract,
    VectorVersionContract,
    VectorSearchContract,
):
    """All of it."""
