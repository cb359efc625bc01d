"""What the adapters send: sorted rows, bound values, bodies below the limits."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance import ids
from concordance.errors import Corrupt
from concordance.model import GraphBatch, Point
from concordance.stores import cypher
from concordance.stores.checks import check_batch
from concordance.stores.graph_rows import parts, write_queries
from concordance.stores.point_bodies import Encoded
from support.index_rows import Written, graph_batch, index_version, points

VERSION = index_version(12)
DOCUMENTS = [
    Written(
        f"document {number}",
        texts=("one", "two", "three"),
        mentions={0: {"alpha": 2, f"name {number}": 1}},
        authors=("Ada",),
        requires=(("alpha", "beta"),),
        links=("document 0",),
    )
    for number in range(6)
]


def test_rows_do_not_depend_on_the_order_of_the_batch() -> None:
    batch = graph_batch(VERSION, *DOCUMENTS)
    dice = random.Random(7)

    def shuffled(rows: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(dice.sample(rows, len(rows)))

    mixed = GraphBatch(*(shuffled(getattr(batch, name)) for name in batch.__slots__))
    assert list(write_queries(VERSION, mixed)) == list(write_queries(VERSION, batch))


def test_nodes_are_written_in_the_order_of_their_keys() -> None:
    queries = dict(write_queries(VERSION, graph_batch(VERSION, *DOCUMENTS)))
    for query in (cypher.MERGE_DOCUMENTS, cypher.MERGE_ENTITIES):
        keys = [row["key"] for row in queries[query]]
        assert keys == sorted(set(keys))


def test_no_query_holds_a_value() -> None:
    hostile = "`}) DETACH DELETE n //"
    document = replace(DOCUMENTS[0], uri=hostile, title=hostile, texts=(hostile,), mentions={0: {hostile: 1}})
    for query, _ in write_queries(VERSION, graph_batch(VERSION, document)):
        assert hostile not in query
        assert query in vars(cypher).values()


def test_a_batch_that_names_a_document_twice_is_refused() -> None:
    batch = graph_batch(VERSION, DOCUMENTS[0], replace(DOCUMENTS[0], generation=2))
    with pytest.raises(Corrupt, match="twice"):
        check_batch(batch)


def test_a_long_name_is_no_part_of_a_key() -> None:
    document = Written("a", texts=("one",), mentions={0: {"n" * 1_000_000: 1}})
    (row,) = dict(write_queries(VERSION, graph_batch(VERSION, document)))[cypher.MERGE_ENTITIES]
    assert len(row["key"]) == 32


@given(
    lengths=st.lists(st.integers(0, 3_000), max_size=60),
    max_points=st.integers(1, 20),
    max_bytes=st.integers(1_000, 8_000),
)
def test_bodies_carry_every_point_once_and_stay_below_the_limits(
    lengths: list[int], max_points: int, max_bytes: int
) -> None:
    document = Written("a", texts=["x" * length for length in lengths])
    sent = points(VERSION, document)
    bodies = _bodies(sent, max_points=max_points, max_bytes=max_bytes)
    rows = []
    for count, body in bodies:
        decoded = json.loads(body)
        assert decoded["update_mode"] == "insert_only"
        assert len(decoded["points"]) == count <= max_points
        assert len(body) <= max_bytes or count == 1
        rows.extend(decoded["points"])
    assert [row["id"] for row in rows] == [str(point.chunk_id) for point in sent]
    for row, point in zip(rows, sent, strict=True):
        assert np.asarray(row["vector"]["dense"], dtype=np.float32).tobytes() == point.dense.tobytes()
        assert ids.text_digest(row["payload"]["text"]) == point.text_digest


def _bodies(sent: list[Point], *, max_points: int, max_bytes: int) -> list[tuple[int, bytes]]:
    encoded = Encoded(sent)
    bodies = []
    while (made := encoded.body(max_points=max_points, max_bytes=max_bytes))[0]:
        bodies.append(made)
        encoded.drop(made[0])
    return bodies


def test_a_request_that_has_to_be_repeated_may_carry_less_and_no_point_is_lost_or_sent_on() -> None:
    sent = points(VERSION, Written("a", texts=[f"text {number}" for number in range(10)]))
    encoded = Encoded(sent, over=True)
    first = encoded.body(max_points=8, max_bytes=65_536)
    assert encoded.body(max_points=8, max_bytes=65_536) == first
    arrived = []
    for most in (3, 8, 8):
        count, body = encoded.body(max_points=most, max_bytes=65_536)
        arrived += [row["id"] for row in json.loads(body)["points"]]
        encoded.drop(count)
    assert arrived == [str(point.chunk_id) for point in sent]


@given(
    weights=st.lists(st.integers(0, 3_000), max_size=60),
    sizes=st.lists(st.integers(1, 20), min_size=1),
    max_bytes=st.integers(1_000, 8_000),
)
def test_rows_go_in_parts_of_the_size_that_is_asked_for_each_and_of_bounded_bytes(
    weights: list[int], sizes: list[int], max_bytes: int
) -> None:
    rows = [{"key": str(at), "properties": {"text": "ä" * weight, "live": False}} for at, weight in enumerate(weights)]
    wanted = itertools.cycle(sizes)
    asked: list[int] = []

    def most() -> int:
        asked.append(next(wanted))
        return asked[-1]

    cut = list(parts(rows, most, max_bytes=max_bytes))
    assert [row for part in cut for row in part] == rows
    for part, size in zip(cut, asked, strict=True):
        assert 0 < len(part) <= size
        assert len(part) == 1 or sum(2 * len(row["properties"]["text"]) for row in part) <= max_bytes


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_valid_text_survives_its_body(text: str) -> None:
    ((_, body),) = _bodies(points(VERSION, Written("a", texts=(text,))), max_points=1, max_bytes=65_536)
    assert json.loads(body)["points"][0]["payload"]["text"] == text


@given(st.integers(1, 10**9), st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_node_key_is_the_digest_of_the_canonical_pair(number: int, identity: str) -> None:
    assert ids.node_key(number, identity) == ids.digest([number, identity])[:32]
