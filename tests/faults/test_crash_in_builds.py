"""F01 for builds and drops of index versions: struck at each of their points, and at those of a run that they pass.

The next attempt of the same makes it good: the new version is live, whole and sound, or gone without a row. Readers
have all documents at every moment. By default each point is struck by a kill, by `make faults` with everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from concordance import fault_points
from concordance.errors import ConcordanceError
from concordance.fault_points import points_of
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.reindex.drop import begin_drop
from concordance.settings import Settings
from simulation.building_world import BuildingWorld, building_settings
from simulation.promises import converged, nothing_left_of
from simulation.world import Killed
from support.ledgers import unflushed
from support.strikes import STRIKES, Strike, a_hang_past_the_lease, a_kill, struck_at
from support.trials import RecordTrials, is_full

DROPS = points_of("vectors.drop", "graph.drop", "version.forget", "version.dropped")
# The relevance gate is not walked here.
GATE = points_of("vectors.hnsw")
HOLDS = points_of("publishing.hold", "publishing.go")
# What a build passes of a run.
PASSED = points_of(
    *("index.schema", "index.create", "index.prepare", "index.point"),
    *("plan.draw", "artefact.put", "reference.put", "plan.make"),
    *("batch.begin", "graph.write", "graph.links", "vectors.upsert", "batch.verified", "run.publish"),
    *("graph.settle", "vectors.settle", "generation.settled", "run.finish"),
)


@pytest.fixture(scope="module", autouse=True)
def _unflushed(stack: Settings) -> Iterator[None]:
    with unflushed(stack):
        yield


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[BuildingWorld]:
    """Two documents that link to each other, ingested."""
    world = BuildingWorld(ledger, building_settings(stack), seed=1, parser=parser)
    with world.turning():
        world.edit("alpha", "# Alpha\n\nStone and river. See [beta](/beta).\n")
        world.edit("beta", "# Beta\n\nOne cloud. See [alpha](/alpha).\n")
        assert world.run()
        yield world


def struck(world: BuildingWorld, point: str, strike: Strike, attempt: Callable[[], bool]) -> None:
    """The attempt is struck at the point, unless another one that is made meanwhile brings it to its end."""

    def another_attempt() -> None:
        assert attempt(), "the second attempt did not come to its end"

    def spring() -> None:
        strike(world, point, another_attempt)

    def overtaken() -> None:
        world.edit("alpha", f"# Alpha\n\nStone and river for the {world.run_number}th time.\n")
        assert world.run()
        world.trap = ("version.swap.before", overtaken) if world.trapped <= attempts else (point, spring)

    attempts = world.settings.swap_attempts - 1
    world.trap = ("version.swap.before", overtaken) if point in HOLDS else (point, spring)
    try:
        ended = attempt()
    except RuntimeError:
        ended = False
    assert world.trapped == (attempts + 2 if point in HOLDS else 1), f"{point} was not passed"
    assert not ended or strike is a_hang_past_the_lease


@struck_at((fault_points.BUILD_POINTS | PASSED) - DROPS - GATE, strikes=STRIKES if is_full() else (a_kill,))
def test_a_build_struck_at_this_point_is_made_good_by_the_next_attempt(
    world: BuildingWorld, point: str, strike: Strike, record_trials: RecordTrials
) -> None:
    record_trials("F20", engine="memory, builds")
    record_trials("F01", engine="memory, builds")

    def attempt() -> bool:
        return world.build("longer", again=world.build_number > held)

    if point.startswith("version.retire"):
        assert world.build("strict", publish=False)
    held = world.build_number
    struck(world, point, strike, attempt)
    world.read_as_an_application()
    world.quiet()
    assert attempt()
    assert world.live().settings.chunk_max_tokens == 80
    # One that hung before it had a version makes another one of its own.
    assert world.swaps == 1 or (world.swaps == 2 and strike is a_hang_past_the_lease)
    assert world.run()
    converged(world, versions=("live", "retired"))


@pytest.mark.fault("F01", engine="memory, builds")
@struck_at(DROPS, strikes=STRIKES if is_full() else (a_kill,))
def test_a_drop_struck_at_this_point_is_ended_by_the_next(world: BuildingWorld, point: str, strike: Strike) -> None:
    def attempt() -> bool:
        try:
            return world.drop_due()
        except (Killed, ConcordanceError):
            return False

    assert world.build("longer")
    old = world.ledger.versions.get(1)
    begin_drop(old, adapters=world.adapters)
    world.wait(world.settings.lease_seconds + world.settings.sweep_grace_seconds + 1)
    struck(world, point, strike, attempt)
    world.read_as_an_application()
    world.quiet()
    assert attempt()
    nothing_left_of(world, old)
    assert world.run()
    converged(world)
