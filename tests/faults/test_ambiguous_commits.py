"""F07: the connection ends between a commit and its answer. The outcome is unknown, and the same is sent again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from concordance.errors import Transient
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from support import trials
from support.cutting_proxy import Cut
from support.fronted import STORES, fronted_shelf
from support.shelves import assert_agree, assert_nothing_left_to_do, clean_up, pass_leases, run_ungated
from support.trials import RecordTrials

SEEDS = trials.seeds(3, full=200)
ENGINES = {"graph": "embedded graph (Bolt)", "vectors": "embedded vectors (REST)", "ledger": "PostgreSQL"}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", STORES)
def test_a_commit_whose_answer_is_lost_is_sent_again_and_changes_nothing(
    stack: Settings, ledger: Ledger, tmp_path: Path, parser: Parser, store: str, record_trials: RecordTrials
) -> None:
    del ledger  # emptied by its fixture
    with fronted_shelf(stack, tmp_path) as (shelf, proxies), shelf.adapters(parser) as adapters:
        proxy = proxies[store]
        run_ungated("first", adapters=adapters)
        before = proxy.commits
        shelf.edit(random.Random("measured"), edition=1)
        run_ungated("measured", adapters=adapters)
        commits = proxy.commits - before
        made, seed = 0, SEEDS.start
        while made < len(SEEDS):
            assert seed < SEEDS.start + 4 * len(SEEDS), "most runs came to their end without a cut"
            dice = random.Random(seed)
            shelf.edit(dice, edition=seed + 2)
            cuts, seed = proxy.cuts, seed + 1
            proxy.cut(dice.choice(list(Cut)), after_commits=dice.randrange(max(1, commits - 2)))
            for _ in range(3):
                try:
                    report = run_ungated(f"run-{seed}", adapters=adapters)
                    break
                except Transient:
                    pass_leases(shelf.settings)
            else:
                pytest.fail(f"seed {seed}: one cut stopped the run three times")
            assert report.state == "published", f"seed {seed}: {report}"
            # A run may need fewer commits than the measured one: then nothing was cut, and it does not count.
            if proxy.cuts > cuts:
                made += 1
                record_trials("F07", engine=ENGINES[store])
            proxy.disarm()
            if dice.random() < 0.3:
                clean_up(adapters=adapters)
            assert_agree(adapters=adapters, documents=shelf.documents)
        assert_nothing_left_to_do(adapters=adapters, run_id="last")
