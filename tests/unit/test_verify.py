"""`verify` on memory stores: a sound index has no findings, what is planted is found, runs explain themselves."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from uuid import UUID

import numpy as np
import pytest

from concordance import ids
from concordance.consistency import Scope, VerifyReport, invariants, verify
from concordance.consistency.buckets import Buckets, Fold, differing
from concordance.consistency.invariants import Kind, Store
from concordance.errors import Misconfigured
from concordance.model import GenerationKey, IndexVersion, StoredChunk
from concordance.stores.memory import MemoryGraph
from support.index_rows import Written
from support.reading import TIMEOUT_SECONDS, Index


def written(number: int, *, generation: int = 1, chunks: int = 3) -> Written:
    return Written(
        uri=f"guide/{number}.md",
        generation=generation,
        texts=[f"Guide {number}\n\nsentence {ordinal} as of {generation}" for ordinal in range(chunks)],
        mentions={0: {"httpx": 1}},
        links=[f"guide/{number + 1}.md"],
    )


@pytest.fixture
def index() -> Index:
    index = Index()
    index.add(*(written(number) for number in range(10)))
    return index


def check(index: Index) -> VerifyReport:
    return verify(ledger=index.ledger, graph=index.graph, vectors=index.vectors)


def found(report: VerifyReport) -> set[tuple[str, Kind, Store, int]]:
    return {(one.invariant, one.kind, one.store, one.count) for one in report.findings}


# --- how a vandal, or a store restored from a backup, changes one row ------------------------------------------------


def delete_chunk(index: Index, chunk_id: UUID) -> None:
    graph = index.graph._graphs[index.version.version]
    chunk = graph.chunks.pop(chunk_id)
    graph.chunks_of[GenerationKey(chunk.document_id, chunk.generation)].discard(chunk_id)
    graph.mentions.pop(chunk_id, None)


def edit_chunk(index: Index, chunk_id: UUID) -> None:
    chunks = index.graph._graphs[index.version.version].chunks
    chunks[chunk_id] = replace(chunks[chunk_id], text="edited", text_digest=ids.text_digest("edited"))


def edit_only_the_text(index: Index, chunk_id: UUID) -> None:
    chunks = index.graph._graphs[index.version.version].chunks
    chunks[chunk_id] = replace(chunks[chunk_id], text="edited")


def edit_only_the_digest(index: Index, chunk_id: UUID) -> None:
    points = index.vectors._collections[index.version.version].points
    points[chunk_id] = replace(points[chunk_id], text_digest=ids.text_digest("edited"))


def edit_the_access(index: Index, chunk_id: UUID) -> None:
    points = index.vectors._collections[index.version.version].points
    points[chunk_id] = replace(points[chunk_id], access=("public", "secret"))


def edit_the_headings(index: Index, chunk_id: UUID) -> None:
    chunks = index.graph._graphs[index.version.version].chunks
    chunks[chunk_id] = replace(chunks[chunk_id], heading_path=("Elsewhere",))


def edit_the_vector(index: Index, chunk_id: UUID) -> None:
    points = index.vectors._collections[index.version.version].points
    points[chunk_id] = replace(points[chunk_id], dense=np.roll(points[chunk_id].dense, 1))


def delete_point(index: Index, chunk_id: UUID) -> None:
    del index.vectors._collections[index.version.version].points[chunk_id]


def edit_point(index: Index, chunk_id: UUID) -> None:
    points = index.vectors._collections[index.version.version].points
    points[chunk_id] = replace(points[chunk_id], text="edited", text_digest=ids.text_digest("edited"))


def delete_ledger_row(index: Index, chunk_id: UUID) -> None:
    for chunks in index.ledger.state.chunks.values():
        chunks[:] = [chunk for chunk in chunks if chunk.chunk_id != chunk_id]


def edit_ledger_row(index: Index, chunk_id: UUID) -> None:
    for chunks in index.ledger.state.chunks.values():
        chunks[:] = [
            replace(chunk, text_digest=ids.text_digest("edited")) if chunk.chunk_id == chunk_id else chunk
            for chunk in chunks
        ]


PLANTED: dict[Callable[[Index, UUID], None], set[tuple[str, Kind, Store, int]]] = {
    delete_chunk: {("I1", Kind.LOST, Store.GRAPH, 1), ("I3", Kind.ALTERED, Store.GRAPH, 1)},
    edit_chunk: {("I1", Kind.ALTERED, Store.GRAPH, 1)},
    edit_only_the_text: {("I1", Kind.ALTERED, Store.GRAPH, 1)},
    edit_only_the_digest: {("I1", Kind.ALTERED, Store.VECTORS, 1)},
    edit_the_access: {("I1", Kind.ALTERED, Store.VECTORS, 1)},
    # Which of the two is right cannot be told.
    edit_the_headings: {("I1", Kind.ALTERED, Store.GRAPH, 1), ("I1", Kind.ALTERED, Store.VECTORS, 1)},
    edit_the_vector: {("I3", Kind.ALTERED, Store.VECTORS, 1)},
    delete_point: {("I1", Kind.LOST, Store.VECTORS, 1)},
    edit_point: {("I1", Kind.ALTERED, Store.VECTORS, 1)},
    delete_ledger_row: {
        ("I1", Kind.UNEXPECTED, Store.GRAPH, 1),
        ("I1", Kind.UNEXPECTED, Store.VECTORS, 1),
        ("I1", Kind.LOST, Store.LEDGER, 1),
        ("I3", Kind.ALTERED, Store.GRAPH, 1),
    },
    edit_ledger_row: {("I1", Kind.ALTERED, Store.LEDGER, 1), ("I3", Kind.ALTERED, Store.GRAPH, 1)},
}


def test_a_sound_index_has_no_findings(index: Index) -> None:
    report = check(index)
    assert report.is_sound
    assert report.rows == {"ledger": 30, "graph": 30, "vectors": 30}
    assert report.recovered == {"graph": 0, "vectors": 0}


def test_an_index_of_nothing_is_sound() -> None:
    assert check(Index()).is_sound


def test_before_the_first_publish_there_is_nothing_to_verify() -> None:
    index = Index()
    index.ledger.state.live = None
    with pytest.raises(Misconfigured, match="run an ingest"):
        check(index)


@pytest.mark.parametrize("tamper", PLANTED, ids=lambda tamper: tamper.__name__)
def test_one_row_changed_by_hand_is_found_and_named(index: Index, tamper: Callable[[Index, UUID], None]) -> None:
    victim = random.Random(5).choice(written(4).chunk_ids(index.version))
    tamper(index, victim)
    report = check(index)
    assert not report.is_sound
    assert found(report) == PLANTED[tamper]
    named = [example for finding in report.findings for example in finding.examples]
    assert all(str(victim) in example or str(written(4).document_id) in example for example in named)


def test_a_row_deleted_by_hand_in_all_three_is_missed_by_its_generations_count(index: Index) -> None:
    victim = written(4).chunk_ids(index.version)[0]
    for tamper in (delete_chunk, delete_point, delete_ledger_row):
        tamper(index, victim)
    assert found(check(index)) == {("I1", Kind.LOST, Store.LEDGER, 1), ("I3", Kind.ALTERED, Store.GRAPH, 1)}


def test_a_hundred_random_changes_are_all_found_and_a_hundred_clean_checks_find_nothing() -> None:
    dice = random.Random(24)
    for trial in range(100):
        index = Index()
        index.add(*(written(number, chunks=dice.randint(1, 4)) for number in range(3)))
        assert check(index).is_sound, trial
        tamper = dice.choice(list(PLANTED))
        tamper(index, dice.choice([point.chunk_id for point in index.vectors.points(index.version)]))
        assert not check(index).is_sound, (trial, tamper.__name__)


def test_a_whole_ledger_generation_deleted_by_hand_leaves_unexpected_rows(index: Index) -> None:
    del index.ledger.state.rows[written(4).document_id]
    assert found(check(index)) == {
        ("I1", Kind.UNEXPECTED, Store.GRAPH, 3),
        ("I1", Kind.UNEXPECTED, Store.VECTORS, 3),
    }


def test_a_batch_in_flight_is_recovered_and_not_unexpected(index: Index) -> None:
    index.load(written(20))
    report = check(index)
    assert report.is_sound
    assert report.recovered == {"graph": 3, "vectors": 3}


def test_a_replaced_generation_that_waits_for_its_sweep_is_in_flight(index: Index) -> None:
    index.add(written(4, generation=2))
    report = check(index)
    assert report.is_sound
    assert report.recovered == {"graph": 3, "vectors": 3}


def test_a_replaced_generation_that_no_sweep_will_ever_take_is_unexpected(index: Index) -> None:
    index.add(written(4, generation=2))
    index.ledger.state.dirty.clear()
    assert found(check(index)) == {
        ("I1", Kind.UNEXPECTED, Store.GRAPH, 3),
        ("I1", Kind.UNEXPECTED, Store.VECTORS, 3),
    }


class GraphWithARun(MemoryGraph):
    """While its chunks are first read, something happens."""

    def __init__(self, graph: MemoryGraph, happens: Callable[[], None]) -> None:
        self.__dict__.update(graph.__dict__)
        self._happens = happens

    def scan(self, version: IndexVersion) -> Iterator[StoredChunk]:
        self._happens()
        return super().scan(version)


def check_during(index: Index, happens: Callable[[], None]) -> VerifyReport:
    return verify(ledger=index.ledger, graph=GraphWithARun(index.graph, happens), vectors=index.vectors)


def test_a_batch_that_begins_while_the_stores_are_read_is_no_finding(index: Index) -> None:
    report = check_during(index, lambda: index.load(written(20)))
    assert report.is_sound
    assert report.moved == 1, "the range that differed at first agrees when it is read again"


def test_a_batch_that_begins_and_is_published_while_the_stores_are_read_is_no_finding(index: Index) -> None:
    assert check_during(index, lambda: index.add(written(20), written(4, generation=2))).is_sound


def test_a_document_erased_while_the_stores_are_read_is_not_lost(index: Index) -> None:
    def erase() -> None:
        del index.ledger.state.rows[written(4).document_id]
        index.graph.sweep(index.version, [written(4).key], timeout_seconds=TIMEOUT_SECONDS)
        index.vectors.sweep(index.version, [written(4).key], timeout_seconds=TIMEOUT_SECONDS)

    assert check_during(index, erase).is_sound


def test_a_generation_begun_and_swept_while_the_stores_are_read_is_not_unexpected(index: Index) -> None:
    index.load(written(20))
    index.ledger.state.dirty.discard(written(20).key)

    def sweep_after_the_vectors_were_read() -> None:
        index.graph.sweep(index.version, [written(20).key], timeout_seconds=TIMEOUT_SECONDS)

    report = check_during(index, sweep_after_the_vectors_were_read)
    assert ("I1", Kind.UNEXPECTED, Store.VECTORS, 3) in found(report)
    assert not any(finding.store is Store.GRAPH for finding in report.findings)


def test_a_loss_during_a_run_is_still_found(index: Index) -> None:
    victim = written(4).chunk_ids(index.version)[0]

    def run_and_lose() -> None:
        index.add(written(20))
        delete_chunk(index, victim)

    assert found(check_during(index, run_and_lose)) == {
        ("I1", Kind.LOST, Store.GRAPH, 1),
        ("I3", Kind.ALTERED, Store.GRAPH, 1),
    }


def test_a_store_that_points_to_another_version_is_found(index: Index) -> None:
    index.graph.point_to(replace(index.version, version=index.version.version + 1))
    assert found(check(index)) == {("I1", Kind.POINTER, Store.GRAPH, 1)}


def test_an_entity_without_any_edge_is_an_orphan(index: Index) -> None:
    graph = index.graph._graphs[index.version.version]
    graph.degree[next(iter(graph.entities))] = 0
    assert found(check(index)) == {("I4", Kind.ORPHAN, Store.GRAPH, 1)}


# --- the pure part ----------------------------------------------------------------------------------------------------


def rows(index: Index) -> list[StoredChunk]:
    return list(index.vectors.points(index.version))


def compare(index: Index, *, graph: Iterable[StoredChunk] | None = None) -> invariants.SetComparison:
    seen = invariants.SetComparison()
    invariants.compare_rows(
        seen,
        version=index.version,
        ledger=rows(index),
        graph=rows(index) if graph is None else graph,
        vectors=rows(index),
        in_flight=frozenset(),
    )
    return seen


def test_an_id_that_occurs_twice_in_a_store_is_a_duplicate(index: Index) -> None:
    every = rows(index)
    seen = compare(index, graph=[*every, every[3], every[3]])
    assert not seen.suspects
    assert [(one.kind, one.store, one.count) for one in invariants.duplicates(seen)] == [
        (Kind.DUPLICATE, Store.GRAPH, 2)
    ]


def fold(stream: Iterable[StoredChunk], buckets: Buckets) -> Fold:
    return Fold(buckets).take(stream)


def test_the_digests_of_a_range_do_not_depend_on_the_order_of_the_stream(index: Index) -> None:
    every, buckets = rows(index), Buckets(30 * 256)
    shuffled = random.Random(3).sample(every, len(every))
    assert differing(fold(every, buckets), fold(shuffled, buckets), fold(reversed(every), buckets)) == []


@pytest.mark.parametrize("seed", range(20))
def test_exactly_the_ranges_that_hold_a_change_differ(index: Index, seed: int) -> None:
    dice, every, buckets = random.Random(seed), rows(index), Buckets(30 * 256)
    at = dice.randrange(len(every))
    changed = dice.choice(
        [
            [*every[:at], *every[at + 1 :]],
            [*every, every[at]],
            [*every, every[at], every[at]],
            [*every[:at], replace(every[at], text_digest="0" * 64), *every[at + 1 :]],
            [*every[:at], replace(every[at], ordinal=99), *every[at + 1 :]],
            [*every[:at], replace(every[at], document_digest=b"elsewhere"), *every[at + 1 :]],
        ]
    )
    same = fold(every, buckets)
    assert differing(same, same, fold(changed, buckets)) == [buckets.of(every[at].chunk_id)]


def test_ranges_cover_every_id_once_whatever_their_number() -> None:
    for rows_expected in (0, 1, 255, 256, 10_000, 10_000_000):
        buckets = Buckets(rows_expected)
        spans = [buckets.span(bucket) for bucket in range(buckets.count)]
        assert spans[0].first.int == 0
        assert spans[-1].last.int == 2**128 - 1
        assert all(left.last.int + 1 == right.first.int for left, right in pairwise(spans))
        assert all(buckets.of(span.first) == buckets.of(span.last) == at for at, span in enumerate(spans))
        assert buckets.count <= 4096


def test_a_ledger_row_whose_id_is_not_the_id_of_its_place_is_altered(index: Index) -> None:
    every = rows(index)
    moved = [replace(every[0], ordinal=77), *every[1:]]
    seen = invariants.SetComparison()
    invariants.compare_rows(
        seen, version=index.version, ledger=moved, graph=moved, vectors=moved, in_flight=frozenset()
    )
    assert [(one.kind, one.store) for one in invariants.set_findings(seen.suspects)] == [(Kind.ALTERED, Store.LEDGER)]


def test_what_no_history_leaves_is_a_finding(index: Index) -> None:
    index.ledger.state.forbidden = {"generations in no list": 2}
    assert found(check(index)) == {("I8", Kind.FORBIDDEN, Store.LEDGER, 2)}


def test_a_version_without_its_description_could_not_be_rebuilt(index: Index) -> None:
    index.graph._descriptions.clear()
    assert found(check(index)) == {("I2", Kind.MISSING, Store.GRAPH, 1)}


def test_a_collection_that_is_gone_is_said_and_not_an_error(index: Index) -> None:
    index.vectors._collections.clear()
    kinds = {(one.invariant, one.kind, one.store) for one in check(index).findings}
    assert ("I2", Kind.MISSING, Store.VECTORS) in kinds
    assert ("I1", Kind.LOST, Store.VECTORS) in kinds


def test_a_mention_a_link_or_a_property_of_the_node_that_was_changed_is_found(index: Index) -> None:
    graph = index.graph._graphs[index.version.version]
    victim = written(4)
    key, kept = victim.key, graph.anchors[victim.document_id]
    for change, back in (
        (
            lambda: graph.mentions[victim.chunk_ids(index.version)[0]].update({next(iter(graph.entities)): 7}),
            lambda: graph.mentions[victim.chunk_ids(index.version)[0]].update({next(iter(graph.entities)): 1}),
        ),
        (lambda: graph.edges_of[key].links.clear(), lambda: None),
        (
            lambda: graph.anchors.update({victim.document_id: replace(kept, title="Elsewhere")}),
            lambda: graph.anchors.update({victim.document_id: kept}),
        ),
    ):
        change()
        assert ("I3", Kind.ALTERED, Store.GRAPH, 1) in found(check(index))
        back()


def test_an_entity_under_another_name_is_found(index: Index) -> None:
    graph = index.graph._graphs[index.version.version]
    key = next(iter(graph.entities))
    graph.entities[key] = replace(graph.entities[key], name="somebody else")
    assert found(check(index)) == {("I3", Kind.ALTERED, Store.GRAPH, 1)}


def test_a_sample_says_what_it_covered_and_finds_what_lies_in_it(index: Index) -> None:
    scope = Scope(sampled=5, rng=random.Random(1))
    report = verify(ledger=index.ledger, graph=index.graph, vectors=index.vectors, scope=scope)
    assert report.is_sampled
    assert report.is_sound
    assert report.covered["ranges"] == report.covered["of_ranges"] == 1
    assert 1 <= report.covered["documents"] <= 5
    delete_point(index, written(4).chunk_ids(index.version)[0])
    assert not verify(ledger=index.ledger, graph=index.graph, vectors=index.vectors, scope=scope).is_sound


def test_examples_and_tracked_generations_are_bounded(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "MAX_GENERATIONS", 4)
    seen = compare(index, graph=[])
    assert len(seen.suspects) == 4
    findings = invariants.set_findings(seen.suspects, seen.untracked)
    assert sum(finding.count for finding in findings) == 30
    assert max(len(finding.examples) for finding in findings) <= invariants.MAX_EXAMPLES


def test_a_report_is_json_of_counts_and_ids(index: Index) -> None:
    delete_point(index, written(4).chunk_ids(index.version)[0])
    shown = check(index).as_json()
    assert shown["sound"] is False
    assert shown["findings"][0]["kind"] == "lost"
    assert shown["counts"]["graph"]["documents"] == 10
