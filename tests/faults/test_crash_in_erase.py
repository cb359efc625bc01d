"""F01 for erase: it fails, dies, loses an answer or hangs at each of its points; finishing the same one makes it good.

At every moment in between no reader sees the document, and the ledger says "hidden" until nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from concordance import fault_points
from concordance.consistency.bars import BARS
from concordance.consistency.erase import EraseRequest
from concordance.consistency.erased_artefacts import BY_COLUMN, BY_TEXT, BY_VERDICT
from concordance.errors import ConcordanceError, Misconfigured
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import ROOT, Settings
from simulation.world import Killed, World, quick_settings
from support.erasing import SECRET, document, erase, finish, held, is_sound, request, shown, wait_for_the_grace
from support.ledgers import unflushed
from support.strikes import Strike, struck_at


@pytest.fixture(scope="module", autouse=True)
def _unflushed(stack: Settings) -> Iterator[None]:
    with unflushed(stack):
        yield


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[World]:
    """A document in two generations beside a living one, both ingested."""
    with World(ledger, quick_settings(stack), seed=1, parser=parser).turning() as world:
        world.edit("beta", "# Beta\n\nOne cloud. See [alpha](/alpha).\n")
        for text in ("Stone", "River"):
            world.edit("alpha", f"# Alpha {SECRET}\n\n{text} and {SECRET}.\n")
            assert world.run()
        yield world


@pytest.mark.fault("F01", engine="memory")
@struck_at(fault_points.ERASE_POINTS)
def test_an_erase_struck_at_this_point_is_finished_by_the_same_one(world: World, point: str, strike: Strike) -> None:
    asked = request("alpha")

    def another_attempt() -> None:
        erase(world, asked)
        wait_for_the_grace(world)
        assert finish(world, asked.erasure_id).is_erased

    world.trap = point, lambda: strike(world, point, another_attempt)
    whole(world, asked)
    if world.trapped == 0:
        wait_for_the_grace(world)
        whole(world, asked)
    assert world.trapped == 1, f"the erase did not pass {point}"
    begun = "alpha" not in shown(world)
    assert begun or point == "erase.begin.before"
    world.quiet()
    erase(world, asked)
    assert shown(world) == {"beta"}
    wait_for_the_grace(world)
    assert finish(world, asked.erasure_id).is_erased
    assert held(world, document("alpha")) == []
    assert is_sound(world)
    assert world.run()
    assert shown(world) == {"beta"}


def whole(world: World, asked: EraseRequest) -> None:
    """As far as it comes: begin, and finish if the time has come."""
    try:
        erase(world, asked)
        finish(world, asked.erasure_id)
    except (Killed, RuntimeError, ConcordanceError):
        try:
            erasure = world.ledger.erasing.get(asked.erasure_id)
        except Misconfigured:
            return  # it died before it began
        # Never "erased" while something is there.
        assert erasure.state == "hidden" or held(world, document("alpha")) == []


@pytest.mark.fault("F01", engine="memory")
def test_two_who_finish_at_once_end_with_one_receipt(world: World) -> None:
    asked = request("alpha")
    erase(world, asked)
    wait_for_the_grace(world)
    world.trap = "erase.done.before", lambda: finish(world, asked.erasure_id)
    ended = finish(world, asked.erasure_id)
    assert world.trapped == 1
    assert ended.receipt == world.ledger.erasing.get(asked.erasure_id).receipt


def test_no_kind_of_artefact_escapes_an_erase() -> None:
    """Whoever stages a new kind of artefact must say here how an erase finds a document in it."""
    import re

    staged = {
        kind
        for path in (ROOT / "include").rglob("*.py")
        for kind in re.findall(r'staging\.put\(\s*"(\w+)"', path.read_text())
    }
    assert staged - {BARS} == {*BY_COLUMN, *BY_TEXT, *BY_VERDICT}
