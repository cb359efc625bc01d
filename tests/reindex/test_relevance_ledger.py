"""The relevance gate on a real ledger: what it reads is current, an erase finds its report, a kill leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from concordance import fault_points
from concordance.consistency.erase import erase, finish
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.reindex.relevance import RelevanceResult, check_relevance
from concordance.settings import Settings
from simulation.world import Killed
from support.erasing import document, request
from support.small_house import SmallHouse
from support.two_versions import corpus


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    house = SmallHouse(ledger, stack, staging=tmp_path, parser=parser)
    for article in corpus(1, documents=8):
        sections = "\n\n".join(f"## {heading}\n\n{' '.join(words)}." for heading, words in article.sections)
        house.texts[article.uri] = f"# {article.title}\n\n{sections}\n"
    assert house.run().state == "published"
    return house


def judged(house: SmallHouse) -> RelevanceResult:
    """The live version against itself, which nothing can tell apart."""
    return check_relevance(
        house.live,
        house.live,
        adapters=house.adapters,
        settings=house.settings.model_copy(update={"relevance_min_queries": 10}),
        seed=1,
    )


def test_a_version_answers_as_well_as_itself(house: SmallHouse) -> None:
    result = judged(house)
    assert result.passed, result.message
    report = result.report
    assert {pair.query.kind for pair in report.evidence.pairs} == {"title", "heading", "phrase"}
    assert report.answerable > 20
    assert all(pair.before == pair.after for pair in report.evidence.pairs)
    assert report.evidence.agreement.chunks == 8
    assert report.evidence.agreement.worst == pytest.approx(0, abs=1e-6)
    assert report.evidence.leaks.found == 0


def test_what_was_replaced_or_deleted_is_neither_asked_for_nor_found(house: SmallHouse) -> None:
    gone = document("article-0.md")
    del house.texts["article-0.md"]
    house.texts["article-1.md"] = house.texts["article-1.md"].replace(".", " anew.")
    house.run()
    report = judged(house).report
    assert len(report.evidence.pairs) <= 21
    assert str(gone) not in report.as_json()["documents"]
    assert str(document("article-1.md")) in report.as_json()["documents"]
    assert report.passed, report.message


def test_an_erase_removes_the_reports_that_name_the_document(house: SmallHouse) -> None:
    kept = judged(house).kept
    asked = request("article-0.md")
    tools: Any = {"adapters": house.adapters, "settings": house.settings}
    erase(asked, **tools)
    house.wait(house.settings.lease_seconds + house.settings.sweep_grace_seconds + 1)
    assert finish(asked.erasure_id, **tools).is_erased
    assert kept.path not in [name for name, _ in house.adapters.staging.contents("gate")]


@pytest.mark.parametrize(
    "point", ["vectors.hnsw.before", "vectors.hnsw.after", "artefact.put.before", "reference.put.after"]
)
def test_a_gate_that_was_killed_is_run_again(house: SmallHouse, point: str) -> None:
    def strike(reached: str) -> None:
        if reached == point:
            raise Killed(point)

    with fault_points.hooked(strike), pytest.raises(Killed):
        judged(house)
    assert judged(house).passed
