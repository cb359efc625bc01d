"""What must hold once everything has calmed down."""

from __future__ import annotations

from concordance.consistency.verify import verify
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import RunRequest
from simulation.world import SOURCE, World


def converged(world: World) -> None:
    """I1, I2 and I4, no rubbish after the grace, every document of the source there or in quarantine (I6), and nothing
    left to do: for a run (I7), nor for one that reads and cuts everything anew (the text part of I3)."""
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
        assert [each.version for each in snapshot.kept()] == [version.version], "a version that nobody builds"
        counted = snapshot.counts(version)
    assert list(world.graph.chunks(version)) == committed
    assert list(world.vectors.points(version)) == committed
    erased = world.erased()
    listed = [uri for uri in world.shelf.documents if world.document_id(uri) not in erased]
    assert counted["documents"] + counted["quarantined"] == len(listed)
    _links_are_written(world)
    before = world.graph.counts(version)
    assert world.run()
    report = world.ledger.runs.report(f"run-{world.run_number}")
    assert report is not None
    assert report["state"] == "nothing"
    assert world.graph.counts(version) == before
    assert list(world.vectors.points(version)) == committed
    request = RunRequest(SOURCE, "everything anew", mode="full", dry_run=True, approved=True)
    plan = make_plan(request, adapters=world.adapters, settings=world.settings)
    # What waits in quarantine is read again, whoever asks for everything.
    assert plan.counts["added"] == counted["quarantined"]
    assert plan.counts["changed"] == plan.counts["deleted"] == 0


def _links_are_written(world: World) -> None:
    """Every link of a current generation whose target is current too stands in the graph, and no other does."""
    version = world.live()
    with world.ledger.snapshot() as snapshot:
        links = snapshot.links(version)
        there = snapshot.documents(version, {link.target_id for link in links})
    assert world.graph.counts(version).rows["links"] == sum(link.target_id in there for link in links)
