"""What every `GraphStore` promises. An adapter's test file subclasses these and gives the fixtures `graph` and `raw`.

`raw` looks at the store as a raw reader does, past the port: `anchor(version, document_id)` gives the properties of
the Document node (or None), `live_chunks(version)` the ids of the chunks that carry `live`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID

import pytest

from concordance import ids
from concordance.errors import Conflict, Corrupt, PoisonDocument
from concordance.model import EntityRow, GenerationKey, IndexVersion, Reason, Span
from concordance.stores import GraphStore
from support.index_rows import Written, graph_batch, index_version, link_rows

SECONDS = 30.0

# Each is legal as a value, and an accident when it is ever taken for a part of a query.
HOSTILE_NAMES = (
    "`}) DETACH DELETE n //",
    "' OR 1=1 --",
    "\\u0060}) MATCH (n) DETACH DELETE n",
    "$rows",
    "{key: 'x'}",
    "x'}) SET n.live = true //",
    "Entity`) DETACH DELETE (n // ",
    "FROM_CHUNK`]->() DELETE r //",
    "trailing newline\n",
    "two\nlines\n",
    "NUL \x00 in the middle",
    "right-to-left \u202e mark",
    "𝄞 beyond the basic plane",
    "e\u0301 decomposed",
    "\ufffe\uffff noncharacters",
)


class RawGraph(Protocol):
    def anchor(self, version: IndexVersion, document_id: UUID) -> Mapping[str, Any] | None: ...

    def live_chunks(self, version: IndexVersion) -> set[UUID]: ...


def at_once(*calls: Callable[[], object]) -> None:
    """Run the calls in parallel, started together; the first exception is raised."""
    barrier = threading.Barrier(len(calls))

    def start(call: Callable[[], object]) -> None:
        barrier.wait(SECONDS)
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(start, call) for call in calls]:
            future.result()


def write(graph: GraphStore, version: IndexVersion, *documents: Written) -> None:
    graph.write(version, graph_batch(version, *documents), timeout_seconds=SECONDS)


def settle(graph: GraphStore, version: IndexVersion, *documents: Written) -> None:
    graph.settle(version, [document.row for document in documents], timeout_seconds=SECONDS)


def sweep(graph: GraphStore, version: IndexVersion, *documents: Written) -> int:
    return graph.sweep(version, [document.key for document in documents], timeout_seconds=SECONDS)


def rows(graph: GraphStore, version: IndexVersion) -> dict[str, int]:
    return dict(graph.counts(version).rows)


def assert_no_orphans(graph: GraphStore, version: IndexVersion) -> None:
    found = graph.orphans(version)
    assert found.keys() >= {"chunks_without_document", "documents_without_chunk", "entities_without_edge"}
    assert all(count == 0 for count in found.values()), found


def full(uri: str, **changes: Any) -> Written:
    """A document with one row of every kind; it links to `target`."""
    said: dict[str, Any] = {
        "mentions": {0: {"alpha": 3, "beta": 1}, 1: {"alpha": 1}},
        "authors": ("Ada",),
        "requires": (("alpha", "beta"),),
        "links": ("target",),
    }
    return Written(uri, **{**said, **changes})


class _OwnVersion:
    @pytest.fixture
    def version(self) -> IndexVersion:
        return index_version()


class GraphWriteContract(_OwnVersion):
    def test_documents_and_chunks_are_counted_by_source_in_all_their_generations(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        write(graph, version, full("a"), full("b"), full("c", source="letters"))
        write(graph, version, full("a", generation=2))
        counted = {source: graph.counts_of(version, source).rows for source in ("manuals", "letters", "nobody's")}
        assert counted == {
            "manuals": {"documents": 2, "chunks": 6},
            "letters": {"documents": 1, "chunks": 2},
            "nobody's": {"documents": 0, "chunks": 0},
        }

    def test_a_written_batch_is_read_back_as_it_was_named(self, graph: GraphStore, version: IndexVersion) -> None:
        document = full("a")
        write(graph, version, document)
        found = {chunk.chunk_id: chunk for chunk in graph.read_back(version, [document.key])}
        expected = graph_batch(version, document).chunks
        assert found.keys() == {row.chunk_id for row in expected}
        for row in expected:
            chunk = found[row.chunk_id]
            assert (chunk.document_id, chunk.generation, chunk.ordinal, chunk.text_digest) == (
                row.document_id,
                row.generation,
                row.ordinal,
                row.text_digest,
            )

    def test_the_same_batch_again_changes_nothing(self, graph: GraphStore, version: IndexVersion) -> None:
        batch = (Written("target"), full("a"), full("b"))
        write(graph, version, *batch)
        before = rows(graph, version)
        write(graph, version, *batch)
        assert (
            rows(graph, version)
            == before
            == {
                "documents": 3,
                "chunks": 6,
                "entities": 3,
                "mentions": 6,
                "document_entities": 2,
                "relations": 2,
                "links": 2,
            }
        )
        assert_no_orphans(graph, version)

    def test_an_empty_batch_is_written_in_silence(self, graph: GraphStore, version: IndexVersion) -> None:
        write(graph, version)
        assert set(rows(graph, version).values()) == {0}

    def test_one_poison_row_keeps_its_whole_batch_out(self, graph: GraphStore, version: IndexVersion) -> None:
        good = [full(f"good-{number}") for number in range(20)]
        poison = Written("poison", texts=("a lone surrogate \ud800 that no store takes",))
        batch = graph_batch(version, *good, replace(poison, texts=("placeholder",)))
        broken = tuple(
            replace(row, text=poison.texts[0]) if row.document_id == poison.document_id else row for row in batch.chunks
        )
        with pytest.raises(PoisonDocument) as refused:
            graph.write(version, replace(batch, chunks=broken), timeout_seconds=SECONDS)
        assert refused.value.reason == Reason.STORE_REFUSED
        assert str(poison.document_id) in str(refused.value)
        assert "surrogate that" not in str(refused.value)
        assert set(rows(graph, version).values()) == {0}

    def test_a_row_that_names_nothing_of_its_batch_is_refused(self, graph: GraphStore, version: IndexVersion) -> None:
        batch = graph_batch(version, full("a"))
        for broken in (
            replace(batch, documents=()),
            replace(batch, entities=()),
            replace(batch, chunks=batch.chunks[1:]),
            replace(batch, entities=batch.entities[1:]),
        ):
            with pytest.raises(Corrupt):
                graph.write(version, broken, timeout_seconds=SECONDS)
        assert set(rows(graph, version).values()) == {0}

    def test_an_entity_that_nothing_mentions_is_not_written(self, graph: GraphStore, version: IndexVersion) -> None:
        batch = graph_batch(version, full("a"))
        stray = EntityRow("0" * 64, "acme", "term", "stray")
        graph.write(version, replace(batch, entities=(*batch.entities, stray)), timeout_seconds=SECONDS)
        assert rows(graph, version)["entities"] == 3
        assert_no_orphans(graph, version)

    def test_what_a_generation_wrote_never_changes(self, graph: GraphStore, version: IndexVersion) -> None:
        first, other = Written("a", texts=("as it was",)), Written("a", texts=("as it never was",))
        write(graph, version, first)
        write(graph, version, other)
        (chunk,) = graph.read_back(version, [first.key])
        assert chunk.text_digest == graph_batch(version, first).chunks[0].text_digest

    def test_a_new_generation_stands_beside_the_old_one(self, graph: GraphStore, version: IndexVersion) -> None:
        first, second = full("a", generation=1), full("a", generation=2, texts=("new words", "more words"))
        write(graph, version, first)
        write(graph, version, second)
        assert {chunk.generation for chunk in graph.read_back(version, [first.key])} == {1}
        assert len(graph.read_back(version, [first.key, second.key])) == 4
        assert rows(graph, version)["documents"] == 1
        assert rows(graph, version)["entities"] == 3
        assert rows(graph, version)["document_entities"] == 2

    def test_index_versions_do_not_see_each_other(self, graph: GraphStore, version: IndexVersion) -> None:
        other = index_version()
        write(graph, version, full("a"))
        write(graph, other, full("a"), full("b"))
        assert rows(graph, version)["documents"] == 1
        assert rows(graph, other)["chunks"] == 4
        assert sweep(graph, other, full("a"), full("b")) == 4
        assert rows(graph, version)["chunks"] == 2
        assert set(rows(graph, other).values()) == {0}

    def test_nothing_is_read_back_of_what_was_never_written(self, graph: GraphStore, version: IndexVersion) -> None:
        write(graph, version, Written("a"))
        assert graph.read_back(version, []) == []
        assert graph.read_back(version, [Written("b").key, Written("a", generation=2).key]) == []


class GraphTextContract(_OwnVersion):
    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_a_hostile_string_stays_the_value_it_is(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion, name: str
    ) -> None:
        bystander = full("bystander")
        document = Written(name, title=name, texts=(name,), access=(name,), mentions={0: {name: 1}})
        write(graph, version, bystander, document)
        settle(graph, version, document)
        anchor = raw.anchor(version, document.document_id)
        assert anchor is not None
        assert (anchor["uri"], anchor["title"], tuple(anchor["access"])) == (name, name, (name,))
        (chunk_id,) = document.chunk_ids(version)
        (entity,) = graph.neighbourhoods(version, [chunk_id])[chunk_id].entities
        assert entity == document.package(name)
        assert rows(graph, version)["chunks"] == 3
        assert_no_orphans(graph, version)

    @pytest.mark.parametrize("characters", [10_000, 1_000_000])
    def test_an_entity_name_of_any_length_is_written(
        self, graph: GraphStore, version: IndexVersion, characters: int
    ) -> None:
        name = "n" * characters
        document = Written("a", texts=("short",), mentions={0: {name: 1}})
        write(graph, version, document)
        (chunk_id,) = document.chunk_ids(version)
        (entity,) = graph.neighbourhoods(version, [chunk_id])[chunk_id].entities
        assert entity.name == name


class GraphLinkContract(_OwnVersion):
    def test_a_link_waits_until_its_target_is_there(self, graph: GraphStore, version: IndexVersion) -> None:
        document, target = Written("a", links=("target",)), Written("target")
        write(graph, version, document)
        graph.write_links(version, link_rows(document), timeout_seconds=SECONDS)
        assert rows(graph, version)["links"] == 0
        write(graph, version, target)
        assert rows(graph, version)["links"] == 0
        for _ in range(2):
            graph.write_links(version, link_rows(document), timeout_seconds=SECONDS)
            assert rows(graph, version)["links"] == 1
        chunk_id = document.chunk_ids(version)[0]
        assert graph.neighbourhoods(version, [chunk_id])[chunk_id].linked_documents == (target.document_id,)

    def test_a_batch_that_brings_both_ends_links_them(self, graph: GraphStore, version: IndexVersion) -> None:
        write(graph, version, Written("a", links=("b",)), Written("b", links=("a", "b")))
        assert rows(graph, version)["links"] == 3

    def test_links_that_have_no_document_to_start_from_are_left_out(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        write(graph, version, Written("target"))
        graph.write_links(version, link_rows(Written("gone", links=("target",))), timeout_seconds=SECONDS)
        graph.write_links(version, [], timeout_seconds=SECONDS)
        assert rows(graph, version)["links"] == 0
        assert rows(graph, version)["documents"] == 1


class GraphSettleContract(_OwnVersion):
    def test_an_anchor_shows_nothing_of_a_document_before_it_is_settled(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion
    ) -> None:
        document = Written("a")
        write(graph, version, document)
        anchor = raw.anchor(version, document.document_id)
        assert anchor is not None
        assert (anchor["tenant"], anchor["source"], anchor["uri"]) == ("acme", "manuals", "a")
        assert anchor.get("generation") is None
        assert anchor.get("title") is None
        assert anchor.get("access") is None
        assert raw.live_chunks(version) == set()

    def test_settling_shows_one_generation_and_takes_the_lower_ones_away(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion
    ) -> None:
        first = Written("a", generation=3, title="Old", access=("staff",))
        second = Written("a", generation=7, title=None, access=("public", "staff"))
        bystander = Written("b")
        for document in (first, second, bystander):
            write(graph, version, document)
        settle(graph, version, first, bystander)
        assert raw.live_chunks(version) == {*first.chunk_ids(version), *bystander.chunk_ids(version)}
        for _ in range(2):
            settle(graph, version, second)
            anchor = raw.anchor(version, second.document_id)
            assert anchor is not None
            assert anchor["generation"] == 7
            assert anchor.get("title") is None
            assert tuple(anchor["access"]) == ("public", "staff")
            assert anchor["fingerprint"] == second.row.fingerprint
            assert raw.live_chunks(version) == {*second.chunk_ids(version), *bystander.chunk_ids(version)}

    def test_a_late_settle_never_brings_a_lower_generation_back(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion
    ) -> None:
        first, second = Written("a", generation=1, title="Old"), Written("a", generation=2, title="New")
        write(graph, version, first)
        write(graph, version, second)
        settle(graph, version, second)
        settle(graph, version, first)
        anchor = raw.anchor(version, second.document_id)
        assert anchor is not None
        assert (anchor["generation"], anchor["title"]) == (2, "New")
        assert raw.live_chunks(version) == set(second.chunk_ids(version))

    def test_settling_a_document_that_is_gone_makes_no_node(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion
    ) -> None:
        gone, there = Written("gone"), Written("there")
        write(graph, version, there)
        settle(graph, version, gone, there)
        settle(graph, version)
        assert raw.anchor(version, gone.document_id) is None
        assert rows(graph, version)["documents"] == 1
        assert raw.live_chunks(version) == set(there.chunk_ids(version))

    def test_hiding_takes_a_generation_and_all_lower_ones_away(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion
    ) -> None:
        documents = [Written("a", generation=number) for number in (1, 2, 3)]
        bystander = Written("b")
        write(graph, version, bystander)
        settle(graph, version, bystander)
        for document in documents:
            write(graph, version, document)
            settle(graph, version, document)
        graph.hide(version, [documents[1].key], timeout_seconds=SECONDS)
        assert raw.live_chunks(version) == {*documents[2].chunk_ids(version), *bystander.chunk_ids(version)}
        graph.hide(version, [documents[2].key, Written("gone").key], timeout_seconds=SECONDS)
        assert raw.live_chunks(version) == set(bystander.chunk_ids(version))
        assert rows(graph, version)["chunks"] == 8

    def test_writing_a_settled_generation_again_leaves_it_shown(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion
    ) -> None:
        document = Written("a", title="Shown")
        write(graph, version, document)
        settle(graph, version, document)
        write(graph, version, document)
        anchor = raw.anchor(version, document.document_id)
        assert anchor is not None
        assert anchor["title"] == "Shown"
        assert raw.live_chunks(version) == set(document.chunk_ids(version))


class GraphSweepContract(_OwnVersion):
    def test_sweeping_the_only_generation_leaves_nothing(self, graph: GraphStore, version: IndexVersion) -> None:
        document = full("a", links=("a",))
        write(graph, version, document)
        settle(graph, version, document)
        assert sweep(graph, version, document) == 2
        assert set(rows(graph, version).values()) == {0}
        assert sweep(graph, version, document) == 0

    def test_sweeping_keeps_what_other_documents_mention(self, graph: GraphStore, version: IndexVersion) -> None:
        swept = full("a", mentions={0: {"alpha": 1, "only here": 1}}, authors=("Ada", "Bob"))
        kept = full("b", mentions={1: {"alpha": 2}}, requires=(("alpha", "gamma"),))
        write(graph, version, Written("target"), swept, kept)
        assert sweep(graph, version, swept) == 2
        chunk_ids = kept.chunk_ids(version)
        around = graph.neighbourhoods(version, chunk_ids)
        assert around[chunk_ids[1]].entities == (kept.package("alpha"),)
        assert rows(graph, version) == {
            "documents": 2,
            "chunks": 4,
            "entities": 3,
            "mentions": 1,
            "document_entities": 1,
            "relations": 1,
            "links": 1,
        }
        assert_no_orphans(graph, version)

    def test_the_anchor_stays_while_another_generation_has_chunks(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion
    ) -> None:
        first, second = full("a", generation=1), full("a", generation=2)
        pointing = Written("b", links=("a",))
        write(graph, version, first, Written("target"))
        write(graph, version, pointing)
        write(graph, version, second)
        settle(graph, version, second)
        assert sweep(graph, version, first) == 2
        assert raw.anchor(version, first.document_id) is not None
        assert raw.live_chunks(version) == set(second.chunk_ids(version))
        assert rows(graph, version)["links"] == 2
        assert rows(graph, version)["relations"] == 1
        assert rows(graph, version)["document_entities"] == 1
        assert_no_orphans(graph, version)

    def test_the_anchor_goes_with_the_last_chunk_and_takes_the_links_to_it(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion
    ) -> None:
        generations = [full("a", generation=number) for number in (1, 2)]
        pointing = Written("b", links=("a",))
        write(graph, version, generations[0])
        write(graph, version, generations[1], pointing)
        assert rows(graph, version)["links"] == 1
        assert sweep(graph, version, *generations) == 4
        assert raw.anchor(version, generations[0].document_id) is None
        assert rows(graph, version)["links"] == 0
        assert rows(graph, version)["documents"] == 1
        assert_no_orphans(graph, version)

    def test_many_documents_are_swept_in_one_call(self, graph: GraphStore, version: IndexVersion) -> None:
        documents = [full(f"document {number}") for number in range(60)]
        write(graph, version, Written("target"), *documents)
        assert sweep(graph, version, *documents[:50], Written("never there")) == 100
        assert rows(graph, version)["documents"] == 11
        assert rows(graph, version)["relations"] == 10
        assert rows(graph, version)["entities"] == 3
        assert sweep(graph, version) == 0
        assert_no_orphans(graph, version)

    def test_a_swept_document_can_come_back(self, graph: GraphStore, version: IndexVersion) -> None:
        document = full("a")
        write(graph, version, document, Written("target"))
        sweep(graph, version, document)
        write(graph, version, full("a", generation=2))
        assert len(graph.read_back(version, [GenerationKey(document.document_id, 2)])) == 2
        assert rows(graph, version)["links"] == 1
        assert_no_orphans(graph, version)


class GraphConcurrencyContract(_OwnVersion):
    def test_parallel_batches_that_share_their_entities_end_with_one_of_each(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        shared = [f"shared {number}" for number in range(40)]

        def document(writer: int, number: int) -> Written:
            own = [f"own {writer} {number} {each}" for each in range(10)]
            return Written(
                f"{writer}/{number}",
                texts=("one", "two", "three"),
                mentions={0: dict.fromkeys(shared, 1), 1: dict.fromkeys(own, 2)},
                authors=("Ada",),
                requires=tuple(itertools.pairwise(shared)),
                links=("0/0",),
            )

        documents = [[document(writer, number) for number in range(3)] for writer in range(8)]
        at_once(*(lambda batch=batch: write(graph, version, *batch) for batch in documents))
        found = rows(graph, version)
        assert (found["documents"], found["chunks"]) == (24, 72)
        assert found["entities"] == 40 + 240 + 1
        assert found["mentions"] == 24 * 50
        assert found["relations"] == 24 * 39
        assert_no_orphans(graph, version)

    def test_two_attempts_at_one_batch_end_with_one(self, graph: GraphStore, version: IndexVersion) -> None:
        batch = [full(f"document {number}") for number in range(10)]
        at_once(*(lambda: write(graph, version, Written("target"), *batch) for _ in range(3)))
        found = rows(graph, version)
        assert (found["documents"], found["chunks"], found["entities"]) == (11, 22, 3)
        assert (found["mentions"], found["relations"], found["links"]) == (30, 10, 10)

    def test_a_sweep_beside_a_batch_that_mentions_the_entity_again_loses_nothing(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        for round_number in range(12):
            name = f"entity {round_number}"
            old = Written(f"old {round_number}", mentions={0: {name: 1}}, requires=((name, "hub"),))
            new = Written(f"new {round_number}", mentions={0: {name: 1}}, authors=("Ada",))
            write(graph, version, old)
            at_once(
                lambda old=old: sweep(graph, version, old),
                lambda new=new: write(graph, version, new),
            )
            chunk_id = new.chunk_ids(version)[0]
            assert graph.neighbourhoods(version, [chunk_id])[chunk_id].entities == (new.package(name),)
            assert graph.read_back(version, [old.key]) == []
        assert_no_orphans(graph, version)

    def test_a_sweep_beside_the_batch_that_brings_the_document_back_loses_nothing(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        for round_number in range(12):
            old = full(f"document {round_number}")
            new = full(f"document {round_number}", generation=2)
            write(graph, version, old)
            at_once(
                lambda old=old: sweep(graph, version, old),
                lambda new=new: write(graph, version, new),
            )
            assert len(graph.read_back(version, [new.key])) == 2
            assert graph.read_back(version, [old.key]) == []
        assert rows(graph, version)["documents"] == 12
        assert_no_orphans(graph, version)


class GraphReadContract(_OwnVersion):
    def test_chunks_stream_in_the_order_of_their_ids(self, graph: GraphStore, version: IndexVersion) -> None:
        documents = [Written(f"{number}", texts=[f"text {each}" for each in range(125)]) for number in range(20)]
        for start in range(0, len(documents), 5):
            write(graph, version, *documents[start : start + 5])
        write(graph, index_version(), Written("of another version"))
        streamed = [chunk.chunk_id for chunk in graph.chunks(version)]
        expected = sorted(each for document in documents for each in document.chunk_ids(version))
        assert streamed == expected

    def test_a_version_that_holds_nothing_streams_nothing(self, graph: GraphStore, version: IndexVersion) -> None:
        assert list(graph.chunks(version)) == []
        assert set(rows(graph, version).values()) == {0}
        assert_no_orphans(graph, version)

    def test_a_neighbourhood_shows_entities_by_count_and_the_links_of_its_generation(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        first = full("a", mentions={0: {"alpha": 1, "beta": 5, "gamma": 3}, 1: {}}, links=("b", "c"))
        second = full("a", generation=2, links=("c",))
        write(graph, version, Written("b"), Written("c"), first)
        write(graph, version, second)
        one, two = first.chunk_ids(version)
        missing = Written("never there").chunk_ids(version)[0]
        around = graph.neighbourhoods(version, [one, two, missing, second.chunk_ids(version)[0]])
        assert [entity.name for entity in around[one].entities] == ["beta", "gamma", "alpha"]
        assert around[two].entities == ()
        assert around[one].linked_documents == tuple(sorted([Written("b").document_id, Written("c").document_id]))
        assert around[second.chunk_ids(version)[0]].linked_documents == (Written("c").document_id,)
        assert missing not in around
        assert graph.neighbourhoods(version, []) == {}

    def test_the_pointer_names_the_version_that_was_set_last(self, graph: GraphStore, version: IndexVersion) -> None:
        other = index_version()
        for each in (version, other, other, version):
            graph.point_to(each)
            assert graph.pointer() == each.version

    def test_a_store_that_is_there_says_what_it_is(self, graph: GraphStore) -> None:
        assert graph.ping()
        graph.prepare()
        graph.prepare()


class GraphEraseContract(_OwnVersion):
    def test_every_row_of_a_document_is_found_whatever_its_generation(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        first, second, other = full("a"), full("a", generation=4, texts=("only one",), mentions={}), full("b")
        write(graph, version, Written("target"), first, other)
        write(graph, version, second)
        found = graph.generations_of(version, [first.document_id, Written("never there").document_id])
        # Chunks, one author, one relation, one link; and the node, which belongs to no generation.
        assert found == {first.key: 5, second.key: 4, GenerationKey(first.document_id, 0): 1}
        assert graph.generations_of(index_version(), [first.document_id]) == {}
        assert graph.generations_of(version, []) == {}

    def test_sweeping_all_that_is_found_of_a_document_leaves_nothing_of_it(
        self, graph: GraphStore, raw: RawGraph, version: IndexVersion
    ) -> None:
        erased = [full("a", generation=number, mentions={0: {"alpha": 1, "secret": 1}}) for number in (1, 3)]
        kept = full("b", links=("a", "target"))
        write(graph, version, Written("target"), erased[0], kept)
        write(graph, version, erased[1])
        settle(graph, version, erased[1], kept)
        found = graph.generations_of(version, [erased[0].document_id])
        graph.sweep(version, list(found), timeout_seconds=SECONDS)
        assert graph.generations_of(version, [erased[0].document_id]) == {}
        assert raw.anchor(version, erased[0].document_id) is None
        assert_no_orphans(graph, version)
        assert rows(graph, version) == {
            "documents": 2,
            "chunks": 4,
            "entities": 3,
            "mentions": 3,
            "document_entities": 1,
            "relations": 1,
            "links": 1,
        }


class GraphVersionContract(_OwnVersion):
    @pytest.fixture
    def other(self, graph: GraphStore) -> IndexVersion:
        """A version with rows of the same documents and entities, which the pointer names."""
        other = index_version()
        write(graph, other, Written("target"), full("a"), full("b"))
        graph.describe(other, "the other")
        graph.point_to(other)
        return other

    def test_a_version_goes_in_small_steps_and_its_description_last(
        self, graph: GraphStore, version: IndexVersion, other: IndexVersion
    ) -> None:
        document = full("a")
        write(graph, version, Written("target"), document, full("b"))
        settle(graph, version, document)
        graph.describe(version, "to be dropped")
        nodes = sum(rows(graph, version)[kind] for kind in ("documents", "chunks", "entities")) + 1
        steps = [0]
        while sum(steps) < nodes:
            assert graph.description(version) == "to be dropped"
            assert version.version in graph.kept()
            steps.append(graph.drop(version, limit=4, timeout_seconds=SECONDS))
            assert 0 < steps[-1] <= 4
        assert sum(steps) == nodes
        assert graph.drop(version, limit=4, timeout_seconds=SECONDS) == 0
        assert set(rows(graph, version).values()) == {0}
        assert graph.description(version) is None
        assert version.version not in graph.kept()

    def test_dropping_a_version_touches_no_row_of_another(
        self, graph: GraphStore, version: IndexVersion, other: IndexVersion
    ) -> None:
        documents = [full("a"), full("b")]
        write(graph, version, Written("target"), *documents)
        before = rows(graph, other), graph.contents(other, [each.key for each in documents]), list(graph.chunks(other))
        assert graph.drop(version, limit=1_000, timeout_seconds=SECONDS) == 6 + 3 + 3
        after = rows(graph, other), graph.contents(other, [each.key for each in documents]), list(graph.chunks(other))
        assert after == before
        assert (graph.description(other), graph.pointer()) == ("the other", other.version)
        assert other.version in graph.kept()
        assert_no_orphans(graph, other)

    def test_a_version_whose_drop_was_left_off_is_found_and_finished(
        self, graph: GraphStore, version: IndexVersion, other: IndexVersion
    ) -> None:
        write(graph, version, Written("target"), full("a"))
        graph.describe(version, "half dropped")
        for _ in range(2):
            graph.drop(version, limit=3, timeout_seconds=SECONDS)
        assert version.version in graph.kept()
        while graph.drop(version, limit=3, timeout_seconds=SECONDS):
            pass
        assert version.version not in graph.kept()
        assert set(rows(graph, version).values()) == {0}

    def test_a_version_that_nobody_described_is_found_by_its_rows(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        assert version.version not in graph.kept()
        write(graph, version, full("a"))
        assert version.version in graph.kept()

    def test_the_version_that_the_pointer_names_is_not_dropped(
        self, graph: GraphStore, version: IndexVersion, other: IndexVersion
    ) -> None:
        write(graph, version, full("a"))
        graph.point_to(version)
        before = rows(graph, version)
        with pytest.raises(Conflict, match=f"version {version.version}"):
            graph.drop(version, limit=1_000, timeout_seconds=SECONDS)
        assert rows(graph, version) == before
        graph.point_to(other)
        assert graph.drop(version, limit=1_000, timeout_seconds=SECONDS) > 0

    def test_dropping_what_was_never_there_is_done(self, graph: GraphStore, version: IndexVersion) -> None:
        assert graph.drop(version, limit=10, timeout_seconds=SECONDS) == 0


class GraphContract(
    GraphWriteContract,
    GraphTextContract,
    GraphLinkContract,
    GraphSettleContract,
    GraphSweepContract,
    GraphEraseContract,
    GraphConcurrencyContract,
    GraphReadContract,
    GraphVersionContract,
):
    """All of it."""

    # --- reconcile

    def test_a_scan_gives_every_chunk_once_and_a_span_gives_its_own_in_order(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        documents = [full(f"doc {number}") for number in range(5)]
        write(graph, version, *documents)
        ordered = list(graph.chunks(version))
        assert sorted(graph.scan(version), key=lambda chunk: chunk.chunk_id) == ordered
        middle = ordered[1:-1]
        span = Span(middle[0].chunk_id, middle[-1].chunk_id)
        assert list(graph.chunks(version, span)) == middle
        assert list(graph.chunks(version, Span(middle[0].chunk_id, middle[0].chunk_id))) == middle[:1]

    def test_contents_are_what_was_written(self, graph: GraphStore, version: IndexVersion) -> None:
        document = full("a", links=("a",))
        write(graph, version, document, full("b"))
        settle(graph, version, document)
        unknown = GenerationKey(document.document_id, 77)
        found = graph.contents(version, [document.key, unknown])
        batch = graph_batch(version, document)
        content = found[document.key]
        assert (content.chunks, content.live, content.next_edges) == (
            len(document.texts),
            len(document.texts),
            len(document.texts) - 1,
        )
        assert sum(content.mentions.values()) == sum(mention.count for mention in batch.mentions)
        assert content.mentions.keys() == {mention.entity_key for mention in batch.mentions}
        assert content.entities == {(str(edge.role), edge.entity_key) for edge in batch.document_entities}
        assert content.relations == {(str(each.kind), each.subject_key, each.object_key) for each in batch.relations}
        assert content.links == {(str(link.kind), link.target_id) for link in batch.links}
        assert content.anchor is not None
        assert (content.anchor.uri, content.anchor.title) == (document.uri, document.title)
        assert (found[unknown].chunks, found[unknown].mentions) == (0, {})
        assert found[unknown].anchor == content.anchor

    def test_whole_chunks_and_anchors_are_given_out(self, graph: GraphStore, version: IndexVersion) -> None:
        document = full("a")
        write(graph, version, document)
        expected = graph_batch(version, document).chunks
        found = graph.chunk_rows(version, [document.key])
        assert sorted(found, key=lambda row: row.ordinal) == list(expected)
        assert graph.anchors(version, [document.document_id]).keys() == {document.document_id}
        assert [each.uri for each in graph.documents(version)] == ["a"]
        assert list(graph.altered_entities(version)) == []
        keys = [ids.node_key(version.version, row.entity_key) for row in graph_batch(version, document).entities]
        assert set(graph.mentioning(version, keys)) == {document.key}

    def test_a_generation_written_over_is_as_it_was_written_and_shown(
        self, graph: GraphStore, version: IndexVersion
    ) -> None:
        document, other = full("a", links=("b",)), full("b", links=("a",))
        write(graph, version, document, other)
        settle(graph, version, document, other)
        before = rows(graph, version), sorted(graph.scan(version), key=lambda chunk: chunk.chunk_id)
        contents = graph.contents(version, [document.key, other.key])
        victim = document.chunk_ids(version)[0]
        graph.remove(version, [victim], timeout_seconds=SECONDS)
        assert victim not in {chunk.chunk_id for chunk in graph.chunks(version)}
        for _ in range(2):
            graph.rewrite(version, graph_batch(version, document), [document.row], timeout_seconds=SECONDS)
        assert (rows(graph, version), sorted(graph.scan(version), key=lambda chunk: chunk.chunk_id)) == before
        assert graph.contents(version, [document.key, other.key]) == contents
        assert_no_orphans(graph, version)
        assert not graph.loose(version)
        assert graph.drop_unused(version, timeout_seconds=SECONDS) == 0

    def test_a_description_is_kept_with_its_version(self, graph: GraphStore, version: IndexVersion) -> None:
        assert graph.description(version) is None
        for text in ("first", "x" * 100_000):
            graph.describe(version, text)
            assert graph.description(version) == text
        assert graph.description(replace(version, version=version.version + 1_000_000)) is None

    def test_the_constraints_are_all_there(self, graph: GraphStore) -> None:
        assert list(graph.schema_gaps()) == []
