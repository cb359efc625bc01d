"""A plan is what a run would do: a run by a plan does exactly that, or nothing when anything has moved since."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn
from uuid import UUID, uuid4

import pytest

from concordance.consistency.verify import verify
from concordance.errors import ConcordanceError, Conflict, GateFailed, Misconfigured
from concordance.ledger import Ledger
from concordance.model import QuarantineFilter, RawDocument
from concordance.parsing.parser import Parser
from concordance.pipeline.plan import make_plan, run_of
from concordance.pipeline.references import PlanReference, RunReport, RunRequest
from concordance.pipeline.rehearse import rehearse
from concordance.pipeline.report import report
from concordance.pipeline.run import ending, ingest
from concordance.settings import Settings
from simulation.world import SOURCE, WORDS, World, quick_settings


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> World:
    """Six documents, all current."""
    settings = quick_settings(stack).model_copy(update={"max_delete_fraction": 0.5})
    world = World(ledger, settings, seed=0, parser=parser)
    for number, word in enumerate(WORDS[:6]):
        world.shelf.documents[word] = f"# {word}\n\nThe {word} has the number {number}.\n"
    assert run(world).counts["committed"] == 6
    return world


def run(world: World, **given: Any) -> RunReport:
    world.run_number += 1
    request = RunRequest(SOURCE, f"run-{world.run_number}", **given)
    return ingest(request, adapters=world.adapters, settings=world.settings)


def planned(world: World, **given: Any) -> PlanReference:
    """A dry run, as the command `plan` makes it."""
    world.run_number += 1
    request = RunRequest(SOURCE, f"plan-{world.run_number}", dry_run=True, **given)
    with ending(request, adapters=world.adapters):
        plan = make_plan(request, adapters=world.adapters, settings=world.settings)
        report(plan, adapters=world.adapters)
    return plan


def do(world: World, plan_id: UUID) -> RunReport:
    world.run_number += 1
    request = run_of(plan_id, run_id=f"run-{world.run_number}", adapters=world.adapters)
    return ingest(request, adapters=world.adapters, settings=world.settings)


def test_a_plan_predicts_the_run_that_does_it_whatever_changed(world: World) -> None:
    dice = random.Random(7)
    for edition in range(6):
        documents = world.shelf.documents
        for word in dice.sample(WORDS, 3):
            if word in documents and dice.random() < 0.4 and len(documents) > 4:
                del documents[word]
            else:
                documents[word] = f"# {word}\n\nEdition {edition} of the {word}.\n"
        plan = planned(world)
        counts = do(world, plan.plan_id).counts
        assert counts.get("committed", 0) == plan.counts["added"] + plan.counts["changed"]
        assert counts.get("deleted", 0) == plan.counts["deleted"]
        assert (counts["unchanged"], counts["discovered"]) == (plan.counts["unchanged"], plan.counts["discovered"])


class NoParser(Parser):
    """For a run that must find everything extracted."""

    def parse(self, raw: RawDocument) -> NoReturn:
        raise AssertionError(f"{raw.uri} was parsed again")


def some_text(dice: random.Random, word: str) -> str:
    """Sections that other documents may have too, or no text at all."""
    if dice.random() < 0.15:
        # No text; and too little of it for the first gate.
        return dice.choice(["\n\n", "# A\n\nb c\n"])
    parts = [f"## Part {part}\n\nWhat {dice.choice(WORDS)} is to {dice.choice(WORDS)}." for part in range(3)]
    return "\n\n".join([f"# {word if dice.random() < 0.5 else 'Title'}", *parts[: dice.randint(1, 3)]])


def test_an_exact_plan_predicts_documents_chunks_and_texts_of_the_run_which_extracts_nothing_again(
    world: World,
) -> None:
    dice = random.Random(11)
    world.settings = world.settings.model_copy(update={"min_text_characters": 10})
    world.adapters = parsing = replace(world.adapters, settings=world.settings)
    for _ in range(6):
        documents = world.shelf.documents
        for word in dice.sample(WORDS, 3):
            if word in documents and dice.random() < 0.3 and len(documents) > 4:
                del documents[word]
            else:
                documents[word] = some_text(dice, word)
        plan = rehearse(planned(world), adapters=parsing, settings=world.settings)
        before = quarantined(world)
        assert rehearse(plan, adapters=parsing, settings=world.settings) == plan
        assert quarantined(world) == before, "a rehearsal rejects nobody"
        world.adapters = replace(parsing, parser=NoParser(world.settings))
        counts = do(world, plan.plan_id).counts
        world.adapters = parsing
        rejected = counts.get("quarantined", 0)
        assert rejected == plan.counts["quarantined"]
        assert counts.get("committed", 0) == plan.counts["added"] + plan.counts["changed"] - rejected
        assert counts.get("deleted", 0) == plan.counts["deleted"]
        foretold = {name: plan.estimates[name] for name in ("bytes", "chunks", "embed", "reuse")}
        happened = [counts[name] for name in ("bytes", "chunks", "embedded", "reused")]
        assert foretold == dict(zip(foretold, happened, strict=True))
        # Runs that took up extracted work do not tell what the work takes: only the first of all runs does.
        assert plan.estimated_from == "exact, but for the seconds: measured over the last 1 runs"
    assert verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors).is_sound


def test_an_exact_plan_whose_artefacts_have_expired_is_carried_out_all_the_same(world: World) -> None:
    world.shelf.documents["late"] = some_text(random.Random(12), "late")
    plan = rehearse(planned(world), adapters=world.adapters, settings=world.settings)
    for shard in plan.rehearsed:
        world.adapters.staging.discard([shard.documents.path])
    assert do(world, plan.plan_id).counts["committed"] == plan.counts["added"]
    assert verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors).is_sound


def test_an_exact_plan_says_that_its_run_would_be_stopped_and_by_what(world: World) -> None:
    for word in WORDS[:5]:
        world.shelf.documents[word] = "\n\n"
    plan = rehearse(planned(world), adapters=world.adapters, settings=world.settings)
    assert plan.notices[-1] == "The run would stop: 5 of its 5 documents were rejected, more than the allowed 3"
    with pytest.raises(GateFailed, match="5 of its 5 documents were rejected"):
        do(world, plan.plan_id)


def quarantined(world: World) -> int:
    return len(world.ledger.quarantine.rows(QuarantineFilter(), limit=100))


def an_edit_of_a_planned_document(world: World) -> None:
    world.shelf.documents["river"] = "# River\n\nEdited once more.\n"


def an_edit_of_another(world: World) -> None:
    world.shelf.documents["stone"] = "# Stone\n\nEdited as well.\n"


def a_document_that_is_gone(world: World) -> None:
    del world.shelf.documents["ember"]


def another_run(world: World) -> None:
    assert run(world).counts["committed"] == 1


def other_settings(world: World) -> None:
    world.settings = world.settings.model_copy(update={"min_text_characters": 2})
    world.adapters = replace(world.adapters, settings=world.settings)


@pytest.mark.parametrize(
    "move", [an_edit_of_a_planned_document, an_edit_of_another, a_document_that_is_gone, another_run, other_settings]
)
def test_whatever_moved_since_the_plan_stops_the_run_and_the_source_is_free(
    world: World, move: Callable[[World], None]
) -> None:
    world.shelf.documents["river"] = "# River\n\nEdited.\n"
    plan = planned(world)
    assert plan.counts["changed"] == 1
    move(world)
    before = sorted(chunk.chunk_id for chunk in world.graph.chunks(world.live()))
    with pytest.raises(Conflict, match=f"Plan {plan.plan_id} is not what an ingest would do now"):
        do(world, plan.plan_id)
    assert sorted(chunk.chunk_id for chunk in world.graph.chunks(world.live())) == before
    assert do(world, planned(world).plan_id).state in ("published", "nothing")


def test_a_plan_brings_the_scope_mode_and_limits_of_its_own(world: World) -> None:
    world.shelf.documents.update({"gamma/one": "# One\n\nA first one.\n", "delta": "# Delta\n\nOutside.\n"})
    plan = planned(world, subpath="gamma", mode="full", max_documents=5)
    assert do(world, plan.plan_id).counts["committed"] == 1
    with pytest.raises(Misconfigured, match="leave them out"):
        run(world, plan_id=plan.plan_id, subpath="delta")


def test_the_same_run_by_a_plan_is_resumed_like_any_other(world: World) -> None:
    world.shelf.documents["river"] = "# River\n\nEdited.\n"
    plan = planned(world)
    first = do(world, plan.plan_id)
    world.run_number -= 1
    assert do(world, plan.plan_id).counts == first.counts


def a_plan_that_nobody_made(world: World) -> UUID:
    return uuid4()


def the_plan_of_a_run(world: World) -> UUID:
    world.shelf.documents["river"] = "# River\n\nEdited.\n"
    request = RunRequest(SOURCE, "a-run-of-its-own")
    made = make_plan(request, adapters=world.adapters, settings=world.settings)
    world.ledger.runs.release(run_id=request.run_id, source=SOURCE)
    return made.plan_id


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (a_plan_that_nobody_made, "There is no plan"),
        (the_plan_of_a_run, "There is no plan"),
    ],
)
def test_only_a_plan_that_was_kept_and_not_made_can_be_done(
    world: World, given: Callable[[World], UUID], word: str
) -> None:
    with pytest.raises(ConcordanceError, match=word):
        do(world, given(world))
