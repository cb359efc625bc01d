"""F05: the graph, the vectors and the ledger's database are killed in turn while a load runs; the supervisor starts
them again. After at most a few attempts of the same run everything agrees."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from concordance import fault_points
from concordance.errors import Transient
from concordance.local import stack as local_stack
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from support import trials
from support.ledgers import empty_ledger
from support.shelves import (
    Shelf,
    assert_agree,
    assert_nothing_left_to_do,
    clean_up,
    make_shelf,
    pass_leases,
    run_ungated,
)
from support.stacks import running, stack_settings
from support.trials import RecordTrials
from support.waiting import wait_for

STORES = ("graph", "vectors", "postgres")
SEEDS = trials.seeds(1, full=20)
ATTEMPTS = 10


@pytest.fixture
def shelf(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Shelf]:
    """On a stack of its own, which the tests of this file hurt."""
    with running(stack_settings(tmp_path_factory.mktemp("hurt"))) as settings:
        empty_ledger(settings).close()
        yield make_shelf(settings, tmp_path)


def _kill(settings: Settings, store: str) -> None:
    """SIGKILL, and the wait until it is gone; a database's own processes end with it."""
    (pid,) = [service.pid for service in local_stack.status(settings).services if service.name == store]
    assert pid is not None
    process = psutil.Process(pid)
    process.kill()
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, what="the end of a store")


def _is_settled(settings: Settings, store: str) -> bool:
    """Whether the stores are well, and this one for so long that its supervisor takes its death for a new one."""
    status = local_stack.status(settings)
    uptimes = [service.uptime_seconds or 0 for service in status.services if service.name == store]
    return status.is_healthy and uptimes[0] > 6


# Among all tests tests/local/test_stack_faults.py kills the stores, without a load.
@pytest.mark.skipif(not trials.is_full(), reason="starts a stack of its own: make faults")
@pytest.mark.timeout(3600)
def test_stores_that_are_killed_under_a_load_lose_nothing(
    shelf: Shelf, parser: Parser, record_trials: RecordTrials
) -> None:
    with shelf.adapters(parser) as adapters:
        run_ungated("first", adapters=adapters)
        for seed in SEEDS:
            for store in STORES:
                record_trials("F05", engine=f"embedded, {store} killed")
                wait_for(lambda store=store: _is_settled(shelf.settings, store), seconds=90, what="the stores' return")
                dice = random.Random(f"{seed} {store}")
                for number in range(12):
                    shelf.write(number, edition=10 * seed + STORES.index(store) + 1)
                run_id = f"run-{seed}-{store}"
                with ThreadPoolExecutor(1) as hand:
                    _load_while_killing(shelf, parser, hand, dice, run_id=run_id, store=store)
                if dice.random() < 0.3:
                    clean_up(adapters=adapters)
                assert_agree(adapters=adapters, documents=shelf.documents)
        assert_nothing_left_to_do(adapters=adapters, run_id="last")


def _load_while_killing(
    shelf: Shelf, parser: Parser, hand: ThreadPoolExecutor, dice: random.Random, *, run_id: str, store: str
) -> None:
    """The store dies somewhere between two fault points; the run goes on at once, and is tried again if it failed."""
    when, passed = dice.randrange(1, 25), 0
    killing = threading.Event()

    def kill_soon(point: str) -> None:
        nonlocal passed
        del point
        passed += 1
        if passed == when:
            killing.set()

    def kill() -> None:
        assert killing.wait(120), "the run never came so far"
        _kill(shelf.settings, store)

    killed = hand.submit(kill)
    ended = False
    for _ in range(ATTEMPTS):
        try:
            with shelf.adapters(parser) as adapters, fault_points.hooked(kill_soon):
                run_ungated(run_id, adapters=adapters)
                ended = True
                break
        except Transient:
            wait_for(lambda: local_stack.status(shelf.settings).is_healthy, seconds=90, what="the store's return")
            pass_leases(shelf.settings)
    killing.set()
    killed.result(60)
    assert ended, f"{run_id} did not come to its end in {ATTEMPTS} attempts"
    # It may have died only after the run's last word.
    wait_for(lambda: local_stack.status(shelf.settings).is_healthy, seconds=90, what="the store's return")
