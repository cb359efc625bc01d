"""Traps on the way from one index version to another, each as a story: what a build, a swap, a way back and a drop must
stand, whoever is at work beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from concordance.consistency.verify import verify
from concordance.embedding.hashing import HashEmbedder
from concordance.errors import Conflict, GateFailed, Misconfigured, PoisonDocument
from concordance.ledger import Ledger
from concordance.model import IndexVersion, Reason
from concordance.parsing.parser import Parser
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import RunRequest
from concordance.reindex import run as run_module
from concordance.reindex.build import begin
from concordance.reindex.catch_up import catch_up
from concordance.reindex.drop import begin_drop, begin_drop_of_old
from concordance.reindex.references import BuildReference, BuildRequest
from concordance.reindex.swap import publish
from concordance.settings import Settings
from simulation.building_world import BITTER, BuildingWorld, building_settings
from simulation.promises import converged, nothing_left_of
from simulation.world import POISON, SOURCE
from support.erasing import held
from support.ledgers import connect

ALPHA = "# Alpha\n\nStone and river.\n"
EDITED = "# Alpha\n\nStone and river, edited.\n"
BETA = "# Beta\n\nOne cloud. See [alpha](/alpha).\n"
KEPT = ("building", "ready", "live", "retired")


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[BuildingWorld]:
    """Two documents, ingested; the world is quiet."""
    world = BuildingWorld(ledger, building_settings(stack), seed=1, parser=parser)
    with world.turning():
        world.edit("alpha", ALPHA)
        world.edit("beta", BETA)
        assert world.run()
        yield world


def tools(world: BuildingWorld) -> Any:
    return {"adapters": world.adapters, "settings": world.settings}


def shown(world: BuildingWorld, version: IndexVersion | None = None) -> dict[str, str | None]:
    """The uris that readers of the version (the live one) see, each with the stamp of what it was made of."""
    with connect(world.settings) as connection:
        rows = connection.execute(
            "SELECT d.uri, g.stamp FROM generations g JOIN documents d USING (document_id) "
            "WHERE g.index_version = %s AND g.state = 'current' ORDER BY 1",
            [(version or world.live()).version],
        )
        return {str(uri): str(stamp) for uri, stamp in rows}


def stamps(world: BuildingWorld) -> dict[str, str]:
    return {listed.uri: listed.stamp for listed in world.shelf.list()}


def states(world: BuildingWorld) -> list[str]:
    return [version.state for version in world.ledger.versions.all()]


def pass_the_grace(world: BuildingWorld) -> None:
    world.wait(world.settings.lease_seconds + world.settings.sweep_grace_seconds + 1)


def well(world: BuildingWorld) -> None:
    world.quiet()
    assert world.run()
    converged(world, versions=KEPT)


# --- a swap and the runs beside it


@pytest.mark.parametrize("point", ["plan.draw.before", "plan.make.before", "batch.begin.before", "run.publish.before"])
def test_a_run_that_was_planned_before_a_swap_shows_nothing_after_it(world: BuildingWorld, point: str) -> None:
    world.edit("alpha", EDITED)
    world.trap = point, lambda: world.build("longer")
    assert not world.run()
    assert world.swaps == 1
    assert shown(world) == {**stamps(world), "alpha": shown(world, world.ledger.versions.get(1))["alpha"]}
    world.quiet()
    assert world.run()
    assert shown(world) == stamps(world)
    well(world)


def test_an_ingest_between_the_beginning_of_a_build_and_its_first_round_is_in_it(world: BuildingWorld) -> None:
    def ingest() -> None:
        world.edit("alpha", EDITED)
        world.edit("beta", None)
        world.edit("delta", "# Delta\n\nA lantern.\n")
        assert world.run()

    world.trap = "build.record.after", ingest
    assert world.build("longer")
    assert shown(world) == stamps(world)
    well(world)


def test_runs_that_overtake_each_attempt_of_a_swap_are_held_for_the_last_one(world: BuildingWorld) -> None:
    waited: list[float] = []

    def overtake() -> None:
        with connect(world.settings) as connection:
            found = connection.execute(
                "SELECT extract(epoch FROM held_until - clock_timestamp())::float8 FROM control"
            ).fetchone()
        assert found is not None
        if found[0] is not None:
            waited.append(float(str(found[0])))
            return
        world.edit("alpha", f"{EDITED}\nFor the {world.run_number}th time.\n")
        assert world.run()
        world.trap = "version.swap.before", overtake

    world.trap = "version.swap.before", overtake
    assert world.build("longer")
    assert world.trapped == world.settings.swap_attempts + 1
    assert 0 < waited[0] <= world.settings.swap_hold_seconds
    assert shown(world) == stamps(world)
    began = world.now
    world.edit("alpha", EDITED)
    assert world.run()
    assert world.now == began, "publishing is still held after the swap"
    well(world)


def test_a_hold_whose_holder_died_ends_by_itself(world: BuildingWorld) -> None:
    world.ledger.swapping.hold("a builder that died", seconds=world.settings.swap_hold_seconds)
    world.edit("alpha", EDITED)
    began = world.now
    assert world.run(), "the run did not wait for the end of the hold"
    assert 0 < world.now - began <= world.settings.swap_hold_seconds + 1
    well(world)


def test_the_same_publish_once_more_does_not_undo_a_way_back(world: BuildingWorld) -> None:
    assert world.build("longer")
    assert world.roll_back()
    request = BuildReference("build-1", 2, 1, ())
    with pytest.raises(Conflict, match="retired"):
        publish(request, **tools(world))
    assert world.live().version == 1
    well(world)


# --- builders


def test_a_second_builder_is_kept_out(world: BuildingWorld) -> None:
    def another() -> None:
        assert not world.build("strict")

    world.trap = "plan.draw.before", another
    world.build("longer")
    assert world.trapped == 1
    assert world.ledger.versions.get(2).settings.chunk_max_tokens == 80
    assert len(states(world)) == 2


@pytest.mark.parametrize(
    "point",
    [
        *("index.create.before", "build.attach.before", "plan.draw.before", "plan.make.after", "graph.write.after"),
        *("batch.verified.before", "run.publish.before", "version.ready.before", "version.swap.before"),
    ],
)
@pytest.mark.parametrize("settings", ["longer", "weights"])
def test_a_builder_that_was_taken_for_dead_wakes_up_after_another_has_published(
    world: BuildingWorld, point: str, settings: str
) -> None:
    def somebody_else_takes_over() -> None:
        world.hang_past_the_lease()
        assert world.build(settings)
        world.edit("alpha", EDITED)
        assert world.run()

    world.trap = point, somebody_else_takes_over
    world.build("longer")
    assert world.trapped == 1
    # Where it had not yet begun with a version, it makes one of its own; else it comes too late.
    assert shown(world) == stamps(world)
    assert states(world).count("live") == 1
    well(world)
    assert world.build()
    well(world)


def test_a_builder_that_wakes_up_does_not_go_on_with_a_version_made_of_something_else(world: BuildingWorld) -> None:
    def somebody_else_begins() -> None:
        world.hang_past_the_lease()
        begun = begin(BuildRequest("another", mode="rebuild", overrides={"chunk_max_tokens": 80}), **tools(world))
        assert begun is not None
        world.ledger.building.release("another")

    world.trap = "index.create.before", somebody_else_begins
    assert not world.build("strict")
    assert world.ledger.versions.get(2).settings.chunk_max_tokens == 80
    assert world.build("strict")
    assert world.live().settings.chunk_max_tokens == 60
    well(world)


def test_a_build_goes_on_with_the_version_of_one_that_stopped(world: BuildingWorld) -> None:
    world.trap = "plan.draw.before", lambda: world.die("plan.draw.before")
    assert not world.build("longer")
    world.quiet()
    assert world.build("longer")
    assert states(world) == ["retired", "live"]
    well(world)


def test_a_build_with_other_settings_gives_the_unfinished_version_up(world: BuildingWorld) -> None:
    assert world.build("longer", publish=False)
    assert world.build("strict")
    assert states(world) == ["retired", "dropping", "live"]
    pass_the_grace(world)
    assert world.drop_due()
    nothing_left_of(world, world.ledger.versions.get(2))
    well(world)


def test_documents_of_a_source_that_nobody_declares_are_not_left_behind(world: BuildingWorld) -> None:
    adapters = replace(world.adapters, declarations={})
    request = BuildRequest("build", mode="rebuild")
    with pytest.raises(Misconfigured, match=SOURCE):
        run_module.build(request, adapters=adapters, settings=world.settings)
    assert states(world) == ["live"]
    assert world.build()


def test_an_erase_in_the_middle_of_a_build_does_not_end_it(world: BuildingWorld) -> None:
    for point in ("plan.make.after", "reference.put.after", "graph.write.after", "run.publish.before"):
        uri = f"gamma/{point}"
        world.edit(uri, f"# Gamma\n\nStone, river and {point}.\n")
        assert world.run()
        world.trap = point, lambda uri=uri: world.erase(uri)  # type: ignore[misc]
        assert world.build("longer"), world.log[-1]
        assert shown(world).keys() == {"alpha", "beta"}
        pass_the_grace(world)
        world.clean_up()
        assert held(world, world.document_id(uri), words=()) == []
        world.edit(uri, None)
        assert world.run()
        assert world.build()
    well(world)


def test_what_a_build_left_open_in_the_version_that_goes_live_is_closed(world: BuildingWorld) -> None:
    world.trap = "graph.write.after", lambda: world.die("graph.write.after")
    assert not world.build("longer")
    # Nothing is left to plan for the source, so that no newer plan closes what the dead one had open.
    world.shelf.documents.clear()
    world.edit("alpha", None)
    world.quiet()
    assert world.erase("alpha")
    assert world.erase("beta")
    assert world.build("longer")
    with connect(world.settings) as connection:
        open_ones = connection.execute(
            "SELECT count(*) FROM plans WHERE index_version = 2 AND state IN ('drawn', 'made')"
        ).fetchone()
    assert open_ones == (0,)
    well(world)


def test_a_version_that_is_only_just_made_is_no_damage(world: BuildingWorld) -> None:
    world.trap = "index.create.after", lambda: world.die("index.create.after")
    assert not world.build("longer")
    assert verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors).is_sound


# --- documents


def test_a_document_that_is_deleted_and_comes_back_between_two_builds_is_there(world: BuildingWorld) -> None:
    assert world.build("longer", publish=False)
    for text in (None, ALPHA):
        world.edit("alpha", text)
        assert world.run()
        if text is None:
            assert world.build("longer", publish=False)
            assert "alpha" not in shown(world, world.ledger.versions.get(2))
    assert world.build("longer")
    assert world.live().version == 2
    assert shown(world) == stamps(world)
    well(world)


def test_what_waits_in_quarantine_waits_there_after_a_swap_and_after_the_way_back(world: BuildingWorld) -> None:
    before = shown(world)
    world.edit("alpha", f"# Alpha\n\nStone, river and {POISON}.\n")
    world.edit("delta", f"# Delta\n\nA lantern of {POISON}.\n")
    assert world.run()
    for go in (lambda: world.build("longer"), world.roll_back):
        assert go()
        assert shown(world) == before
        with world.ledger.snapshot() as snapshot:
            assert snapshot.counts(world.live())["quarantined"] == 2
            assert snapshot.stale(world.live(), [world.document_id("alpha")])
        well(world)
    world.edit("delta", "# Delta\n\nA lantern.\n")
    well(world)
    assert "delta" in shown(world)


@pytest.mark.parametrize("settings", ["same", "longer"])
def test_what_the_next_version_refuses_is_carried_and_never_taken_for_cut(world: BuildingWorld, settings: str) -> None:
    bitter = f"# Alpha\n\nStone and {BITTER}. {'River and stone. ' * 30}\n"
    world.edit("alpha", bitter)
    assert world.run()
    with world.ledger.snapshot() as snapshot:
        before = {chunk.text_digest for chunk in snapshot.committed(world.live())}
    assert world.build("strict")
    with world.ledger.snapshot() as snapshot:
        assert {chunk.text_digest for chunk in snapshot.committed(world.live())} == before
        assert snapshot.stale(world.live(), [world.document_id("alpha")])
    # Another build of the same kind copies what is there; it must not say that these rows were cut by its settings.
    assert world.build("strict")
    assert world.live().version == 3
    with world.ledger.snapshot() as snapshot:
        assert snapshot.stale(world.live(), [world.document_id("alpha")])
    well(world)
    assert world.build(settings)
    well(world)
    assert snapshot_of_quarantine(world) == 0


def snapshot_of_quarantine(world: BuildingWorld) -> int:
    with world.ledger.snapshot() as snapshot:
        return snapshot.counts(world.live())["quarantined"]


class Refusing(HashEmbedder):
    """A model that gives no vector for one word."""

    def encode(self, texts: Any) -> Any:
        if any("Stone" in text for text in texts):
            raise PoisonDocument("no vector", reason=Reason.BAD_VECTOR)
        return np.asarray(super().encode(texts))


def test_a_document_that_the_next_model_cannot_embed_is_lost_and_ends_the_build_at_its_gate(
    world: BuildingWorld,
) -> None:
    adapters = replace(world.adapters, embedder=Refusing(24))
    request = BuildRequest("another model", mode="rebuild")
    with pytest.raises(GateFailed, match="1 documents of the live version cannot be made again"):
        run_module.build(request, adapters=adapters, settings=world.settings)
    assert shown(world) == stamps(world)
    world.settings = world.settings.model_copy(update={"max_lost_documents": 1})
    again = BuildRequest("one is given up", mode="rebuild")
    run_module.build(again, adapters=adapters, settings=world.settings)
    assert shown(world).keys() == {"beta"}


def test_a_document_that_is_read_anew_is_not_known_by_an_older_stamp(world: BuildingWorld) -> None:
    # The artefacts are gone and the source has moved on: what is read is newer than the listing that is known.
    world.lose_artefacts()
    world.edit("alpha", EDITED)
    assert world.build("longer")
    world.edit("alpha", ALPHA)
    well(world)
    assert shown(world) == stamps(world)


# --- the way back


def test_a_way_back_hides_what_is_erased_or_gone_and_marks_what_is_older(world: BuildingWorld) -> None:
    for uri in ("gamma/one", "gamma/two", "delta"):
        world.edit(uri, f"# {uri}\n\nOne lantern of {uri}.\n")
    assert world.run()
    before = shown(world)
    assert world.build("longer")
    assert world.erase("alpha")
    world.edit("alpha", None)
    world.edit("beta", None)
    world.edit("gamma/one", "# Gamma\n\nAnother lantern.\n")
    assert world.run()
    assert world.roll_back(1)
    assert shown(world) == {uri: before[uri] for uri in ("gamma/one", "gamma/two", "delta")}
    named = {uri: world.document_id(uri) for uri in shown(world)}
    with world.ledger.snapshot() as snapshot:
        assert snapshot.stale(world.live(), list(named.values())) == {named["gamma/one"]}
    well(world)
    assert shown(world) == stamps(world)


def test_a_way_back_shows_nothing_under_labels_that_were_changed_since(world: BuildingWorld) -> None:
    assert world.build("longer")
    world.shelf.declaration = world.shelf.declaration.model_copy(update={"access": ("staff",)})
    world.adapters = replace(world.adapters, declarations={SOURCE: world.shelf.declaration})
    assert world.run()
    assert world.roll_back(1)
    assert shown(world) == {}
    world.quiet()
    assert world.run()
    assert shown(world) == stamps(world)
    assert set(world.current(world.live()).values()) == {("staff",)}
    well(world)


def test_there_is_no_way_back_to_a_version_that_is_being_dropped(world: BuildingWorld) -> None:
    assert world.build("longer")
    begin_drop(world.ledger.versions.get(1), adapters=world.adapters)
    assert not world.roll_back(1)
    assert world.live().version == 2
    well(world)


# --- a version goes


def test_the_live_version_is_not_dropped(world: BuildingWorld) -> None:
    assert world.build("longer")
    with pytest.raises(Conflict, match="live"):
        begin_drop(world.live(), adapters=world.adapters)
    assert states(world) == ["retired", "live"]


@pytest.mark.parametrize("point", ["vectors.drop.after", "graph.drop.after", "version.forget.after"])
def test_a_drop_that_died_half_way_is_ended_by_the_next_and_keeps_no_erase_from_its_end(
    world: BuildingWorld, point: str
) -> None:
    assert world.build("longer")
    begin_drop(world.ledger.versions.get(1), adapters=world.adapters)
    pass_the_grace(world)
    world.trap = point, lambda: world.die(point)
    assert not world.drop()
    assert states(world) == ["dropping", "live"]
    assert world.erase("alpha"), "an erase was stopped by a version that is being dropped"
    world.clean_up()
    assert world.ledger.erasing.unfinished() == []
    assert world.drop_due()
    assert held(world, world.document_id("alpha"), words=()) == []
    nothing_left_of(world, world.ledger.versions.get(1))
    well(world)


@pytest.mark.parametrize("point", ["batch.begin.before", "graph.write.before", "vectors.upsert.before"])
def test_a_writer_that_comes_after_the_drop_leaves_nothing(world: BuildingWorld, point: str) -> None:
    def the_version_goes() -> None:
        begin_drop(world.ledger.versions.get(2), adapters=world.adapters)
        world.wait(world.longest_lease_seconds)
        pass_the_grace(world)
        assert world.drop_due()

    world.trap = point, the_version_goes
    assert not world.build("longer")
    assert states(world) == ["live", "dropped"]
    nothing_left_of(world, world.ledger.versions.get(2))
    well(world)


def test_a_drop_waits_for_the_grace_of_readers_and_writers(world: BuildingWorld) -> None:
    assert world.build("longer")
    begin_drop(world.ledger.versions.get(1), adapters=world.adapters)
    assert not world.drop_due()
    assert states(world) == ["dropping", "live"]


def test_the_versions_that_are_kept_are_those_that_were_live_last(world: BuildingWorld) -> None:
    world.settings = world.settings.model_copy(update={"kept_retired_versions": 2})
    for settings in ("longer", "strict"):
        assert world.build(settings)
    assert world.roll_back(1)
    assert world.build("weights")
    # 1 was live a moment ago, whatever its number.
    assert [each.version for each in world.ledger.swapping.retired()] == [3, 1]
    assert world.ledger.versions.get(2).state == "dropping"
    assert begin_drop_of_old(adapters=world.adapters, settings=world.settings) == []
    well(world)


def test_catching_up_after_the_swap_plans_nothing(world: BuildingWorld) -> None:
    assert world.build("longer")
    with connect(world.settings) as connection:
        connection.execute("UPDATE generations SET is_damaged = true WHERE index_version = 2")
    assert catch_up(BuildReference("build-1", 2, 1, ()), **tools(world)) == {}
    assert make_plan(RunRequest(SOURCE, "next", approved=True), **tools(world)).counts["changed"] == 2
