"""F24: one row deleted or edited by hand is found, nothing is found where nothing was done, and a repair makes it good.
F23: a store that was restored from an earlier state is found out, and exactly the difference is repaired."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest

from concordance import fault_points, ids
from concordance.consistency.invariants import Kind, generation_of
from concordance.consistency.rebuild import rebuild_ledger
from concordance.errors import Conflict, Misconfigured
from concordance.ledger import Ledger
from concordance.model import GenerationKey
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.world import SOURCE
from support import trials
from support.ledgers import connect, empty_ledger
from support.small_house import SmallHouse
from support.tampering import TAMPERS, Vandal

T = TypeVar("T")


def a_few_of(all_of_them: Sequence[T], count: int) -> Sequence[T]:
    """All by `make faults`; among all tests, so many spread evenly."""
    return all_of_them if trials.is_full() else all_of_them[:: -(-len(all_of_them) // count)]


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> Iterator[SmallHouse]:
    """Documents that name and link each other, one of them edited since."""
    house = SmallHouse(ledger, stack, staging=tmp_path, parser=parser)
    for name, other in (("alpha", "beta"), ("beta", "gamma/one"), ("gamma/one", "alpha"), ("delta", "nowhere")):
        house.texts[name] = (
            f"# {name}\n\nStone and river of {name}.\n\n## Part\n\nSee [the other](/{other}), cloud and ember.\n"
        )
    house.run()
    house.texts["alpha"] += "\nOnce more.\n"
    house.run()
    house.wait_and_sweep()
    yield house
    house.ledger.close()


def assert_put_right(house: SmallHouse) -> None:
    """Sound after the repair, again after its sweeps, and nothing left to do for a run."""
    report = house.put_right()
    assert report.is_sound, (report.after.findings, report.done, report.refused)
    assert report.waiting == {}
    house.wait_and_sweep()
    assert house.check().findings == ()
    assert house.run().state == "nothing"


@pytest.mark.fault("F24", engine="memory")
@pytest.mark.parametrize("tamper", a_few_of(sorted(TAMPERS), 6))
def test_one_row_changed_by_hand_is_found_and_put_right(house: SmallHouse, tamper: str) -> None:
    before = house.digests()
    assert house.check().findings == ()
    TAMPERS[tamper](Vandal(house, random.Random(tamper)))
    assert not house.check().is_sound, tamper
    assert_put_right(house)
    assert house.digests() == before


def test_random_changes_are_all_found_and_clean_checks_find_nothing(
    house: SmallHouse, record_trials: trials.RecordTrials
) -> None:
    """Each is put right before the next, in one and the same house."""
    for seed in trials.seeds(4, full=100):
        record_trials("F24", engine="memory")
        before = house.digests()
        assert house.check().findings == (), f"a false alarm before seed {seed}"
        struck = Vandal(house, random.Random(seed)).strike()
        assert not house.check().is_sound, f"seed {seed}: {struck} was not found"
        assert_put_right(house)
        assert house.digests() == before, f"seed {seed}: {struck} was not put right"


# --- F23 --------------------------------------------------------------------------------------------------------------


def restored(house: SmallHouse, store: str, past: SmallHouse) -> None:
    """One store stands as it stood in the past; the alias or pointer with it."""
    if store == "graph":
        house.graph = past.graph
    else:
        house.vectors = past.vectors


class Past(SmallHouse):
    """Copies of both stores as they were."""

    def __init__(self, house: SmallHouse) -> None:
        for store in (house.graph, house.vectors):
            lock, store._lock = store._lock, None  # type: ignore[assignment]
            setattr(self, "graph" if store is house.graph else "vectors", copy.deepcopy(store))
            store._lock = lock
        self.graph._lock, self.vectors._lock = type(lock)(), type(lock)()


@pytest.mark.parametrize(
    ("store", "artefacts"),
    a_few_of(
        [("graph", "artefacts"), ("graph", "source"), ("vectors", "artefacts"), ("vectors", "source")],
        2,
    ),
)
def test_a_store_restored_from_an_earlier_state_is_found_and_exactly_the_difference_is_repaired(
    house: SmallHouse, tmp_path: Path, store: str, artefacts: str, record_trials: trials.RecordTrials
) -> None:
    record_trials("F23", engine="memory")
    past = Past(house)
    house.texts["beta"] += "\nEdited in the hour between.\n"
    house.texts["epsilon"] = "# Epsilon\n\nNew in the hour between, see [beta](/beta).\n"
    del house.texts["delta"]
    house.run()
    house.wait_and_sweep()
    before, untouched = house.digests(), chunk_ids(house, "alpha")
    restored(house, store, past)
    if artefacts == "source":
        house.lose_artefacts()
    found = house.check()
    assert {finding.kind for finding in found.findings} >= {Kind.LOST, Kind.UNEXPECTED}
    assert {finding.store.value for finding in found.findings if finding.invariant == "I1"} == {store}
    assert_put_right(house)
    assert house.digests() == before
    assert chunk_ids(house, "alpha") == untouched, "what did not differ was left alone"


def chunk_ids(house: SmallHouse, uri: str) -> set[UUID]:
    document_id = ids.document_id(tenant=house.shelf.declaration.tenant, source=SOURCE, uri=uri)
    with house.ledger.snapshot() as snapshot:
        return {chunk.chunk_id for chunk in snapshot.committed(house.live) if chunk.document_id == document_id}


# --- a lost ledger ----------------------------------------------------------------------------------------------------


def lose_the_ledger(house: SmallHouse, stack: Settings) -> None:
    house.ledger.close()
    house.ledger = empty_ledger(stack)


def test_a_lost_ledger_is_rebuilt_from_the_two_stores_and_the_next_run_finds_nothing_to_do(
    house: SmallHouse, stack: Settings
) -> None:
    before, waiting = house.digests(), house.check().counts["ledger"]["links"]
    lose_the_ledger(house, stack)
    report = rebuild_ledger(adapters=house.adapters, settings=house.settings)
    assert report.counts["documents taken over"] == 4
    assert house.check().findings == ()
    assert house.digests() == before
    assert house.check().counts["ledger"]["links"] == waiting, "also the link that still waits for its target"
    house.runs = 100
    assert house.run().state == "nothing"
    house.texts["alpha"] += "\nAnd on it goes.\n"
    assert house.run().state == "published"
    house.wait_and_sweep()
    assert house.check().findings == ()


def test_what_was_replaced_or_half_there_when_the_ledger_was_lost_is_swept_and_loaded_anew(
    house: SmallHouse, stack: Settings
) -> None:
    house.texts["beta"] += "\nEdited.\n"
    house.run()
    Vandal(house, random.Random(1)).delete_point()
    lose_the_ledger(house, stack)
    report = rebuild_ledger(adapters=house.adapters, settings=house.settings)
    assert report.counts["documents to load anew"] == 1
    assert report.counts["generations to sweep"] >= 2
    assert house.check().findings == ()
    house.runs = 100
    assert house.run().counts["added"] == 1
    house.wait_and_sweep()
    assert house.check().findings == ()
    assert set(house.digests()) == set(house.texts)


def test_a_rebuilt_ledger_knows_how_many_chunks_a_sweep_takes_away(house: SmallHouse, stack: Settings) -> None:
    for uri in sorted(house.texts):
        house.texts[uri] += "\nEdited.\n"
    house.run()
    version = house.live
    stored = Counter(map(generation_of, house.graph.scan(version)))
    with house.ledger.snapshot() as snapshot:
        replaced = stored.keys() - set(map(generation_of, snapshot.committed(version)))
    lose_the_ledger(house, stack)
    rebuild_ledger(adapters=house.adapters, settings=house.settings)
    with connect(stack) as connection:
        rows = connection.execute("SELECT document_id, generation, chunk_count FROM generations WHERE state = 'closed'")
        closed = {GenerationKey(*key): chunks for *key, chunks in rows}
    assert len(closed) == len(house.texts)
    assert closed == {key: stored[key] for key in replaced}


def test_a_ledger_that_is_not_empty_is_not_rebuilt(house: SmallHouse) -> None:
    with pytest.raises(Conflict, match="not empty"):
        rebuild_ledger(adapters=house.adapters, settings=house.settings)


def test_stores_that_do_not_agree_on_the_live_version_give_no_ledger(house: SmallHouse, stack: Settings) -> None:
    house.graph._pointer = None
    lose_the_ledger(house, stack)
    with pytest.raises(Misconfigured, match="Restore the ledger from a backup"):
        rebuild_ledger(adapters=house.adapters, settings=house.settings)


# --- a repair that dies -----------------------------------------------------------------------------------------------


class Died(BaseException):
    """Nothing of the repair may catch this."""


def broken_everywhere(house: SmallHouse) -> None:
    """Something for every step of a repair to do."""
    vandal = Vandal(house, random.Random(7))
    vandal.invent_chunk()
    vandal.delete_chunk()
    vandal.delete_point()
    vandal.take_off_the_list()
    vandal.delete_ledger_chunk()
    house.graph._descriptions.clear()
    house.graph._pointer = None
    house.strand_an_artefact()


STEPS = sorted(fault_points.REPAIR_POINTS - fault_points.points_of("ledger.rebuild"))


@pytest.mark.parametrize("point", a_few_of(STEPS, 4))
def test_a_repair_that_dies_at_any_point_is_finished_by_the_next_one(house: SmallHouse, point: str) -> None:
    before = house.digests()
    broken_everywhere(house)
    died = []

    def strike(passed: str) -> None:
        if passed == point and not died:
            died.append(passed)
            raise Died(point)

    with fault_points.hooked(strike), pytest.raises(Died):
        house.put_right()
    house.wait(house.settings.source_lease_seconds + house.settings.lease_seconds + 1)
    assert_put_right(house)
    assert house.digests() == before


@pytest.mark.parametrize("point", sorted(fault_points.points_of("ledger.rebuild")))
def test_a_rebuild_that_dies_is_done_by_the_next_one_or_was_done(
    house: SmallHouse, stack: Settings, point: str
) -> None:
    before = house.digests()
    lose_the_ledger(house, stack)

    def strike(passed: str) -> None:
        if passed == point:
            raise Died(point)

    with fault_points.hooked(strike), pytest.raises(Died):
        rebuild_ledger(adapters=house.adapters, settings=house.settings)
    if house.ledger.rebuilding.is_empty():
        rebuild_ledger(adapters=house.adapters, settings=house.settings)
    house.runs = 100
    assert house.run().state == "nothing"
    assert house.check().findings == ()
    assert house.digests() == before


def test_a_run_goes_on_beside_a_repair(house: SmallHouse) -> None:
    """In the middle of the repair a whole run edits, adds and deletes; both are right in the end."""
    broken_everywhere(house)
    house.texts["beta"] += "\nEdited beside it.\n"
    house.texts["zeta"] = "# Zeta\n\nNew beside it, see [alpha](/alpha).\n"
    ran: list[str] = []

    def run_once(passed: str) -> None:
        if passed == "repair.orphans.before" and not ran:
            ran.append(house.run().state)

    with fault_points.hooked(run_once):
        house.put_right()
    assert ran == ["published"]
    assert_put_right(house)
    assert set(house.digests()) == set(house.texts)
