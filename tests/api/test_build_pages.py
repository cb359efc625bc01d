"""The pages of the gates before a swap: what they said in a build, by counts and ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.reindex.references import BuildRequest
from concordance.reindex.run import build
from concordance.serving.app import create_app
from concordance.settings import Settings
from support.small_house import SmallHouse

DOCUMENTS = 6


@pytest.fixture
def pages(ledger: Ledger, stack: Settings, parser: Parser, tmp_path: Path) -> TestClient:
    """The pages of a house whose index was built anew and published."""
    house = SmallHouse(ledger, stack, staging=tmp_path, parser=parser)
    for number in range(DOCUMENTS):
        house.texts[f"stone-{number}"] = f"# Stone {number}\n\nThe secret of stone {number} is long enough, {number}.\n"
    house.run()
    asked = BuildRequest("night-1", mode="rebuild", overrides={"chunk_max_tokens": 60})
    ended = build(asked, adapters=house.adapters, settings=house.settings)
    assert (ended.state, ended.version) == ("published", 2)
    settings = house.settings.model_copy(update={"staging_url": f"file://{tmp_path}"})
    return TestClient(create_app(guard=lambda: None, settings_of=lambda: settings))


def test_parity_and_relevance_say_what_they_compared_and_no_word_of_it(pages: TestClient) -> None:
    parity = pages.get("/builds/night-1/gates/parity")
    assert parity.status_code == 200
    assert "Gate parity: passed" in parity.text
    assert f"documents</dt><dd>{DOCUMENTS}</dd>" in parity.text
    relevance = pages.get("/builds/night-1/gates/relevance")
    assert relevance.status_code == 200
    # So few documents judge little, and the page says so.
    assert "Gate relevance: passed, but it judges little" in relevance.text
    assert "recall" in relevance.text
    assert "secret" not in (parity.text + relevance.text).lower()


def test_a_gate_or_a_build_that_is_not_there_is_said_to_be_missing(pages: TestClient) -> None:
    for path in ("/builds/night-1/gates/documents", "/builds/night-2/gates/parity", "/builds/night-1/gates/made"):
        answer = pages.get(path)
        assert answer.status_code == 404
        assert "There is no result of the gate" in answer.text
