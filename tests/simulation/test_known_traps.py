"""Traps that a model check of an earlier draft of the commit protocol fell into, each as a story of its own.

Others have their tests elsewhere: an entity that is removed while another batch mentions it (the graph contract), an
upsert that arrives after an erase looked (the erase stories).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.promises import converged
from simulation.world import World, quick_settings

FIRST = "# Alpha\n\nStone and river.\n"
SECOND = "# Alpha\n\nStone and river, edited.\n"
THIRD = "# Alpha\n\nStone and river, edited twice.\n"


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[World]:
    """One document, ingested; the world is quiet."""
    with World(ledger, quick_settings(stack), seed=1, parser=parser).turning() as world:
        world.edit("alpha", FIRST)
        assert world.run()
        yield world


def shown(world: World) -> list[str]:
    """Digests of the document's current chunks, in order."""
    alpha = world.document_id("alpha")
    with world.ledger.snapshot() as snapshot:
        chunks = [chunk for chunk in snapshot.committed(world.live()) if chunk.document_id == alpha]
    return [chunk.text_digest for chunk in sorted(chunks, key=lambda chunk: chunk.ordinal)]


def test_a_stale_plan_is_refused_once_a_newer_one_published_another_text(world: World) -> None:
    world.edit("alpha", SECOND)

    def somebody_else_is_faster() -> None:
        world.wait(world.longest_lease_seconds)
        world.edit("alpha", THIRD)
        assert world.run()

    world.trap = "run.publish.before", somebody_else_is_faster
    assert not world.run()
    newest = shown(world)
    world.quiet()
    assert world.run()
    assert shown(world) == newest
    converged(world)


def test_a_stale_plan_is_refused_also_where_the_newer_one_found_the_document_unchanged(world: World) -> None:
    before = shown(world)
    world.edit("alpha", SECOND)

    def the_edit_is_taken_back_and_seen_to_be() -> None:
        world.wait(world.longest_lease_seconds)
        world.edit("alpha", FIRST)
        assert world.run()

    world.trap = "run.publish.before", the_edit_is_taken_back_and_seen_to_be
    assert not world.run(), "what the older plan read replaced what the newer one saw"
    assert shown(world) == before
    world.quiet()
    converged(world)


def test_an_edit_that_is_taken_back_is_not_taken_for_done(world: World) -> None:
    before = shown(world)
    world.edit("alpha", SECOND)
    assert world.run()
    edited = shown(world)
    assert edited != before
    world.edit("alpha", FIRST)
    assert world.run()
    assert shown(world) == before
    # And once more, with the attempt in between dying when all but its publish was done.
    world.edit("alpha", SECOND)
    world.trap = "run.publish.before", lambda: world.die("run.publish.before")
    assert not world.run()
    world.edit("alpha", FIRST)
    world.quiet()
    assert world.run()
    assert shown(world) == before
    world.edit("alpha", SECOND)
    assert world.run()
    assert shown(world) == edited
    converged(world)


def test_a_sweep_decided_before_a_publish_and_carried_out_after_it_takes_nothing_of_the_new(world: World) -> None:
    world.edit("alpha", SECOND)
    assert world.run()
    world.wait(world.settings.lease_seconds + world.settings.sweep_grace_seconds + 1)
    world.edit("beta", "# Beta\n\nOne cloud.\n")

    def the_document_comes_back_meanwhile() -> None:
        # The sweep's worker hangs until the server ends its transaction, and with it its locks.
        world.hang_past_the_lease()
        world.edit("alpha", None)
        assert world.run()
        world.edit("alpha", THIRD)
        assert world.run()

    world.trap = "vectors.sweep.before", the_document_comes_back_meanwhile
    world.run()
    assert world.trapped == 1
    world.read_as_an_application()
    world.quiet()
    assert world.run()
    converged(world)


@pytest.mark.parametrize("point", ["graph.write.after", "vectors.upsert.after", "batch.verified.before"])
def test_rows_of_an_attempt_that_died_are_on_a_list_and_swept_when_it_is_given_up(world: World, point: str) -> None:
    world.edit("alpha", SECOND)
    world.trap = point, lambda: world.die(point)
    assert not world.run()
    version = world.live()
    written = len(list(world.graph.chunks(version)))
    with world.ledger.snapshot() as snapshot:
        assert snapshot.in_flight(version)
        committed = len(list(snapshot.committed(version)))
    assert written > committed
    # Nobody ever runs it again; the source has moved on.
    world.edit("alpha", FIRST)
    world.quiet()
    assert world.run()
    world.clean_up()
    assert len(list(world.graph.chunks(version))) == committed
    converged(world)


def test_a_reader_that_stands_between_two_generations_still_finds_the_one_it_began_with(world: World) -> None:
    with world.ledger.snapshot() as snapshot:
        version = snapshot.live()
        committed = list(snapshot.committed(version))
    world.edit("alpha", SECOND)
    assert world.run()
    world.wait(world.settings.reader_timeout_seconds)
    world.edit("alpha", THIRD)
    assert world.run()
    points = world.vectors.read_back(version, [chunk.chunk_id for chunk in committed])
    assert sorted(points, key=lambda chunk: chunk.chunk_id) == committed
