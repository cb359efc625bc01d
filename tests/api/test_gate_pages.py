"""The page of a gate's result: what the gate said, for who may see it, and a clear answer when there is nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import HTTPException
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from concordance.errors import GateFailed, Misconfigured
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.serving.app import create_app
from concordance.settings import Settings
from simulation.world import SOURCE
from support.ledgers import connect
from support.silent_proxy import closed_port
from support.small_house import SmallHouse

# The word `secret` must not be on a page.
GOOD = "# {0}\n\nThe {0} keeps its secret and is long enough for every gate.\n"
TOO_SHORT = "# Secret\n\nShort.\n"


def anybody() -> None:
    """A guard that lets everybody pass."""


@dataclass
class Pages:
    """The application as a browser sees it, over a small house."""

    house: SmallHouse
    settings: Settings

    def get(self, path: str, **settings: Any) -> tuple[int, str]:
        app = create_app(guard=anybody, settings_of=lambda: self.settings.model_copy(update=settings))
        answer = TestClient(app).get(path)
        return answer.status_code, answer.text

    def gate(self, gate: str, run_id: str = "run-1", **settings: Any) -> tuple[int, str]:
        return self.get(f"/runs/{run_id}/gates/{gate}", **settings)

    def keep(self, result: dict[str, Any]) -> None:
        """A run of which this result of the documents gate is kept."""
        self.house.texts["river"] = GOOD.format("river")
        self.house.run()
        content = json.dumps(result).encode()
        artefact = self.house.adapters.staging.put("gate", [content.decode()], content, rows=1, suffix=".json")
        with connect(self.settings) as connection:
            ((plan_id,),) = connection.execute("SELECT plan_id FROM plans WHERE run_id = 'run-1'").fetchall()
        self.house.ledger.verdicts.record(
            UUID(str(plan_id)),
            "documents",
            artefact.as_json(),
            figures={},
            warnings=[],
            rejections=[],
            rejected_under="settings",
        )


@pytest.fixture
def pages(ledger: Ledger, stack: Settings, parser: Parser, tmp_path: Path) -> Pages:
    house = SmallHouse(ledger, stack, staging=tmp_path, parser=parser)
    return Pages(house, house.settings.model_copy(update={"staging_url": f"file://{tmp_path}"}))


def gated_run(pages: Pages, *, good: int, short: int) -> None:
    """A whole run with its gates; the first of them finds some documents too short."""
    pages.house.texts.update({f"good-{number}": GOOD.format(f"stone-{number}") for number in range(good)})
    pages.house.texts.update({f"short-{number}": TOO_SHORT for number in range(short)})
    settings = pages.house.settings.model_copy(update={"min_text_characters": 40})
    ingest(RunRequest(SOURCE, "run-1"), adapters=pages.house.adapters, settings=settings)


def rejected_ids(settings: Settings) -> list[str]:
    with connect(settings) as connection:
        return [str(row[0]) for row in connection.execute("SELECT document_id FROM quarantine").fetchall()]


def test_the_page_of_a_gate_that_passed_shows_counts_and_the_ids_that_it_rejected(pages: Pages) -> None:
    gated_run(pages, good=4, short=1)
    status, page = pages.gate("documents")
    assert status == 200
    assert "Gate documents: passed, some documents rejected" in page
    assert re.search(r"documents evaluated</dt><dd>5</dd>", page)
    (rejected,) = rejected_ids(pages.settings)
    assert f"<td>{rejected}</td><td>gate_documents</td>" in page
    assert "text_characters" in page
    assert "secret" not in page.lower()
    for gate in ("chunks", "stores"):
        status, page = pages.gate(gate)
        assert status == 200
        assert f"Gate {gate}: passed" in page


def test_the_page_of_a_gate_that_stopped_its_run_is_there_although_its_task_returned_nothing(pages: Pages) -> None:
    with pytest.raises(GateFailed):
        gated_run(pages, good=1, short=4)
    status, page = pages.gate("documents", page_max_rows=3)
    assert status == 200
    assert "Gate documents: stopped the run" in page
    assert "state of the run</dt><dd>failed</dd>" in page
    assert page.count("<td>gate_documents</td>") == 3
    assert "and 1 more" in page
    assert pages.gate("chunks")[0] == 404


def test_of_two_attempts_of_a_gate_the_newer_result_is_shown(pages: Pages) -> None:
    pages.keep({"gate": "documents", "passed": False, "message": "the first"})
    pages.keep({"gate": "documents", "passed": True, "message": "the second"})
    _, page = pages.gate("documents")
    assert "the second" in page
    assert "the first" not in page


def test_what_a_gate_says_is_text_and_never_markup(pages: Pages) -> None:
    pages.keep({"passed": True, "message": "<img src=x>", "warnings": ["<b>"], "<i>": {"&": "'\""}})
    _, page = pages.gate("documents")
    assert "<img" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;img src=x&gt;" in page
    _, page = pages.get("/runs/%3Cscript%3E/gates/documents")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_page_loads_nothing_and_its_policy_knows_its_style_alone(pages: Pages) -> None:
    pages.keep({"passed": True})
    app = create_app(guard=anybody, settings_of=lambda: pages.settings)
    answer = TestClient(app).get("/runs/run-1/gates/documents")
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}';" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"https?:|src=|href=|url\(|@import|style=|<script", answer.text)


def test_a_run_or_a_gate_without_a_result_says_where_to_look(pages: Pages) -> None:
    status, page = pages.gate("documents", run_id=str(uuid4()))
    assert status == 404
    assert "The log of its task says which" in page


def test_a_result_that_is_no_longer_staged_is_gone_and_the_page_says_why(pages: Pages) -> None:
    pages.keep({"passed": True})
    pages.house.lose_artefacts()
    status, page = pages.gate("documents")
    assert status == 410
    assert "an erase removes those that hold an erased document" in page


def test_a_result_that_is_too_large_for_a_page_is_named_and_not_read(pages: Pages) -> None:
    pages.keep({"passed": True, "message": "x" * 2000})
    status, page = pages.gate("documents", page_max_bytes=1000)
    assert status == 500
    assert "AIRFLOW__CONCORDANCE__PAGE_MAX_BYTES" in page
    assert "xxx" not in page


def test_a_ledger_that_does_not_answer_is_not_waited_for(pages: Pages) -> None:
    away = f"postgresql://concordance@127.0.0.1:{closed_port()}/concordance"
    status, page = pages.gate("documents", ledger_url=away, page_timeout_seconds=0.5)
    assert status == 503
    assert "Not now" in page


def test_settings_that_cannot_be_read_are_said_on_the_page() -> None:
    def missing() -> Settings:
        raise Misconfigured("there is no connection concordance_ledger")

    answer = TestClient(create_app(guard=anybody, settings_of=missing)).get("/runs/a/gates/documents")
    assert answer.status_code == 500
    assert "there is no connection concordance_ledger" in answer.text


def refusing(status: int) -> Callable[[], None]:
    def guard() -> None:
        raise HTTPException(status)

    return guard


def never() -> Settings:
    raise AssertionError("nothing is read for somebody who may not see it")


@pytest.mark.parametrize("status", [401, 403])
def test_every_route_stands_behind_the_guard(status: int) -> None:
    app = create_app(guard=refusing(status), settings_of=never)
    paths = [route.path for route in app.routes if isinstance(route, APIRoute)]
    assert paths
    assert len(paths) == len(app.routes)
    for path in paths:
        assert TestClient(app).get(re.sub(r"\{\w+\}", "x" * 300, path)).status_code == status
