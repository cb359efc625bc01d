"""The ranking of one index version, live or not, inside one snapshot of the ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from concordance.chunking.bm25 import query_vector
from concordance.model import IndexVersion
from concordance.retrieval.ranking import Ranking, Reader, VersionReader
from concordance.settings import Settings
from support.two_versions import Article, TwoVersions, corpus, pieces

SETTINGS = Settings()
ARTICLES = corpus(1, documents=6)


@pytest.fixture
def house(tmp_path: Path) -> TwoVersions:
    house = TwoVersions(tmp_path, settings=SETTINGS)
    house.build(house.live, ARTICLES[:3])
    house.build(house.following, ARTICLES)
    return house


def ranked(house: TwoVersions, version: IndexVersion, article: Article, *, source: str | None = None) -> Ranking:
    with house.ledger.snapshot() as snapshot:
        reading = VersionReader(
            snapshot,
            version,
            Reader("acme", ("public",), source),
            vectors=house.vectors,
            settings=SETTINGS,
            seconds_left=lambda: 10.0,
        )
        return reading.rank(house.embedder.encode([article.title])[0], query_vector(article.title), limit=3)


def uris(ranking: Ranking) -> set[str]:
    return {chunk.row.uri for chunk in ranking.chunks}


def test_each_version_ranks_its_own_documents(house: TwoVersions) -> None:
    assert ranked(house, house.following, ARTICLES[5]).chunks[0].row.uri == "article-5.md"
    assert uris(ranked(house, house.live, ARTICLES[5])) == {"article-0.md", "article-1.md", "article-2.md"}


def test_what_is_not_current_or_not_for_the_reader_is_told_beside_the_ranking(house: TwoVersions) -> None:
    late = replace(ARTICLES[0], uri="late.md").written(pieces(30), generation=7)
    house.load(house.live, [late])
    ranking = ranked(house, house.live, ARTICLES[0])
    assert "late.md" not in uris(ranking)
    for found in (ranking.dense, ranking.sparse):
        assert {each.row for each in found if each.point.uri == "late.md"} == {None}
    assert ranked(house, house.live, ARTICLES[0], source="notes").chunks == ()
