"""The relevance gate over two index versions in memory stores: healthy rebuilds pass, each planted fault fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from concordance.embedding.hashing import HashEmbedder
from concordance.errors import Misconfigured, Unavailable
from concordance.model import IndexState, ScoredPoint
from concordance.reindex.relevance import RelevanceResult
from concordance.serving.build_gates import relevance_page
from concordance.serving.pages import page
from concordance.settings import Settings
from concordance.stores.memory import MemoryVectors
from support.two_versions import Article, NoisyEmbedder, TwoVersions, corpus, heads, pieces

SETTINGS = Settings(relevance_resamples=1000)
ARTICLES = corpus(1, documents=24)


@pytest.fixture
def house(tmp_path: Path) -> TwoVersions:
    return TwoVersions(tmp_path, settings=SETTINGS)


@pytest.fixture
def rebuilt(house: TwoVersions) -> TwoVersions:
    """Both versions of the same corpus, made the same way."""
    house.build(house.live, ARTICLES)
    house.build(house.following, ARTICLES)
    return house


def failures(result: RelevanceResult) -> str:
    assert result.passed == (not result.report.failures)
    return "; ".join(result.report.failures)


# --- what is sound


HEALTHY: list[Callable[[TwoVersions, list[Article]], Any]] = [
    lambda house, articles: house.build(house.following, articles),
    lambda house, articles: house.build(house.following, articles[::-1]),
    lambda house, articles: house.build(house.following, articles, cut=pieces(20)),
    lambda house, articles: house.build(house.following, articles, cut=pieces(45)),
]


def test_twenty_healthy_rebuilds_pass(tmp_path: Path) -> None:
    for number in range(20):
        house, articles = TwoVersions(tmp_path / str(number), settings=SETTINGS), corpus(number, documents=12)
        house.build(house.live, articles)
        HEALTHY[number % len(HEALTHY)](house, articles)
        result = house.judged(seed=number)
        assert result.passed, result.message
        assert not result.report.judges_little


def test_a_rebuild_with_another_model_is_asked_in_that_models_vectors(tmp_path: Path) -> None:
    house = TwoVersions(tmp_path, settings=SETTINGS, model=HashEmbedder(256))
    house.build(house.live, ARTICLES)
    house.build(house.following, ARTICLES)
    assert house.judged().passed


def test_what_is_not_current_in_a_version_does_not_count(rebuilt: TwoVersions) -> None:
    replaced = [article.written(pieces(30), generation=9) for article in ARTICLES]
    rebuilt.load(rebuilt.live, replaced)
    for document in replaced[:12]:
        rebuilt.ledger.current[2].pop(document.document_id)
    report = rebuilt.judged().report
    assert "recall@10 of the hybrid ranking changed by -0.500" in "; ".join(report.failures)


# --- planted faults


def test_a_broken_chunker_fails(house: TwoVersions) -> None:
    house.build(house.live, ARTICLES)
    house.build(house.following, ARTICLES, cut=heads(5))
    assert "hybrid ranking" in failures(house.judged())


def test_chunks_that_stand_under_the_wrong_documents_fail(house: TwoVersions) -> None:
    house.build(house.live, ARTICLES)
    moved = [replace(each, title=other.title, sections=other.sections) for each, other in pairwise(ARTICLES)]
    house.build(house.following, moved)
    assert "recall@10 of the hybrid ranking" in failures(house.judged())


def test_half_of_the_corpus_missing_fails(house: TwoVersions) -> None:
    house.build(house.live, ARTICLES)
    house.build(house.following, ARTICLES[::2])
    assert "recall@10 of the hybrid ranking changed by -0.500" in failures(house.judged())


@pytest.mark.parametrize("noise", [0.02, 0.5, 2.0])
def test_vectors_of_another_precision_fail_however_little_readers_would_notice(
    house: TwoVersions, noise: float
) -> None:
    house.build(house.live, ARTICLES)
    house.build(house.following, ARTICLES, embedder=NoisyEmbedder(house.embedder, noise=noise))
    assert "stored vectors are not those of its model" in failures(house.judged())


def test_vectors_of_a_model_that_knows_nothing_fail_by_their_list_too(house: TwoVersions) -> None:
    house.build(house.live, ARTICLES)
    house.build(house.following, ARTICLES, embedder=NoisyEmbedder(house.embedder, noise=20.0))
    assert "recall@10 of the dense ranking" in failures(house.judged(relevance_vector_chunks=0))


class Forgetful(MemoryVectors):
    """Its approximate searches miss what stands first, and it may not index everything."""

    def __init__(self, vectors: MemoryVectors, *, misses: int = 0, indexes: int | None = None) -> None:
        self.__dict__.update(vectors.__dict__)
        self._misses = misses
        self._indexes = indexes

    def search(self, version: Any, query: Any, **asked: Any) -> list[ScoredPoint]:
        found = super().search(version, query, **asked)
        return found if asked.get("exact") else found[self._misses :]

    def index_state(self, version: Any) -> IndexState:
        state = super().index_state(version)
        return state if self._indexes is None else replace(state, indexed=self._indexes)


def test_hnsw_that_misses_the_nearest_fails_although_both_versions_do_so(rebuilt: TwoVersions) -> None:
    result = rebuilt.judged(vectors=Forgetful(rebuilt.vectors, misses=1))
    assert "HNSW finds 0.9" in failures(result)
    assert result.report.evidence.hnsw.queries == len(result.report.evidence.pairs)


def test_an_index_that_was_not_built_fails_and_a_tiny_one_is_told_of(rebuilt: TwoVersions) -> None:
    bare = Forgetful(rebuilt.vectors, indexes=0)
    assert "vectors are not indexed" in failures(rebuilt.judged(vectors=bare, relevance_unindexed_points=50))
    tiny = rebuilt.judged(vectors=bare)
    assert tiny.passed
    assert "HNSW was not judged" in tiny.message
    assert tiny.report.as_json()["hnsw"]["unindexed"] == 96


# --- tenants


@pytest.fixture
def shared(house: TwoVersions) -> TwoVersions:
    """Two tenants who write of the same things."""
    for version in (house.live, house.following):
        house.build(version, ARTICLES)
        house.build(version, corpus(1, documents=8, tenant="other"))
    return house


def test_two_tenants_do_not_see_each_other(shared: TwoVersions) -> None:
    result = shared.judged()
    assert result.passed, result.message
    assert {pair.query.tenant for pair in result.report.evidence.pairs} == {"acme", "other"}
    assert result.report.evidence.leaks.found == 0
    assert result.report.evidence.leaks.checked > 1000


class Unfiltered(MemoryVectors):
    """Filters neither by tenant nor by labels in the version `leaky`."""

    def __init__(self, vectors: MemoryVectors, *, leaky: int) -> None:
        self.__dict__.update(vectors.__dict__)
        self._leaky = leaky

    def search(self, version: Any, query: Any, *, tenant: str, access: Any, **asked: Any) -> list[ScoredPoint]:
        if version.version != self._leaky:
            return super().search(version, query, tenant=tenant, access=access, **asked)
        return [
            point
            for each in ("acme", "other")
            for point in super(Unfiltered, self).search(version, query, tenant=each, access=("public",), **asked)
        ]


def test_a_store_that_does_not_filter_fails_whatever_the_tolerances(shared: TwoVersions) -> None:
    lax = {f"relevance_{name}_tolerance": 1.0 for name in ("recall", "mrr", "ndcg", "list")}
    result = shared.judged(vectors=Unfiltered(shared.vectors, leaky=2), **lax)
    assert "belong to another tenant" in failures(result)
    assert {leak.asked for leak in result.report.evidence.leaks.named} == {"as the query's tenant", "as another tenant"}
    # What leaks in the live version is no reason to keep it.
    assert shared.judged(vectors=Unfiltered(shared.vectors, leaky=1)).passed


def test_one_point_in_another_tenants_name_fails(shared: TwoVersions) -> None:
    shared.alter(shared.following, ARTICLES[0].written(pieces(30), generation=2), tenant="other")
    result = shared.judged()
    assert "belong to another tenant" in failures(result)
    assert {leak.by for leak in result.report.evidence.leaks.named} == {"ledger"}


def test_a_point_with_more_labels_than_its_document_fails(house: TwoVersions) -> None:
    secret = corpus(5, documents=2, access=("secret",), source="vault")
    for version in (house.live, house.following):
        house.build(version, [*ARTICLES, *secret])
    house.alter(house.following, secret[0].written(pieces(30), generation=2), access=("public",))
    assert "labels asked for" in failures(house.judged())


# --- golden queries, and little to judge by


def golden_file(path: Path, *uris: str) -> str:
    relevant = [{"source": "manuals", "uri": uri} for uri in uris]
    words = " ".join(ARTICLES[0].sections[0][1][:6])
    query = {"id": "first", "tenant": "acme", "access": ["public"], "text": words, "relevant": relevant}
    path.write_text(json.dumps(query))
    return str(path)


def test_golden_queries_are_asked_beside_the_known_items(rebuilt: TwoVersions, tmp_path: Path) -> None:
    result = rebuilt.judged(golden_queries_file=golden_file(tmp_path / "golden.jsonl", "article-0.md"))
    (golden,) = (each for each in result.report.as_json()["queries"] if each["query"] == "golden first")
    assert (golden["rank_before"], golden["rank_after"]) == (1, 1)


def test_golden_documents_that_live_does_not_have_are_told_of(rebuilt: TwoVersions, tmp_path: Path) -> None:
    result = rebuilt.judged(golden_queries_file=golden_file(tmp_path / "golden.jsonl", "article-0.md", "gone.md"))
    assert "1 documents of golden queries are not in the live version (golden first)" in result.message


def test_a_file_of_golden_queries_that_is_not_there_is_named(rebuilt: TwoVersions) -> None:
    with pytest.raises(Misconfigured, match=r"golden queries /nowhere\.toml cannot be read .* setting golden_queries"):
        rebuilt.judged(golden_queries_file="/nowhere.toml")


def test_too_few_queries_pass_with_a_warning(rebuilt: TwoVersions) -> None:
    result = rebuilt.judged(relevance_queries=5)
    assert result.passed
    assert result.report.judges_little
    assert (
        "it judges little: the live version answers 5 queries, fewer than relevance_min_queries = 30" in result.message
    )


def test_a_live_version_that_answers_nothing_is_no_measure(rebuilt: TwoVersions) -> None:
    assert "there is nothing to compare with" in failures(rebuilt.judged(relevance_queries=0))


def test_an_empty_index_may_be_followed_by_an_empty_one_with_a_warning(house: TwoVersions) -> None:
    result = house.judged()
    assert result.passed
    assert result.report.judges_little


# --- the report


def test_the_same_seed_gives_the_same_report_and_another_one_other_queries(rebuilt: TwoVersions) -> None:
    def said(seed: int) -> dict[str, Any]:
        report = rebuilt.judged(seed=seed, relevance_queries=20).report.as_json()
        return {name: value for name, value in report.items() if name not in ("started_at", "seconds")}

    assert said(1) == said(1)
    assert said(1)["queries"] != said(2)["queries"]


def test_the_report_is_kept_with_ids_and_figures_and_without_a_text(house: TwoVersions) -> None:
    house.build(house.live, ARTICLES)
    house.build(house.following, ARTICLES[::2])
    result = house.judged()
    kept = house.staging.read(result.kept)
    assert result.kept.path in result.message
    report = json.loads(kept)
    assert report == json.loads(json.dumps(result.report.as_json()))
    for article in ARTICLES:
        for words in (article.title.split(), *(words for _, words in article.sections)):
            assert " ".join(words[:3]) not in kept.decode()
    worst, best = report["queries"][0], report["queries"][-1]
    assert (worst["rank_before"], worst["rank_after"], worst["ndcg_after"]) == (1, None, 0.0)
    assert (best["rank_before"], best["rank_after"]) == (1, 1)
    assert 0 < len(worst["found_after"]) <= 10
    assert (report["live_version"], report["next_version"], report["seed"]) == (1, 2, 1)
    assert report["settings"]["relevance_recall_tolerance"] == SETTINGS.relevance_recall_tolerance
    assert set(report["seconds"]) == {"hnsw", "queries", "encode", "ask"}
    assert {document_id for query in report["queries"] for document_id in query["found_before"]} <= set(
        report["documents"]
    )


def test_the_ledger_is_told_the_verdict_without_the_queries(rebuilt: TwoVersions) -> None:
    result = rebuilt.judged()
    told = result.as_json()
    assert (told["passed"], told["queries"], told["judges_little"]) == (True, 72, False)
    assert told["report"]["path"] == result.kept.path
    assert ARTICLES[0].uri not in json.dumps(told)
    assert document_id(ARTICLES[0]) not in json.dumps(told)


def test_its_page_shows_the_queries_whose_answer_got_worse_first(house: TwoVersions) -> None:
    house.build(house.live, ARTICLES)
    house.build(house.following, ARTICLES[::2])
    shown = relevance_page(json.loads(house.staging.read(house.judged().kept)), most_rows=5)
    assert (shown.gate, shown.verdict, shown.passed) == ("relevance", "failed, the live version stays", False)
    assert dict(shown.facts)["live version"] == "1"
    tables = {table.title: table for table in shown.tables}
    queries = tables["queries"]
    assert (len(queries.rows), queries.more) == (5, 67)
    rows = [dict(zip(queries.columns, row, strict=True)) for row in queries.rows]
    assert {(row["rank before"], row["rank after"]) for row in rows} == {("1", "–")}
    assert all(len(row["found before"].split()) == 10 for row in rows)
    assert queries.columns[:3] == ("query", "rank before", "rank after")
    assert "documents" not in tables
    assert [row[0] for row in tables["comparisons"].rows] == ["hybrid", "hybrid", "hybrid", "dense", "sparse"]


def test_the_page_is_rendered_with_what_was_found_before_and_after(rebuilt: TwoVersions) -> None:
    shown = relevance_page(rebuilt.judged().report.as_json(), most_rows=100)
    html = bytes(page("gate.html", title=f"Gate {shown.gate}: {shown.verdict}", result=shown).body).decode()
    assert "<h1>Gate relevance: passed</h1>" in html
    assert html.count("<td>title ") == 24
    assert f"{document_id(ARTICLES[0])[:8]} " in html


def document_id(article: Article) -> str:
    return str(article.written(pieces(30), generation=1).document_id)


def test_the_page_of_a_gate_that_saw_little_says_so(house: TwoVersions) -> None:
    shown = relevance_page(house.judged().report.as_json(), most_rows=5)
    assert (shown.verdict, shown.passed) == ("passed, but it judges little", True)


class Unreachable(MemoryVectors):
    def build_hnsw(self, version: Any, *, timeout_seconds: float) -> None:
        raise Unavailable("the HNSW has 3 of 96 vectors and the time to build it is over")


def test_a_store_that_does_not_answer_is_no_verdict(rebuilt: TwoVersions) -> None:
    unreachable = Unreachable()
    unreachable.__dict__.update(rebuilt.vectors.__dict__)
    with pytest.raises(Unavailable, match="HNSW"):
        rebuilt.judged(vectors=unreachable)
    assert list(rebuilt.staging.contents("gate")) == []
