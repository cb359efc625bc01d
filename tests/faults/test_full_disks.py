"""F15: no space is left. Writers fail as `Transient`, leave no torn artefact, and the same run goes on when there is
space again. The disks are real ones, mounted in memory for the test."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from concordance import fault_points
from concordance.errors import Transient, Unavailable
from concordance.ids import bytes_digest
from concordance.ledger import Ledger
from concordance.local import stack as local_stack
from concordance.local.health import Condition
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from support import small_disk, trials
from support.ledgers import empty_ledger
from support.shelves import Shelf, assert_agree, assert_nothing_left_to_do, make_shelf, pass_leases, run_ungated
from support.small_disk import SmallDisk
from support.stacks import running, stack_settings
from support.trials import RecordTrials
from support.waiting import wait_for
from support.watched import SmallHouse, notes, small_house

pytestmark = pytest.mark.skipif(small_disk.why_not() is not None, reason=str(small_disk.why_not()))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk.small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture
def house(ledger: Ledger, stack: Settings, parser: Parser, disk: SmallDisk) -> SmallHouse:
    return small_house(ledger, stack, parser, staging=disk.folder / "staging", documents=notes(4))


def _nothing_is_torn(folder: Path) -> None:
    """Every artefact is what its name says, and no half-written file lies beside it."""
    for path in folder.rglob("*"):
        assert not path.name.startswith(".writing-"), path
        if path.suffix == ".parquet":
            assert bytes_digest(path.read_bytes()) == path.stem, path


def _runs_into_the_full_disk(house: SmallHouse, disk: SmallDisk, run_id: str) -> bool:
    """One attempt while the disk is that full; whether it was stopped by it."""
    said = ""
    try:
        run_ungated(run_id, adapters=house.adapters)
    except Unavailable as error:
        said = str(error)
    _nothing_is_torn(disk.folder)
    assert not said or "Free space" in said
    return bool(said)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("what", ["files", "bytes"])
def test_staging_may_be_full_at_every_write_and_the_run_goes_on_when_there_is_space(
    house: SmallHouse, disk: SmallDisk, what: str, record_trials: RecordTrials
) -> None:
    step = 1 if what == "files" else 4096
    room, runs, is_stopped = 0, 0, True
    while is_stopped:
        record_trials("F15", engine=f"staging, the k-th of its {what}")
        house.shelf.documents.update(notes(4, edition=runs))
        if what == "files":
            disk.leave_files(room)
        else:
            disk.leave_bytes(room)
        is_stopped = _runs_into_the_full_disk(house, disk, f"run-{runs}")
        disk.make_room()
        if is_stopped:
            # The task is tried again.
            pass_leases(house.adapters.settings)
            run_ungated(f"run-{runs}", adapters=house.adapters)
        assert_agree(adapters=house.adapters, documents=4)
        runs, room = runs + 1, room + step * (1 if trials.is_full() or room < 4 * step else 4)
    assert runs > 5, "the disk was never full"
    assert_nothing_left_to_do(adapters=house.adapters, run_id="last")
    _nothing_is_torn(disk.folder)


@pytest.mark.skipif(not trials.is_full(), reason="starts a stack of its own: make faults")
@pytest.mark.timeout(1800)
def test_stores_and_ledger_may_run_out_of_disk_and_go_on_when_there_is_space(
    tmp_path: Path, parser: Parser, record_trials: RecordTrials
) -> None:
    """The data of all three on one small disk: a store refuses there, or dies and comes back."""
    with small_disk.small_disk(tmp_path / "disk", megabytes=900) as disk:
        settings = stack_settings(disk.folder / "state", stack_min_free_bytes=0)
        (tmp_path / "shelf").mkdir()
        with running(settings) as stack:
            empty_ledger(stack).close()
            shelf = make_shelf(stack, tmp_path / "shelf", circuit_failures=1000)
            with shelf.adapters(parser) as adapters:
                run_ungated("first", adapters=adapters)
            for seed in trials.seeds(1, full=10):
                record_trials("F15", engine="embedded stores and PostgreSQL")
                dice = random.Random(seed)
                for number in range(12):
                    shelf.write(number, edition=seed + 1)
                when = dice.randrange(1, 12)
                passed = 0

                def fill(point: str, when: int = when, dice: random.Random = dice) -> None:
                    nonlocal passed
                    passed += 1
                    if passed == when:
                        disk.leave_bytes(dice.randrange(0, 200_000))

                with shelf.adapters(parser) as adapters, fault_points.hooked(fill):
                    try:
                        run_ungated(f"run-{seed}", adapters=adapters)
                    except Transient:
                        pass
                    finally:
                        disk.make_room()
                _converges(shelf, parser, seed=seed)


def _converges(shelf: Shelf, parser: Parser, *, seed: int) -> None:
    wait_for(lambda: _are_back(shelf.settings), seconds=120, what="the stores' return")
    for _ in range(20):
        try:
            pass_leases(shelf.settings)
            with shelf.adapters(parser) as adapters:
                run_ungated(f"run-{seed}", adapters=adapters)
                assert_agree(adapters=adapters, documents=shelf.documents)
                return
        except Transient:
            continue
    pytest.fail(f"seed {seed}: the run did not converge after there was space again")


def _are_back(settings: Settings) -> bool:
    """A store that died too often while there was no space is started again by a person, as its status says."""
    status = local_stack.status(settings)
    if any(service.condition is Condition.FAILED for service in status.services):
        status = local_stack.up(settings)
    return status.is_healthy
