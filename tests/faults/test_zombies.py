"""F11: two attempts of one load at once. One commits; the other is told that it was not the one, or finds it done."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from concordance import fault_points
from concordance.consistency import repair, verify
from concordance.errors import ConcordanceError, Conflict, Leased, Transient
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import PlanReference, RunRequest, ShardReference
from concordance.pipeline.report import report
from concordance.settings import Settings
from support import trials
from support.ledgers import connect, move_clock
from support.shelves import (
    SOURCE,
    Shelf,
    assert_agree,
    assert_nothing_left_to_do,
    clean_up,
    make_shelf,
    pass_leases,
    prepared,
    run_ungated,
)
from support.trials import RecordTrials

SEEDS = trials.seeds(3, full=200)
SECONDS = 60
# All documents in one batch, which one thread takes through all its steps: a halt knows it by its name.
ONE_BATCH = {"batch_chunks": 1000, "load_lanes": 1}
# Where an attempt may stand still while another takes its batch over.
STOPS = (
    "batch.begin.after",
    "graph.write.before",
    "graph.write.after",
    "vectors.upsert.before",
    "vectors.upsert.after",
    "batch.verified.before",
)


@dataclass
class Halt:
    """One thread stands still at a point until it is let go; `reached` says that it does."""

    point: str
    thread: str
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, point: str) -> None:
        if point == self.point and threading.current_thread().name.startswith(self.thread) and not self.go.is_set():
            self.reached.set()
            assert self.go.wait(SECONDS), "nobody let the attempt go on"


@contextmanager
def attempts() -> Iterator[Callable[[str], ThreadPoolExecutor]]:
    """Thread pools by name, ended with the block."""
    opened: list[ThreadPoolExecutor] = []

    def start(name: str) -> ThreadPoolExecutor:
        opened.append(ThreadPoolExecutor(1, thread_name_prefix=name))
        return opened[-1]

    try:
        yield start
    finally:
        for pool in opened:
            pool.shutdown()


@pytest.fixture
def shelf(stack: Settings, ledger: Ledger, tmp_path: Path) -> Shelf:
    return make_shelf(stack, tmp_path, documents=4, **ONE_BATCH)


def _plan(run_id: str, adapters: Adapters) -> tuple[PlanReference, ShardReference]:
    plan = make_plan(RunRequest(SOURCE, run_id, approved=True), adapters=adapters, settings=adapters.settings)
    (shard,) = prepared(plan, adapters=adapters)
    return plan, shard


def _load(plan: PlanReference, shard: ShardReference, adapters: Adapters) -> ConcordanceError | None:
    try:
        load(plan, shard, adapters=adapters, settings=adapters.settings)
    except ConcordanceError as error:
        return error
    return None


def _verified_under(shelf: Shelf, plan: PlanReference) -> list[int]:
    """The tokens under which the plan's batches were verified."""
    with connect(shelf.settings) as connection:
        rows = connection.execute(
            "SELECT token FROM batches WHERE plan_id = %s AND state = 'verified'", [plan.plan_id]
        ).fetchall()
    return [token for (token,) in rows]  # type: ignore[misc]


@pytest.mark.timeout(3600)
def test_an_attempt_that_resumes_after_its_lease_ended_is_refused_and_its_writes_change_nothing(
    shelf: Shelf, parser: Parser, record_trials: RecordTrials
) -> None:
    with shelf.adapters(parser) as adapters, attempts() as start:
        run_ungated("first", adapters=adapters)
        zombies = start("zombie")
        for seed in SEEDS:
            record_trials("F11", engine="embedded")
            dice = random.Random(seed)
            shelf.edit(dice, edition=seed + 1)
            plan, shard = _plan(f"run-{seed}", adapters)
            halt = Halt(dice.choice(STOPS), "zombie")
            # The second attempt may stand still too, so that the zombie acts in the middle of it.
            second = Halt(dice.choice(STOPS), "successor")
            meets = dice.random() < 0.5

            def hook(point: str, halt: Halt = halt, second: Halt = second, meets: bool = meets) -> None:
                halt(point)
                if meets:
                    second(point)

            with fault_points.hooked(hook), attempts() as once:
                zombie = zombies.submit(_load, plan, shard, adapters)
                assert halt.reached.wait(SECONDS), f"seed {seed}"
                move_clock(shelf.settings, shelf.settings.lease_seconds + 1)
                successor = once("successor").submit(_load, plan, shard, adapters)
                if meets:
                    assert second.reached.wait(SECONDS), f"seed {seed}"
                else:
                    assert successor.result(SECONDS) is None, f"seed {seed}"
                halt.go.set()
                lost = zombie.result(SECONDS)
                second.go.set()
                assert successor.result(SECONDS) is None, f"seed {seed}: the second attempt failed"
            assert isinstance(lost, Conflict), f"seed {seed}: the zombie at {halt.point} ended with {lost!r}"
            assert _verified_under(shelf, plan) == [2], f"seed {seed}: not the second attempt's token"
            _show(plan, adapters)
            assert_agree(adapters=adapters, documents=shelf.documents)
        assert_nothing_left_to_do(adapters=adapters, run_id="last")


def _show(plan: PlanReference, adapters: Adapters) -> None:
    publish(plan, adapters=adapters, settings=adapters.settings)
    report(plan, adapters=adapters)


@pytest.mark.skipif(not trials.is_full(), reason="waits for whole leases: make faults")
@pytest.mark.timeout(3600)
def test_two_attempts_at_once_end_with_one_that_wrote_and_one_that_found_it_done(
    shelf: Shelf, parser: Parser, record_trials: RecordTrials
) -> None:
    with shelf.adapters(parser) as adapters, attempts() as start:
        run_ungated("first", adapters=adapters)
        pools = [start("one"), start("other")]
        for seed in trials.seeds(1, full=50):
            record_trials("F11", engine="embedded")
            shelf.edit(random.Random(seed), edition=seed + 1)
            plan, shard = _plan(f"run-{seed}", adapters)
            barrier = threading.Barrier(2)
            met: set[str] = set()

            def together(point: str, barrier: threading.Barrier = barrier, met: set[str] = met) -> None:
                name = threading.current_thread().name
                if point == "batch.begin.before" and name not in met:
                    met.add(name)
                    barrier.wait(SECONDS)

            with fault_points.hooked(together):
                ended = [pool.submit(_load, plan, shard, adapters) for pool in pools]
                errors = [each.result(SECONDS) for each in ended]
            # The one that came second waited for the lease's end, and then read the finished batch back.
            assert all(error is None or isinstance(error, Leased | Transient) for error in errors), f"{seed}: {errors}"
            assert None in errors, f"seed {seed}: {errors}"
            assert _verified_under(shelf, plan) == [1], f"seed {seed}: the batch was begun twice"
            _show(plan, adapters)
            assert_agree(adapters=adapters, documents=shelf.documents)


@pytest.mark.timeout(3600)
def test_what_an_attempt_of_a_superseded_plan_still_writes_is_never_seen_and_swept(
    shelf: Shelf, parser: Parser, record_trials: RecordTrials
) -> None:
    with shelf.adapters(parser) as adapters, attempts() as start:
        run_ungated("first", adapters=adapters)
        zombies = start("zombie")
        for seed in trials.seeds(1, full=50):
            record_trials("F11", engine="embedded")
            dice = random.Random(seed)
            shelf.edit(dice, edition=seed + 1)
            plan, shard = _plan(f"old-{seed}", adapters)
            halt = Halt(dice.choice(STOPS), "zombie")
            with fault_points.hooked(halt):
                zombie = zombies.submit(_load, plan, shard, adapters)
                assert halt.reached.wait(SECONDS)
                pass_leases(shelf.settings)
                shelf.edit(dice, edition=seed + 1000)
                assert run_ungated(f"new-{seed}", adapters=adapters).state == "published"
                halt.go.set()
                lost = zombie.result(SECONDS)
            assert isinstance(lost, Conflict), f"seed {seed}: the zombie at {halt.point} ended with {lost!r}"
            with pytest.raises(Conflict):
                publish(plan, adapters=adapters, settings=adapters.settings)
            assert _holder(shelf) is None, f"seed {seed}: a late task took the source"
            assert_agree(adapters=adapters, documents=shelf.documents)
            clean_up(adapters=adapters)
            assert _rows_of(plan, shelf) == {"swept"}, f"seed {seed}"
            assert_agree(adapters=adapters, documents=shelf.documents)


@pytest.mark.timeout(3600)
def test_what_a_zombie_writes_after_its_rows_were_swept_is_found_and_removed(
    stack: Settings, ledger: Ledger, tmp_path: Path, parser: Parser, record_trials: RecordTrials
) -> None:
    """A request that no limit of ours held up, by a clock of its own: rows appear that the ledger knows as swept."""
    del ledger
    shelf = make_shelf(stack, tmp_path, documents=4, **ONE_BATCH, lease_seconds=60, sweep_grace_seconds=61)
    with shelf.adapters(parser) as adapters, attempts() as start:
        run_ungated("first", adapters=adapters)
        zombies = start("zombie")
        for seed in trials.seeds(1, full=20):
            record_trials("F11", engine="embedded, after the sweep")
            shelf.edit(random.Random(seed), edition=seed + 1)
            plan, shard = _plan(f"old-{seed}", adapters)
            halt = Halt(("graph.write.before", "vectors.upsert.before")[seed % 2], "zombie")
            with fault_points.hooked(halt):
                zombie = zombies.submit(_load, plan, shard, adapters)
                assert halt.reached.wait(SECONDS)
                pass_leases(shelf.settings)
                shelf.edit(random.Random(seed + 1), edition=seed + 1000)
                assert run_ungated(f"new-{seed}", adapters=adapters).state == "published"
                clean_up(adapters=adapters)
                assert _rows_of(plan, shelf) == {"swept"}, f"seed {seed}"
                halt.go.set()
                assert isinstance(zombie.result(SECONDS), ConcordanceError), f"seed {seed}"
            found = verify(ledger=adapters.ledger, graph=adapters.graph, vectors=adapters.vectors)
            assert {finding.kind for finding in found.findings} >= {"unexpected"}, f"seed {seed}: {found.findings}"
            assert repair(adapters=adapters, settings=adapters.settings).is_sound, f"seed {seed}"
            assert_agree(adapters=adapters, documents=shelf.documents)
        assert_nothing_left_to_do(adapters=adapters, run_id="last")


def _holder(shelf: Shelf) -> object:
    """The run that holds the source's lease."""
    with connect(shelf.settings) as connection:
        (holder,) = connection.execute("SELECT lease_holder FROM sources").fetchone() or (None,)
        return holder


def _rows_of(plan: PlanReference, shelf: Shelf) -> set[str]:
    """The states of the plan's generations."""
    with connect(shelf.settings) as connection:
        rows = connection.execute("SELECT DISTINCT state FROM generations WHERE plan_id = %s", [plan.plan_id])
        return {str(state) for (state,) in rows.fetchall()}
