"""Quarantine over whole runs: what is shown of it, and a replay through the same stages and gates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from concordance.consistency.verify import verify
from concordance.ledger import Ledger
from concordance.model import QuarantineFilter, Reason
from concordance.parsing.parser import Parser
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.run import ingest
from concordance.retrieval import Hit, SearchQuery
from concordance.retrieval.search import search
from concordance.settings import Settings
from simulation.world import SOURCE, World, quick_settings

EVERYTHING = QuarantineFilter()
SHORT = "# Short\n\nToo short.\n"


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> World:
    """Two good documents, and one that a gate finds too short."""
    settings = quick_settings(stack).model_copy(update={"min_text_characters": 40})
    world = World(ledger, settings, seed=0, parser=parser)
    for name in ("stone", "river"):
        world.shelf.documents[name] = f"# {name}\n\nThe {name} keeps its name and is long enough for every gate.\n"
    world.shelf.documents["short"] = SHORT
    assert run(world).counts["quarantined"] == 1
    return world


def run(world: World, **given: Any) -> RunReport:
    world.run_number += 1
    request = RunRequest(SOURCE, f"run-{world.run_number}", **given)
    return ingest(request, adapters=world.adapters, settings=world.settings)


def in_quarantine(world: World) -> dict[str, int]:
    """Attempts by uri."""
    rows = world.ledger.quarantine.rows(EVERYTHING, limit=100, with_dismissed=True)
    return {row.uri: row.attempts for row in rows}


def hits(world: World, text: str) -> dict[str, Hit]:
    answer = search(
        SearchQuery(text, tenant="acme", access=("public",)),
        ledger=world.ledger,
        graph=world.graph,
        vectors=world.vectors,
        embedder_of=world.adapters.embedder_of,
        settings=world.settings,
    )
    return {hit.uri: hit for hit in answer.hits}


def now_allows_short_texts(world: World) -> None:
    world.settings = world.settings.model_copy(update={"min_text_characters": 1})
    world.adapters = replace(world.adapters, settings=world.settings)


def test_a_row_names_the_expectation_that_failed_and_the_gate_s_report(world: World) -> None:
    (row,) = world.ledger.quarantine.rows(EVERYTHING, limit=10)
    assert (row.stage, row.reason, row.attempts) == ("documents", Reason.GATE_DOCUMENTS, 1)
    assert "text_characters" in row.detail
    assert "Too short" not in str(row)
    assert dict(world.adapters.staging.contents("gate"))[row.artefact]


def test_a_replay_goes_through_the_same_gates_and_is_rejected_again(world: World) -> None:
    world.shelf.documents["new"] = "# New\n\nA document that came meanwhile, long enough for every gate.\n"
    del world.shelf.documents["stone"]
    report = run(world, replay=EVERYTHING)
    assert (report.counts["quarantined"], report.counts.get("committed", 0)) == (1, 0)
    assert in_quarantine(world) == {"short": 2}
    # Nothing else of the source was touched.
    assert set(hits(world, "stone river name")) == {"stone", "river"}
    assert report.counts["discovered"] == 3


def test_what_passes_by_now_is_committed_by_a_replay(world: World) -> None:
    now_allows_short_texts(world)
    report = run(world, replay=QuarantineFilter(reason=Reason.GATE_DOCUMENTS))
    assert report.counts["committed"] == 1
    assert in_quarantine(world) == {}
    assert "short" in hits(world, "Too short")
    assert verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors).is_sound


def test_a_replay_of_what_is_not_there_changes_nothing(world: World) -> None:
    report = run(world, replay=QuarantineFilter(reason=Reason.BAD_VECTOR))
    assert report.state == "nothing"
    assert in_quarantine(world) == {"short": 1}


def test_a_replay_does_the_same_work_once_however_often_it_is_asked(world: World) -> None:
    now_allows_short_texts(world)
    assert run(world, replay=EVERYTHING).counts["committed"] == 1
    world.run_number -= 1
    assert run(world, replay=EVERYTHING).counts["committed"] == 1
    assert in_quarantine(world) == {}


def test_settings_that_changed_try_it_again_but_what_was_dismissed_waits_for_its_own_change(world: World) -> None:
    world.ledger.quarantine.dismiss(EVERYTHING, by="ann", note="will stay short")
    now_allows_short_texts(world)
    assert run(world).counts["still_quarantined"] == 1
    world.shelf.documents["short"] += "\nEdited.\n"
    assert run(world).counts["committed"] == 1
    assert in_quarantine(world) == {}


def test_a_document_whose_new_state_is_rejected_stays_visible_and_is_marked_stale(world: World) -> None:
    before = world.shelf.documents["river"]
    world.shelf.documents["river"] = SHORT
    assert run(world).counts["quarantined"] == 1
    found = hits(world, "river stone name")
    assert (found["river"].is_stale, found["stone"].is_stale) == (True, False)
    assert found["river"].as_json()["is_stale"]
    (row,) = [row for row in world.ledger.quarantine.rows(EVERYTHING, limit=10) if row.uri == "river"]
    assert row.is_stale
    # The source goes back to what is current: nothing is wrong any more.
    world.shelf.documents["river"] = before
    assert run(world).counts["unchanged"] == 2
    assert in_quarantine(world) == {"short": 1}
    assert not hits(world, "river")["river"].is_stale
