"""Maintenance that keeps as little as is allowed, or less: what nobody needs goes, and all else still works."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from concordance.errors import Corrupt
from concordance.expiry.maintain import MaintenanceReport, maintain
from concordance.ledger import Ledger
from concordance.model import QuarantineFilter
from concordance.operations import telemetry
from concordance.parsing.parser import Parser
from concordance.pipeline import originals
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import PlanReference, RunRequest
from concordance.pipeline.report import report
from concordance.reindex.swap import rollback
from concordance.settings import Settings
from simulation.world import SOURCE
from support.ledgers import connect, empty_ledger
from support.rebuilding import made_ungated, swapped
from support.small_house import SmallHouse

LEAST = {
    "artefact_retention_hours": 1,
    "gate_retention_days": 0.05,
    "history_retention_days": 1,
    "history_min_plans": 2,
    "maintenance_step_plans": 2,
}
TWO_DAYS = 2 * 86_400


class Kept(SmallHouse):
    """A house that is maintained."""

    def age(self, seconds: float = TWO_DAYS) -> None:
        """Let it be `seconds` later, for the ledger and for what is staged."""
        self.wait(seconds)
        for path in filter(Path.is_file, self._staging.rglob("*")):
            moment = path.stat().st_mtime - seconds
            os.utime(path, (moment, moment))

    def maintain(self, **given: Any) -> MaintenanceReport:
        return maintain(adapters=self.adapters, settings=self.settings, **given)

    def staged(self) -> set[str]:
        return {str(path.relative_to(self._staging)) for path in self._staging.rglob("*") if path.is_file()}

    def rows(self) -> dict[str, int]:
        """How many rows of its past the ledger has, by table."""
        tables = ("plans", "plan_documents", "batches", "generations", "runs")
        with connect(self.settings) as connection:
            counts = {}
            for table in tables:
                found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - constants
                counts[table] = int(str(found[0])) if found else 0
        return counts


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> Iterator[Kept]:
    """Four documents, one of them edited seven times, one rejected; all of it long ago."""
    house = Kept(ledger, stack, staging=tmp_path / "staging", parser=parser)
    house.settings = house.settings.model_copy(update=LEAST)
    for name, other in (("alpha", "beta"), ("beta", "gamma"), ("gamma", "alpha")):
        house.texts[name] = f"# {name}\n\nStone and river of {name}.\n\nSee [the other](/{other}).\n"
    house.texts["empty"] = "\n"
    for number in range(8):
        house.texts["alpha"] = f"# alpha\n\nThe river has risen by {number} feet.\n"
        house.run()
    house.wait_and_sweep()
    house.age()
    yield house
    house.ledger.close()


def test_what_nobody_needs_goes_and_the_index_is_as_it_was(house: Kept) -> None:
    before, rows, staged = house.digests(), house.rows(), house.staged()
    removed = house.maintain().removed
    after = house.rows()
    assert removed["plans"] == rows["plans"] - after["plans"] > 0
    assert removed["generations"] == rows["generations"] - after["generations"] > 0
    assert removed["runs"] == rows["runs"] - after["runs"] > 0
    assert removed["artefacts"] == len(staged - house.staged()) > 0
    assert house.digests() == before
    assert house.check().findings == ()
    # What is left has its reason: a second time nothing goes.
    assert house.maintain().removed == {}
    assert house.run().state == "nothing"


def test_a_dry_run_says_what_would_go_and_touches_nothing(house: Kept) -> None:
    rows, staged = house.rows(), house.staged()
    promised = house.maintain(dry_run=True)
    assert (house.rows(), house.staged()) == (rows, staged)
    done = house.maintain()
    assert promised.is_dry
    assert promised.removed["plans"] == done.removed["plans"]
    # The plans that went make their artefacts free, and their runs.
    assert promised.removed["artefacts"] <= done.removed["artefacts"]


def test_what_is_removed_is_counted(house: Kept) -> None:
    counted: dict[str, int] = {}

    class Counting(telemetry.NoBackend):
        def increment(self, name: str, n: int, tags: Any) -> None:
            if name == "maintenance.removed":
                counted[tags["what"]] = counted.get(tags["what"], 0) + n

    previous = telemetry.use(Counting())
    try:
        done = house.maintain()
    finally:
        telemetry.use(previous)
    assert counted == dict(done.removed)


def test_when_its_time_is_over_the_next_one_goes_on(house: Kept) -> None:
    house.settings = house.settings.model_copy(update={"maintenance_seconds": 1})
    clock = iter(range(0, 10_000))
    first = house.maintain(now=lambda: float(next(clock)))
    assert not first.is_done
    assert first.removed == {"plans": 2, "generations": 2}
    rest = house.maintain()
    assert rest.is_done
    assert rest.removed["plans"] > 0
    assert house.check().is_sound


def test_young_files_and_plans_stay(house: Kept) -> None:
    house.texts["beta"] = "# beta\n\nNew.\n"
    house.run()
    house.maintain()
    staged = house.staged()
    house.texts["beta"] = "# beta\n\nNewer.\n"
    house.run()
    house.maintain()
    assert staged <= house.staged()


def test_documents_in_quarantine_are_tried_again(house: Kept) -> None:
    house.maintain()
    house.texts["empty"] = "# No longer\n\nThere is a text by now.\n"
    plan = RunRequest(SOURCE, "replayed", approved=True, replay=QuarantineFilter(source=SOURCE))
    ended = finished(make_plan(plan, adapters=house.adapters, settings=house.settings), house)
    assert ended.counts["committed"] == 1


def test_a_lost_row_of_the_graph_is_made_again_from_the_artefacts(house: Kept) -> None:
    house.maintain()
    with house.ledger.snapshot() as snapshot:
        promises = list(snapshot.promises(house.live, after=UUID(int=0), limit=100))
    made = originals.from_artefacts(house.live, promises, house.adapters)
    assert made.keys() == {promise.key for promise in promises}


def test_a_build_copies_what_is_left_and_a_way_back_leads_on(house: Kept) -> None:
    house.maintain()
    adapters = house.adapters
    swapped(made_ungated("again", adapters=adapters), adapters=adapters)
    assert house.check().is_sound
    house.age()
    house.maintain()
    rollback(adapters.ledger.versions.get(1), adapters=adapters, settings=house.settings)
    house.maintain()
    assert house.check().is_sound
    assert house.run().state == "nothing"


def test_a_run_that_failed_is_taken_up_again_where_it_stopped(house: Kept) -> None:
    plan, shards = half_a_run(house)
    house.age()
    house.maintain()
    tools: dict[str, Any] = {"adapters": house.adapters, "settings": house.settings}
    for shard in range(plan.shards):
        assert extract(plan, shard, **tools).documents == shards[shard].documents
        assert embed(plan, shards[shard], **tools).vectors == shards[shard].vectors
        load(plan, shards[shard], **tools)
    publish(plan, **tools)
    assert house.check().is_sound


def test_a_published_run_is_cleared_and_finds_all_of_it_done(house: Kept) -> None:
    house.texts["beta"] = "# beta\n\nChanged at last.\n"
    house.run()
    house.age()
    house.maintain()
    again = make_plan(
        RunRequest(SOURCE, f"run-{house.runs}", approved=True), adapters=house.adapters, settings=house.settings
    )
    assert finished(again, house).counts["committed"] == 1
    assert house.check().is_sound


def test_an_artefact_that_is_staged_again_is_young_again(house: Kept) -> None:
    """A text that is taken back is staged under its old name, which maintenance might be about to remove."""
    staging = house.adapters.staging
    kept = staging.put("chunks", ["another plan"], b"the same rows", rows=1, suffix=".parquet")
    house.age()
    again = staging.put("chunks", ["a newer plan"], b"the same rows", rows=1, suffix=".parquet")
    assert again == kept
    assert not staging.remove_older(kept.path, older_than_seconds=3600)
    house.maintain()
    assert staging.read(again) == b"the same rows"


def test_what_expired_says_so_to_whoever_holds_its_reference(house: Kept) -> None:
    artefact = house.adapters.staging.put("evidence", ["long ago"], b"rows", rows=1, suffix=".parquet")
    house.age()
    house.maintain()
    with pytest.raises(Corrupt, match="maintenance"):
        house.adapters.staging.read(artefact)


def test_bars_and_receipts_of_erasures_outlive_everything(house: Kept) -> None:
    staging = house.adapters.staging
    kept = staging.put("bars", ["an erasure"], b"[]", rows=0, suffix=".json")
    house.age(4000 * 86_400)
    house.maintain()
    assert staging.read(kept) == b"[]"


def half_a_run(house: Kept) -> tuple[PlanReference, list[Any]]:
    house.texts["gamma"] = "# gamma\n\nAnother text of gamma.\n"
    tools: dict[str, Any] = {"adapters": house.adapters, "settings": house.settings}
    plan = make_plan(RunRequest(SOURCE, "half", approved=True), **tools)
    shards = [replace(embed(plan, extract(plan, shard, **tools), **tools)) for shard in range(plan.shards)]
    house.ledger.runs.release(run_id="half", source=SOURCE)
    return plan, shards


def finished(plan: PlanReference, house: Kept) -> Any:
    tools: dict[str, Any] = {"adapters": house.adapters, "settings": house.settings}
    for shard in range(plan.shards):
        load(plan, embed(plan, extract(plan, shard, **tools), **tools), **tools)
    publish(plan, **tools)
    return report(plan, adapters=house.adapters)


def test_a_ledger_that_is_empty_lets_no_artefact_go(house: Kept) -> None:
    staged = house.staged()
    empty_ledger(house.settings).close()
    assert house.maintain().removed == {}
    assert house.staged() == staged
