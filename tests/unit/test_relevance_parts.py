"""The relevance gate's parts: metrics, bootstrap, golden queries, known items, HNSW and leaks; all pure."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance import ids
from concordance.errors import Misconfigured
from concordance.model import IndexState, ScoredPoint
from concordance.quality.relevance import (
    CurrentDocument,
    HnswRecall,
    KnownItems,
    Leaks,
    VectorAgreement,
    best_documents,
    golden_queries,
    leaks_of,
    recall_by_score,
    sample,
)
from concordance.quality.relevance.bootstrap import mean_interval
from concordance.quality.relevance.metrics import Measures, measure
from concordance.retrieval.ranking import Found, Reader
from concordance.settings import Settings
from support.index_rows import Written, chunk_rows, index_version
from support.two_versions import Article, corpus, pieces

SETTINGS = Settings()


def named(number: int) -> UUID:
    return uuid5(ids.NAMESPACE, f"document {number}")


FOUND = tuple(map(named, range(12)))


# --- metrics and bootstrap


@pytest.mark.parametrize(
    ("relevant", "expected"),
    [
        ({0}, Measures(1, 1.0, 1.0, 1.0)),
        ({1}, Measures(2, 1.0, 0.5, pytest.approx(0.63093, abs=1e-5))),
        ({9}, Measures(10, 1.0, 0.1, pytest.approx(0.28906, abs=1e-5))),
        ({10}, Measures(None, 0.0, 0.0, 0.0)),
        ({99}, Measures(None, 0.0, 0.0, 0.0)),
        ({0, 99}, Measures(1, 0.5, 1.0, pytest.approx(0.61315, abs=1e-5))),
        (set(range(10)), Measures(1, 1.0, 1.0, pytest.approx(1.0))),
    ],
)
def test_an_answer_is_measured_within_its_first_ten_documents(relevant: set[int], expected: Measures) -> None:
    assert measure(FOUND, {named(number) for number in relevant}) == expected


def test_a_document_has_the_place_of_its_best_chunk_and_ten_are_kept() -> None:
    assert best_documents([named(1), named(0), named(1), named(0), named(2)]) == (named(1), named(0), named(2))
    assert len(best_documents(FOUND)) == 10


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.integers(0, 100))
def test_the_interval_holds_the_mean_and_repeats_with_its_seed(differences: list[float], seed: int) -> None:
    found = mean_interval(differences, confidence=0.95, resamples=200, seed=seed)
    assert found == mean_interval(differences, confidence=0.95, resamples=200, seed=seed)
    assert min(differences) - 1e-9 <= found.low <= found.high <= max(differences) + 1e-9
    assert found.mean == pytest.approx(np.mean(differences))


def test_the_lower_bound_is_missed_about_as_often_as_the_confidence_says() -> None:
    rng = np.random.default_rng(3)
    misses = sum(
        mean_interval(rng.normal(size=100), confidence=0.95, resamples=500, seed=trial).low > 0 for trial in range(400)
    )
    assert 8 <= misses <= 36


# --- golden queries

GOLDEN = {
    "id": "q1",
    "tenant": "acme",
    "access": ["staff", "public"],
    "text": "how do  leases\nend",
    "relevant": [{"source": "manuals", "uri": "leases.md"}],
}
TOML = """
[[query]]
id = "q1"
tenant = "acme"
access = ["staff", "public"]
text = '''how do  leases
end'''
relevant = [{ source = "manuals", uri = "leases.md" }]
"""


@pytest.mark.parametrize(("name", "content"), [("golden.toml", TOML), ("golden.jsonl", f"\n{json.dumps(GOLDEN)}\n\n")])
def test_both_kinds_of_file_give_the_same_queries(name: str, content: str) -> None:
    (query,) = golden_queries(content.encode(), name=name, settings=SETTINGS)
    assert (query.identity, query.kind, query.tenant) == ("golden q1", "golden", "acme")
    assert (query.text, query.access) == ("how do leases end", ("public", "staff"))
    assert query.relevant == {ids.document_id(tenant="acme", source="manuals", uri="leases.md")}
    assert "leases end" not in repr(query)


def lines(*queries: Any) -> bytes:
    return "\n".join(map(json.dumps, queries)).encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("golden.csv", b"", r"must end with \.toml or \.jsonl"),
        ("golden.toml", b"= nothing", "is not valid TOML"),
        ("golden.toml", b"[[queries]]\n", r"must hold \[\[query\]\] tables and nothing else"),
        ("golden.toml", b"query = 3", r"must hold \[\[query\]\] tables"),
        ("golden.toml", b"query = [3]", r"query number 1: key \(all\): "),
        ("golden.toml", b"\xff", "is not UTF-8"),
        ("golden.jsonl", b"{}\nnonsense", "line 2 is not a JSON object"),
        ("golden.jsonl", b"[" * 100_000, "line 1 is not a JSON object"),
        ("golden.jsonl", b"{}", "query number 1: key id: Field required; key tenant: Field required"),
        ("golden.jsonl", lines({**GOLDEN, "id": "a b"}), "key id: String should match"),
        ("golden.jsonl", lines({**GOLDEN, "tenant": "ACME"}), "key tenant: String should match"),
        ("golden.jsonl", lines({**GOLDEN, "access": []}), "key access: Tuple should have at least 1 item"),
        ("golden.jsonl", lines({**GOLDEN, "text": " "}), "key text: String should have at least 1 character"),
        ("golden.jsonl", lines({**GOLDEN, "text": "secret \ud800"}), "key text: "),
        ("golden.jsonl", lines({**GOLDEN, "text": "secret" * 400}), "key text has 2,400 characters, allowed are"),
        ("golden.jsonl", lines({**GOLDEN, "relevant": []}), "key relevant: Tuple should have at least 1 item"),
        ("golden.jsonl", lines({**GOLDEN, "relevant": [{"uri": "a"}]}), r"key relevant\.0\.source: Field required"),
        ("golden.jsonl", lines({**GOLDEN, "relevant": GOLDEN["relevant"] * 101}), "names 101 documents, allowed are"),
        ("golden.jsonl", lines({**GOLDEN, "grade": 3}), "key grade: Extra inputs are not permitted"),
        ("golden.jsonl", lines(GOLDEN, GOLDEN), "has the id 'q1' twice"),
        ("golden.jsonl", lines(*[{**GOLDEN, "id": f"q{number}"} for number in range(1001)]), "has 1,001 queries"),
        ("golden.jsonl", b" " * 1_000_001, "has more than 1,000,000 bytes"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_and_never_with_the_text(name: str, content: bytes, message: str) -> None:
    with pytest.raises(Misconfigured, match=message) as refused:
        golden_queries(content, name=name, settings=SETTINGS)
    assert name in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_without_queries_gives_none() -> None:
    assert golden_queries(b"", name="golden.toml", settings=SETTINGS) == []
    assert golden_queries(b"\n", name="golden.jsonl", settings=SETTINGS) == []


# --- known items


def current(articles: list[Article]) -> list[tuple[CurrentDocument, Written]]:
    written = [article.written(pieces(30), generation=1) for article in articles]
    return [(CurrentDocument(each.row, len(each.texts)), each) for each in written]


def asked(articles: list[Article], *, seed: int = 1, at_most: int = 1000, documents: int = 1000) -> list[Any]:
    version, found = index_version(1), current(articles)
    written = {each.document_id: each for _, each in found}
    known = KnownItems(seed=seed)
    for document in sample([document for document, _ in found], seed=seed, at_most=documents):
        known.read(document.row, chunk_rows(version, written[document.row.document_id]))
    return known.queries(at_most=at_most)


def test_the_same_seed_asks_the_same_whatever_the_order_of_the_documents() -> None:
    articles = corpus(1)
    shuffled = random.Random(2).sample(articles, len(articles))
    assert asked(articles) == asked(shuffled)
    assert asked(articles, seed=1, documents=10) != asked(articles, seed=2, documents=10)


def test_each_document_is_asked_once_before_any_is_asked_twice_and_the_kinds_take_turns() -> None:
    queries = asked(corpus(1, documents=30), at_most=30)
    assert len({query.relevant for query in queries}) == 30
    assert Counter(query.kind for query in queries) == {"title": 10, "heading": 10, "phrase": 10}
    assert len(asked(corpus(1, documents=30))) == 90


def test_a_small_source_and_a_small_tenant_have_their_share() -> None:
    articles = [*corpus(1, documents=60), *corpus(2, documents=6, source="notes"), *corpus(3, documents=3, tenant="b")]
    assert [query.tenant for query in asked(articles, at_most=18)].count("b") == 3
    drawn = sample([document for document, _ in current(articles)], seed=1, at_most=18)
    assert Counter((each.row.tenant, each.row.source) for each in drawn) == {
        ("acme", "manuals"): 9,
        ("acme", "notes"): 6,
        ("b", "manuals"): 3,
    }


def test_what_no_reader_may_see_is_not_asked_for() -> None:
    assert asked(corpus(1, documents=3, access=())) == []


def test_a_query_says_who_asks_and_is_known_by_its_place_never_by_its_text() -> None:
    (article,) = corpus(1, documents=1, access=("secret", "staff"))
    for query in asked([article]):
        assert (query.tenant, query.access) == ("acme", ("secret", "staff"))
        document_id = article.written(pieces(30), generation=1).document_id
        assert query.identity.startswith(f"{query.kind} {document_id}")
        assert query.relevant == {document_id}
        assert not set(query.text.split()) & set(query.identity.split())
        assert query.text not in repr(query)


def test_a_title_and_a_heading_that_several_documents_have_name_none_of_them() -> None:
    first, second, third = corpus(1, documents=3)
    twins = [replace(first, title="Manual"), replace(second, title="manual"), third]
    titles = [query.text for query in asked(twins) if query.kind == "title"]
    assert titles == [third.title]


def test_a_phrase_stands_in_its_document_and_is_of_its_rarest_words() -> None:
    articles = {article.written(pieces(30), generation=1).document_id: article for article in corpus(1)}
    holding = Counter(
        word for each in articles.values() for word in {word for _, words in each.sections for word in words}
    )

    def frequency(words: Sequence[str]) -> float:
        return float(np.mean([np.log(holding[word]) for word in words]))

    phrases = [query for query in asked(list(articles.values())) if query.kind == "phrase"]
    assert len(phrases) == 40
    for query in phrases:
        (document_id,) = query.relevant
        sections = [words for _, words in articles[document_id].sections]
        assert any(query.text in " ".join(words) for words in sections)
        assert len(query.text.split()) == 8
        assert frequency(query.text.split()) < frequency([word for words in sections for word in words])


@pytest.mark.parametrize(
    "text", ["", "Header only", "Header\n\n", "Header\n\nA b.", "Header\n\n" + "\x1b \u202e " * 50]
)
def test_a_document_without_words_to_ask_by_is_left_alone(text: str) -> None:
    document = Written(uri="a.md", title=None, texts=[text], headings=[()])
    known = KnownItems(seed=1)
    known.read(document.row, chunk_rows(index_version(1), document))
    known.read(replace(document.row, document_id=named(1)), [])
    assert known.queries(at_most=10) == []


def test_a_very_long_title_is_asked_in_part() -> None:
    document = Written(uri="a.md", title="word " * 10_000, texts=[])
    known = KnownItems(seed=1)
    known.read(document.row, [])
    (query,) = known.queries(at_most=10)
    assert len(query.text) <= 200


# --- HNSW, vectors, leaks


def test_hnsw_is_measured_by_scores_so_that_equal_vectors_may_change_places() -> None:
    assert recall_by_score([0.9, 0.5, 0.5], [0.9, 0.5, 0.5]) == 1.0
    assert recall_by_score([0.9, 0.4, 0.3], [0.9, 0.5, 0.5]) == pytest.approx(1 / 3)
    assert recall_by_score([], [0.9]) == 0.0


@pytest.mark.parametrize(
    ("state", "recalls", "failures", "warnings"),
    [
        (IndexState(5000, 5000), [1.0, 0.95], 0, 0),
        (IndexState(5000, 5000), [1.0, 0.8], 1, 0),
        (IndexState(5000, 3999), [1.0], 1, 0),
        (IndexState(5000, 4000), [1.0], 0, 0),
        (IndexState(900, 0), [1.0], 0, 1),
        (IndexState(0, 0), [], 0, 0),
    ],
)
def test_an_index_must_be_built_and_find_what_is_there(
    state: IndexState, recalls: list[float], failures: int, warnings: int
) -> None:
    found = HnswRecall.of(state, recalls)
    assert (len(found.failures(SETTINGS)), len(found.warnings())) == (failures, warnings)
    assert found.as_json()["unindexed"] == state.points - state.indexed


@pytest.mark.parametrize(("off_by", "fails"), [(0.0, False), (1e-4, False), (0.01, True), (1.0, True)])
def test_stored_vectors_must_be_those_of_the_model(off_by: float, fails: bool) -> None:
    encoded = list(np.eye(3, dtype=np.float32))
    turned = np.array([np.cos(off_by), np.sin(off_by), 0], dtype=np.float32)
    found = VectorAgreement.of([turned, *encoded[1:]], encoded)
    assert bool(found.failures(SETTINGS)) is fails
    assert VectorAgreement.of([], []).failures(SETTINGS) == []


READER = Reader("acme", ("public", "staff"))
ROW = Written(uri="a.md", access=("staff",)).row


def found(*, row: Any = ROW, tenant: str = "acme", access: tuple[str, ...] = ("staff",)) -> Found:
    point = ScoredPoint(0.5, named(0), ROW.document_id, 1, 0, tenant, "manuals", "a.md", None, (), "words", access)
    return Found(point, row)


@pytest.mark.parametrize(
    ("point", "by"),
    [
        (found(), None),
        (found(row=None), None),
        (found(tenant="other"), "payload"),
        (found(access=("secret",)), "payload"),
        (found(access=()), "payload"),
        (found(row=replace(ROW, tenant="other")), "ledger"),
        (found(row=replace(ROW, access=("secret",))), "ledger"),
        (found(row=None, tenant="other"), "payload"),
    ],
)
def test_a_point_leaks_by_its_payloads_word_or_by_the_ledgers(point: Found, by: str | None) -> None:
    leaks = leaks_of([point], READER, query="golden q1", asked="as the query's tenant")
    assert [leak.by for leak in leaks] == ([by] if by else [])
    assert "words" not in str(leaks)


def test_leaks_are_all_counted_and_some_of_them_named() -> None:
    leaks = leaks_of([found(tenant="other")] * 5, READER, query="golden q1", asked="as another tenant")
    total = Leaks.of(20, leaks, at_most=3)
    assert (total.checked, total.found, len(total.named)) == (20, 5, 3)
