"""A plan that is unusual waits for a person and holds nothing; approved, it does exactly what it said, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from concordance.consistency.verify import verify
from concordance.errors import Conflict
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.pipeline.plan import make_plan, run_of
from concordance.pipeline.references import PlanReference, RunReport, RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings
from simulation.world import SOURCE, WORDS, World, quick_settings

FIRST = {word: f"# {word}\n\nThe {word} has the number {number}.\n" for number, word in enumerate(WORDS[:6])}


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> World:
    """Six documents, all current; more than two that changed are unusual."""
    settings = quick_settings(stack).model_copy(
        update={"max_changed_fraction": 0.4, "tolerated_changed_documents": 1, "max_planned_bytes": 1000}
    )
    world = World(ledger, settings, seed=0, parser=parser)
    world.shelf.documents.update(FIRST)
    assert run(world).counts["committed"] == 6
    return world


def run(world: World, **given: Any) -> RunReport:
    world.run_number += 1
    return take_up(world, f"run-{world.run_number}", **given)


def take_up(world: World, run_id: str, **given: Any) -> RunReport:
    return ingest(RunRequest(SOURCE, run_id, **given), adapters=world.adapters, settings=world.settings)


def shown(world: World) -> set[tuple[str, str]]:
    """Chunks of current generations, each with the digest of its text."""
    with world.ledger.snapshot() as snapshot:
        return {(str(chunk.chunk_id), chunk.text_digest) for chunk in snapshot.committed(world.live())}


def edit(world: World, *words: str) -> None:
    for word in words:
        world.shelf.documents[word] = f"# {word}\n\nQuite another text about the {word}.\n"


def remove(world: World, *words: str) -> None:
    for word in words:
        del world.shelf.documents[word]


def grow(world: World, *words: str) -> None:
    for word in words:
        world.shelf.documents[word] = f"# {word}\n\n" + f"A long text about the {word}. " * 50


@pytest.mark.parametrize(
    ("move", "words", "why"),
    [
        (remove, WORDS[:1], "1 of 6 known documents of source 'shelf' are gone, more than 10%"),
        (edit, WORDS[:3], "3 of 6 known documents of source 'shelf' have changed, more than 40%"),
        (grow, WORDS[6:7], "bytes are to be read, more than 1,000"),
    ],
)
def test_an_unusual_plan_writes_nothing_until_a_person_agrees(
    world: World, move: Any, words: tuple[str, ...], why: str
) -> None:
    before = shown(world)
    move(world, *words)
    refused = run(world)
    assert refused.state == "refused"
    assert why in refused.notices[-1]
    assert "ingest --plan" in refused.notices[-1]
    assert shown(world) == before
    approved = run(world, approved=True)
    assert approved.state == "published"
    assert approved.notices[-1].startswith("Approved: ")
    assert shown(world) != before
    assert verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors).is_sound


def test_as_many_as_are_allowed_go_on_by_themselves(world: World) -> None:
    edit(world, *WORDS[:2])
    assert run(world).state == "published"


def waiting(world: World) -> PlanReference:
    """A run whose plan waits for a person; the plan that it leaves."""
    world.run_number += 1
    request = RunRequest(SOURCE, f"run-{world.run_number}")
    plan = make_plan(request, adapters=world.adapters, settings=world.settings)
    assert plan.needs_approval
    return plan


def test_a_plan_that_waits_holds_nothing_and_another_run_goes_first(world: World) -> None:
    edit(world, *WORDS[:3])
    plan = waiting(world)
    assert world.ledger.runs.report(plan.run_id)["state"] == "waiting"  # type: ignore[index]
    # A second attempt of the task that planned holds nothing either.
    assert make_plan(RunRequest(SOURCE, plan.run_id), adapters=world.adapters, settings=world.settings) == plan
    assert run(world, approved=True).counts["committed"] == 3
    with pytest.raises(Conflict, match=f"Plan {plan.plan_id} is not what an ingest would do now"):
        take_up(world, plan.run_id, approved=True)
    # The run that came too late holds nothing either.
    assert run(world).state == "nothing"


def test_the_same_run_goes_on_once_it_is_approved_and_is_resumed_like_any_other(world: World) -> None:
    edit(world, *WORDS[:3])
    plan = waiting(world)
    assert make_plan(RunRequest(SOURCE, plan.run_id), adapters=world.adapters, settings=world.settings) == plan
    ended = take_up(world, plan.run_id, approved=True)
    assert (ended.state, ended.counts["committed"]) == ("published", 3)
    assert take_up(world, plan.run_id, approved=True).counts == ended.counts


def test_what_moved_after_the_person_looked_is_not_approved(world: World) -> None:
    edit(world, *WORDS[:3])
    plan = waiting(world)
    before = shown(world)
    edit(world, WORDS[4])
    with pytest.raises(Conflict, match=r"the source or the index has moved: it was .* 3 changed.* now .* 4 changed"):
        take_up(world, plan.run_id, approved=True)
    assert shown(world) == before


def test_a_refused_run_s_plan_is_done_by_its_id_only_with_approval(world: World) -> None:
    edit(world, *WORDS[:3])
    refused = run(world)
    plan_id = waiting(world).plan_id
    assert refused.state == "refused"
    world.run_number += 1
    request = run_of(plan_id, run_id=f"run-{world.run_number}", adapters=world.adapters)
    tools: dict[str, Any] = {"adapters": world.adapters, "settings": world.settings}
    assert ingest(request, **tools).state == "refused"
    world.run_number += 1
    again = replace(run_of(plan_id, run_id=f"run-{world.run_number}", adapters=world.adapters), approved=True)
    assert ingest(again, **tools).counts["committed"] == 3


def test_an_empty_listing_deletes_nothing_even_if_it_is_approved(world: World) -> None:
    before = shown(world)
    world.shelf.documents.clear()
    ended = run(world, approved=True)
    assert ended.state == "nothing"
    assert "The listing is empty, though 6 documents are known" in ended.notices[0]
    assert shown(world) == before


def test_a_plan_tells_what_readers_would_notice(world: World) -> None:
    world.shelf.documents["index"] = "# Index\n\nSee [river](river).\n"
    edit(world, *WORDS[1:2])
    remove(world, WORDS[0])
    plan = waiting(world)
    assert plan.impact["chunks_current"] == 6
    assert (plan.impact["chunks_replaced"], plan.impact["chunks_deleted"]) == (1, 1)


def test_the_next_plan_estimates_from_what_the_last_runs_took(world: World) -> None:
    edit(world, WORDS[0])
    assert run(world).seconds.keys() == {"extract", "embed", "load"}
    edit(world, WORDS[1])
    request = RunRequest(SOURCE, "to-look-at", dry_run=True)
    plan = make_plan(request, adapters=world.adapters, settings=world.settings)
    assert plan.estimated_from == "measured over the last 2 runs"
    assert plan.estimates["bytes"] == len(world.shelf.documents[WORDS[1]].encode())
    assert plan.estimates["chunks"] == plan.estimates["embed"] + plan.estimates["reuse"] == 1
