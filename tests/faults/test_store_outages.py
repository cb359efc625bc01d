"""F06: a store is away for a while. Within the retries nobody notices; beyond them the run fails with a clear word and
the next one converges."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from concordance import fault_points
from concordance.errors import OutcomeUnknown, Unavailable
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from support import trials
from support.fronted import STORES, fronted_shelf
from support.shelves import assert_agree, assert_nothing_left_to_do, pass_leases, run_ungated
from support.trials import RecordTrials

SEEDS = trials.seeds(1, full=20)
NAMES = {"graph": "graph", "vectors": "vector store", "ledger": "ledger"}
# A request on a connection that ends at once may have been applied, for all that the caller knows.
CLEAR = (Unavailable, OutcomeUnknown)
# Retries that end soon.
SHORT = {"retry_attempts": 2, "pool_acquire_seconds": 1.0}
# Where a run uses the store next.
BEFORE = {
    "graph": ("graph.write.before", "graph.settle.before"),
    "vectors": ("vectors.upsert.before", "vectors.settle.before"),
    "ledger": ("batch.begin.before", "batch.verified.before", "run.publish.before", "generation.settled.before"),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", STORES)
def test_an_outage_within_the_retries_needs_nobody(
    stack: Settings, ledger: Ledger, tmp_path: Path, parser: Parser, store: str, record_trials: RecordTrials
) -> None:
    del ledger
    with fronted_shelf(stack, tmp_path) as (shelf, proxies), shelf.adapters(parser) as adapters:
        run_ungated("first", adapters=adapters)
        for seed in SEEDS:
            record_trials("F06", engine=f"embedded, {store} away within the retries")
            dice = random.Random(seed)
            shelf.edit(dice, edition=seed + 1)
            point, refused = dice.choice(BEFORE[store]), proxies[store].refused

            def outage(reached: str, point: str = point, dice: random.Random = dice) -> None:
                if reached == point and proxies[store].refused == refused:  # noqa: B023 - called in this round only
                    proxies[store].refuse(dice.randrange(1, 3))

            with fault_points.hooked(outage):
                assert run_ungated(f"run-{seed}", adapters=adapters).state == "published", f"seed {seed}"
            assert proxies[store].refused > refused, f"seed {seed}: nobody was sent away"
            assert_agree(adapters=adapters, documents=shelf.documents)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", STORES)
def test_an_outage_longer_than_the_retries_fails_clearly_and_the_next_run_converges(
    stack: Settings, ledger: Ledger, tmp_path: Path, parser: Parser, store: str, record_trials: RecordTrials
) -> None:
    del ledger
    with fronted_shelf(stack, tmp_path, **SHORT) as (shelf, proxies):
        with shelf.adapters(parser) as adapters:
            run_ungated("first", adapters=adapters)
        for seed in SEEDS:
            record_trials("F06", engine=f"embedded, {store} away for longer")
            dice = random.Random(seed)
            shelf.edit(dice, edition=seed + 1)
            point = dice.choice(BEFORE[store])

            def outage(reached: str, point: str = point) -> None:
                if reached == point:
                    proxies[store].go_down()

            with shelf.adapters(parser) as adapters:
                with fault_points.hooked(outage), pytest.raises(CLEAR, match=NAMES[store]) as failed:
                    run_ungated(f"run-{seed}", adapters=adapters)
                assert len(str(failed.value)) > 40, "the message does not say what to do"
            proxies[store].come_back()
            pass_leases(shelf.settings)
            # A worker of its own, as the next task is.
            with shelf.adapters(parser) as adapters:
                again = f"run-{seed}" if dice.random() < 0.5 else f"next-{seed}"
                run_ungated(again, adapters=adapters)
                assert_agree(adapters=adapters, documents=shelf.documents)
                assert_nothing_left_to_do(adapters=adapters, run_id=f"last-{seed}")
