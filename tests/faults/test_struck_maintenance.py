"""F01 for maintenance: struck at each of its points, the next one goes on, and the index is what it was all the time.

By default each point is struck by a kill, by `make faults` with everything. Old logs are struck in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from concordance import fault_points
from concordance.consistency.verify import verify
from concordance.expiry.maintain import maintain
from concordance.fault_points import MAINTENANCE_POINTS
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.building_world import BuildingWorld, building_settings
from simulation.history import IDLE_SECONDS
from simulation.promises import converged
from simulation.world import Killed
from support.ledgers import connect, unflushed
from support.strikes import STRIKES, Strike, a_kill, struck_at
from support.trials import is_full


@pytest.fixture(scope="module", autouse=True)
def _unflushed(stack: Settings) -> Iterator[None]:
    with unflushed(stack):
        yield


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[BuildingWorld]:
    """Edits, a build that came to nothing, an alert that is over: all of it long ago."""
    world = BuildingWorld(ledger, building_settings(stack), seed=1, parser=parser)
    with world.turning():
        for number in range(4):
            world.edit("alpha", f"# Alpha\n\nStone number {number}. See [beta](/beta).\n")
            world.edit("beta", "# Beta\n\nOne cloud. See [alpha](/alpha).\n")
            assert world.run()
        with connect(stack) as connection:
            connection.execute(
                "INSERT INTO builds (build_id, state, request, finished_at) VALUES ('nothing', 'nothing', '{}', now())"
            )
            connection.execute(
                "INSERT INTO alerts (alert_id, key, kind, subject, expected, actual, link, since, fired_at, "
                "recovered_at) VALUES (gen_random_uuid(), 'k', 'store_down', '{}', '', '', '', now(), now(), now())"
            )
        world.clean_up()
        world.wait(max(IDLE_SECONDS))
        yield world


@pytest.mark.fault("F01", engine="memory, maintenance")
@struck_at(MAINTENANCE_POINTS, strikes=STRIKES if is_full() else (a_kill,))
def test_a_maintenance_that_was_struck_is_made_good_by_the_next(
    world: BuildingWorld, point: str, strike: Strike, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "attempt=1.log"
    log.parent.mkdir()
    log.write_text("a line\n")
    os.utime(log, (0, 0))
    given: dict[str, Any] = {
        "adapters": world.adapters,
        "settings": world.settings.model_copy(update={"alert_retention_days": 1}),
        "log_folder": log.parent,
    }

    def another_attempt() -> None:
        assert maintain(**given).is_done

    world.trap = (point, lambda: strike(world, point, another_attempt))
    try:
        maintain(**given)
    except (Killed, Exception) as error:
        world.log.append(f"stopped by {error}")
    assert world.trapped == 1, f"nothing passed {point}"
    half = verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors, staging=world.adapters.staging)
    assert half.is_sound, half.findings
    another_attempt()
    assert maintain(**given).removed == {}
    assert not log.exists()
    for table in ("builds", "alerts"):
        with connect(world.settings) as connection:
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608 - constants
    world.quiet()
    assert world.run()
    converged(world)


def test_every_point_of_a_maintenance_is_passed_by_one(world: BuildingWorld, tmp_path: Path) -> None:
    passed: set[str] = set()
    (tmp_path / "old.log").write_text("a line\n")
    os.utime(tmp_path / "old.log", (0, 0))
    settings = world.settings.model_copy(update={"alert_retention_days": 1})
    with fault_points.hooked(passed.add):
        maintain(adapters=world.adapters, settings=settings, log_folder=tmp_path)
    assert passed == MAINTENANCE_POINTS
