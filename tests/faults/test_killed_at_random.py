"""F03: SIGKILL of real worker processes at a random time, on the real embedded stores."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from concordance.ledger import Ledger
from concordance.settings import Settings
from support import trials
from support.ledgers import connect
from support.nursery import Nursery, nursery
from support.shelves import (
    Shelf,
    assert_agree,
    assert_nothing_left_to_do,
    clean_up,
    make_shelf,
    pass_leases,
)
from support.trials import RecordTrials

KILLS = trials.count(2, full=60)


@pytest.fixture
def workers() -> Iterator[Nursery]:
    with nursery(gated=trials.is_full()) as started:
        yield started


@pytest.fixture
def shelf(stack: Settings, ledger: Ledger, tmp_path: Path) -> Shelf:
    return make_shelf(stack, tmp_path)


def _batches(shelf: Shelf) -> dict[UUID, tuple[str, int]]:
    """State and fencing token by batch: a token grows each time that a batch is begun."""
    with connect(shelf.settings) as connection:
        rows = connection.execute("SELECT batch_id, state, token FROM batches").fetchall()
    return {batch_id: (state, token) for batch_id, state, token in rows}  # type: ignore[misc]


@pytest.mark.timeout(3600)
def test_workers_killed_at_any_moment_lose_no_verified_batch_and_redo_at_most_one_a_lane(
    shelf: Shelf, workers: Nursery, record_trials: RecordTrials
) -> None:
    begun = time.monotonic()
    assert workers.start(shelf.settings_file, "first").exit_code() == 0
    seconds = time.monotonic() - begun
    kills = seed = 0
    with shelf.adapters() as adapters:
        while kills < KILLS:
            dice = random.Random(trials.seeds(1, full=1).start + seed)
            shelf.edit(dice, edition=seed + 1)
            run_id, finish = f"run-{seed}", f"run-{seed}"
            while workers.start(shelf.settings_file, run_id).killed_after(dice.uniform(0.0, seconds)):
                kills += 1
                record_trials("F03", engine="embedded")
                pass_leases(shelf.settings)
                if dice.random() < 0.3:
                    finish = f"instead-of-{seed}-{kills}"  # nobody takes the killed run up again
                _check_what_is_redone(shelf, workers, run_id, finish)
                if dice.random() < 0.8:
                    break
                shelf.edit(dice, edition=seed + 1000)
                run_id = finish = f"run-{seed}-{kills}"
            if seed % 4 == 0:
                clean_up(adapters=adapters)
            assert_agree(adapters=adapters, documents=shelf.documents)
            seed += 1
        assert_nothing_left_to_do(adapters=adapters, run_id="last")


def _check_what_is_redone(shelf: Shelf, workers: Nursery, killed: str, finish: str) -> None:
    """What was verified is not begun again by the same run, and of what was begun at most one batch a lane was not."""
    lanes = shelf.settings.load_lanes
    at_the_kill = _batches(shelf)
    unfinished = [batch_id for batch_id, (state, _) in at_the_kill.items() if state == "intent"]
    assert len(unfinished) <= lanes, "a worker had more than one batch a lane in flight"
    assert workers.start(shelf.settings_file, finish).exit_code() == 0, f"{finish} after the kill of {killed}"
    after = _batches(shelf)
    verified = {batch_id for batch_id, (state, _) in at_the_kill.items() if state == "verified"}
    assert all(after[batch_id] == at_the_kill[batch_id] for batch_id in verified), "a verified batch was begun again"
    redone = [batch_id for batch_id, (_, token) in at_the_kill.items() if after[batch_id][1] > token]
    assert len(redone) <= lanes, "more than one batch a lane was redone after one kill"
