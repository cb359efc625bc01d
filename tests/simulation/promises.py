"""What must hold once everything has calmed down."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from concordance.consistency.verify import verify
from concordance.model import IndexVersion
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import RunRequest
from simulation.history import IDLE_SECONDS
from simulation.world import SOURCE, World
from support.ledgers import connect


def converged(world: World, *, versions: Collection[str] = ("live",)) -> None:
    """I1, I2 and I4, no rubbish after the grace, every document of the source there or in quarantine (I6), and nothing
    left to do: for a run (I7), nor for one that reads and cuts everything anew (the text part of I3). Index versions
    are in the states `versions`."""
    if not world.shelf.documents:
        # An empty listing deletes nothing: beside one that is there, what is gone is seen to be gone.
        world.edit("last", "# Last\n\nThe one that is left.\n")
        assert world.run()
    world.clean_up()
    version = world.live()
    checked = verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors)
    assert checked.is_sound, checked.findings
    with world.ledger.snapshot() as snapshot:
        committed = list(snapshot.committed(version))
        assert snapshot.in_flight(version) == set()
        states = [each.state for each in snapshot.kept()]
        assert states.count("live") == 1
        assert set(states) <= set(versions), "a version that nobody builds"
        counted = snapshot.counts(version)
    assert list(world.graph.chunks(version)) == committed
    assert list(world.vectors.points(version)) == committed
    erased = world.erased()
    listed = [uri for uri in world.shelf.documents if world.document_id(uri) not in erased]
    # One that an older state is current of, and whose newer state is rejected, counts twice.
    stale = _rejected_and_current(world, version)
    assert counted["documents"] + counted["quarantined"] - stale == len(listed)
    _nothing_erased_is_anywhere(world, erased)
    assert world.graph.pointer() == world.vectors.pointer() == version.version
    _links_are_written(world)
    before = world.graph.counts(version)
    assert world.run()
    report = world.ledger.runs.report(f"run-{world.run_number}")
    assert report is not None
    assert report["state"] == "nothing"
    assert world.graph.counts(version) == before
    assert list(world.vectors.points(version)) == committed
    request = RunRequest(SOURCE, f"all after {world.run_number}", mode="full", dry_run=True, approved=True)
    plan = make_plan(request, adapters=world.adapters, settings=world.settings)
    # What waits in quarantine is read again, whoever asks for everything.
    assert plan.counts["added"] == counted["quarantined"] - stale
    assert plan.counts["changed"] == stale
    assert plan.counts["deleted"] == 0
    world.ledger.runs.release(run_id=request.run_id, source=SOURCE)
    _maintenance_takes_nothing_that_is_needed(world)


def _maintenance_takes_nothing_that_is_needed(world: World) -> None:
    """When all that nobody needs is gone, the index is what it was."""
    world.wait(max(IDLE_SECONDS))
    assert world.maintain()
    checked = verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors)
    assert checked.is_sound, checked.findings


def _rejected_and_current(world: World, version: IndexVersion) -> int:
    with connect(world.settings) as connection:
        found = connection.execute(
            "SELECT count(*) FROM quarantine q JOIN generations g USING (index_version, document_id) "
            "WHERE index_version = %s AND g.state = 'current'",
            [version.version],
        ).fetchone()
    assert found is not None
    return int(str(found[0]))


def _nothing_erased_is_anywhere(world: World, erased: Collection[UUID]) -> None:
    with world.ledger.snapshot() as snapshot:
        kept = snapshot.kept()
    for version in kept:
        for store in (world.graph, world.vectors):
            assert store.generations_of(version, sorted(erased)) == {}, "an erased document is in a store"


def nothing_left_of(world: World, version: IndexVersion) -> None:
    """A dropped version has no row in a store, and none in the ledger but its own."""
    assert version.version not in world.vectors.kept()
    assert version.version not in world.graph.kept()
    assert not any(world.graph.counts(version).rows.values())
    with connect(world.settings) as connection:
        for table in ("generations", "chunks", "links", "quarantine"):
            found = connection.execute(
                f"SELECT count(*) FROM {table} WHERE index_version = %s",  # noqa: S608 - constants
                [version.version],
            ).fetchone()
            assert found == (0,), f"{table} of a dropped version"


def _links_are_written(world: World) -> None:
    """Every link of a current generation whose target is current too stands in the graph, and no other does."""
    version = world.live()
    with world.ledger.snapshot() as snapshot:
        links = snapshot.links(version)
        there = snapshot.documents(version, {link.target_id for link in links})
    assert world.graph.counts(version).rows["links"] == sum(link.target_id in there for link in links)
