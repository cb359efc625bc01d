"""What the hourly reconcile does besides comparing; the comparison has its own tests."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from concordance.consistency.hourly import reconcile
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.promises import converged
from simulation.world import World, quick_settings


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[World]:
    with World(ledger, quick_settings(stack), seed=1, parser=parser).turning() as world:
        yield world


def test_before_the_first_run_there_is_nothing_to_reconcile(world: World) -> None:
    assert reconcile(adapters=world.adapters, settings=world.settings) == {"sound": True, "versions": []}


def test_an_erasure_that_nobody_finished_is_finished_once_its_time_has_come(world: World) -> None:
    world.edit("alpha", "# Alpha\n\nStone and river.\n")
    world.edit("beta", "# Beta\n\nOne cloud.\n")
    assert world.run()
    assert world.erase("alpha")
    (hidden,) = world.ledger.erasing.unfinished()
    early = reconcile(adapters=world.adapters, settings=world.settings)
    assert (early["sound"], early["erased"]) == (True, [])
    world.wait(world.settings.lease_seconds + world.settings.sweep_grace_seconds + 1)
    due = reconcile(adapters=world.adapters, settings=world.settings)
    assert [UUID(each) for each in due["erased"]] == [hidden.erasure_id]
    assert world.ledger.erasing.get(hidden.erasure_id).is_erased
    converged(world)
