"""F22: the same corpus gives the same digests, whatever the batches, the order of the listing and the hash seed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from support import corpus_digests, trials
from support.corpus_digests import digests, ingest_shuffled
from support.ledgers import empty_ledger
from support.shelves import Shelf, make_shelf
from support.trials import RecordTrials

DOCUMENTS = 24
BATCH_CHUNKS = (1, 7, 64, 512)
HASH_SEEDS = ("0", "1", "4242") if trials.is_full() else ("4242",)


@pytest.fixture
def shelf(stack: Settings, ledger: Ledger, tmp_path: Path) -> Shelf:
    del ledger
    shelf = make_shelf(stack, tmp_path, documents=DOCUMENTS)
    text = (tmp_path / "sources.toml").read_text()
    names = "".join(f'[[source.names]]\ntype = "term"\nname = "{name}"\n' for name in ("river", "stone", "willow"))
    (tmp_path / "sources.toml").write_text(text + names)
    return shelf


def _digests(shelf: Shelf, parser: Parser, *, seed: int, **overrides: Any) -> dict[str, Any]:
    empty_ledger(shelf.settings).close()
    settings = shelf.with_settings(**overrides)
    with shelf.adapters(parser, **overrides) as adapters:
        ingest_shuffled(adapters, run_id=f"run-{seed}", seed=seed)
    return digests(settings)


@pytest.mark.timeout(3600)
def test_batches_shards_and_the_order_of_the_listing_leave_no_trace(
    shelf: Shelf, parser: Parser, record_trials: RecordTrials
) -> None:
    expected = _digests(shelf, parser, seed=0)
    assert len(expected) == DOCUMENTS
    for seed in trials.seeds(len(BATCH_CHUNKS), full=40):
        record_trials("F22", engine="memory stores")
        dice = random.Random(seed)
        batch_chunks = BATCH_CHUNKS[seed % len(BATCH_CHUNKS)]
        shard_bytes = dice.choice([1_000, 3_000, 10_000_000])
        found = _digests(shelf, parser, seed=seed, batch_chunks=batch_chunks, shard_bytes=shard_bytes)
        assert found == expected, f"seed {seed}: {batch_chunks} chunks a batch, shards of {shard_bytes} bytes"


@pytest.mark.timeout(600)
def test_the_hash_seed_of_the_process_leaves_no_trace(
    shelf: Shelf, parser: Parser, record_trials: RecordTrials
) -> None:
    found = [_digests(shelf, parser, seed=0)]
    for number, hash_seed in enumerate(HASH_SEEDS):
        record_trials("F22", engine="memory stores, a process each")
        empty_ledger(shelf.settings).close()
        worker = subprocess.run(
            [sys.executable, corpus_digests.__file__, str(shelf.settings_file), str(number)],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(sys.path),
                "PYTHONHASHSEED": hash_seed,
            },
        )
        assert worker.returncode == 0, worker.stderr[-2000:]
        found.append(json.loads(worker.stdout))
    assert len(found[0]) == DOCUMENTS
    assert all(each == found[0] for each in found)
