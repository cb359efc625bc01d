"""The terms of a text and their weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance.chunking import bm25
from concordance.chunking.bm25 import document_vector, query_vector, terms
from concordance.model import SparseVector
from support.chunking import index_settings

SETTINGS = index_settings()


def score(query: str, document: str) -> float:
    weights = dict(zip(*_pair(document_vector(document, SETTINGS)), strict=True))
    return sum(value * weights.get(index, 0.0) for index, value in zip(*_pair(query_vector(query)), strict=True))


def _pair(vector: SparseVector) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return vector.indices, vector.values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("read_csv", {"read_csv", "read", "csv"}),
        ("pd.read_csv()", {"pd.read_csv", "read_csv", "pd", "read", "csv"}),
        ("DataFrame", {"datafram", "data", "frame"}),
        ("HTTPServer", {"httpserver", "http", "server"}),
        ("parseHTML", {"parsehtml", "pars", "html"}),
        ("__init__", {"init"}),
        ("scikit-learn", {"scikit-learn", "scikit", "learn"}),
        ("C++ and C#", {"c++", "c#"}),
        ("version 1.2.3", {"version", "1.2.3"}),
        ("Running runners ran", {"run", "runner", "ran"}),
        ("the of and", set()),
        ("東京都", {"東京", "京都"}),
        ("Ünïcode Straße", {"ünïcode", "strass"}),
        ("ｆｕｌｌｗｉｄｔｈ", {"fullwidth"}),
        ("... !!! ---", set()),
        ("", set()),
    ],
)
def test_the_terms_of_a_text(text: str, expected: set[str]):
    assert set(terms(text)) == expected


def test_terms_are_counted():
    assert terms("read, Reading and read_csv")["read"] == 3


def test_an_identifier_is_found_by_its_name_and_by_its_words():
    document = "Use pd.read_csv to load a table."
    for query in ("pd.read_csv", "read_csv", "reading csv", "READ"):
        assert score(query, document) > 0
    assert score("read_csv", document) > score("read_csv", "Read the csv file into a table.")


def test_a_weight_is_that_of_okapi_bm25():
    """Three terms, one of them twice: length 4 of 45 on average, k1 1.2, b 0.75."""
    vector = document_vector("graph graph vector chunk", SETTINGS)
    norm = 1.2 * (1 - 0.75 + 0.75 * 4 / 45)
    once, twice = 1 * 2.2 / (1 + norm), 2 * 2.2 / (2 + norm)
    assert sorted(vector.values) == pytest.approx([once, once, twice])


def test_a_longer_document_weighs_a_term_less():
    assert score("graph", "graph") > score("graph", "graph " + "other words follow here " * 20)


def test_the_constants_of_the_index_version_are_used():
    flat = replace(SETTINGS, bm25_k1=0.0)
    assert set(document_vector("graph graph vector", flat).values) == {1.0}


def test_terms_that_share_an_id_add_their_weights(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bm25, "_term_id", lambda term: 7)
    assert query_vector("graph vector chunk") == SparseVector((7,), (3.0,))


def test_an_empty_text_has_an_empty_vector():
    assert query_vector("the ...") == SparseVector((), ())
    assert document_vector("", SETTINGS) == SparseVector((), ())


def test_an_endless_word_is_one_short_term():
    (term,) = terms("q" * 1_000_000)
    assert len(term) <= 256


def test_a_term_id_is_stable_over_versions_of_the_product():
    """It is in every stored point: another hash would need a new index version (and CHUNKER_REVISION raised)."""
    assert query_vector("graph").indices == (4129470339,)


@given(st.text(max_size=500))
def test_a_vector_of_any_text_is_sorted_distinct_and_positive(text: str):
    vector = document_vector(text, SETTINGS)
    assert list(vector.indices) == sorted(set(vector.indices))
    assert all(0 <= index < 2**32 for index in vector.indices)
    assert all(0 < value <= 2.2 * len(vector.indices) for value in vector.values)
    assert set(query_vector(text).indices) == set(vector.indices)


@given(st.lists(st.sampled_from(["read_csv", "DataFrame", "graph", "running", "x86_64"]), max_size=30), st.randoms())
def test_the_order_of_the_words_makes_no_difference(words: list[str], rng):
    shuffled = list(words)
    rng.shuffle(shuffled)
    assert document_vector(" ".join(words), SETTINGS) == document_vector(" ".join(shuffled), SETTINGS)
