"""The counters of a run are its report's figures in the ledger, whatever is repeated and wherever an attempt dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from concordance import fault_points
from concordance.errors import GateFailed, PoisonDocument, Unavailable
from concordance.ledger import Ledger
from concordance.model import Entity, EntityType, GraphBatch, IndexVersion, RawDocument, Reason, Relation, RelationKind
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.report import report
from concordance.pipeline.run import ingest
from concordance.settings import Settings
from concordance.stores.memory import MemoryGraph
from simulation.world import SOURCE, Killed, Shelf
from support.kept_metrics import KeptMetrics, kept_metrics
from support.small_house import SmallHouse

ARSENIC = "arsenic"
STONE, RIVER = (Entity(EntityType.TERM, name) for name in ("Stone", "River"))
# By the counter: what the report calls it.
REPORTED = {
    **{f"documents.{name}": name for name in ("added", "changed", "unchanged", "committed", "deleted", "erased")},
    "documents.superseded": "superseded",
    "documents.quarantined": "quarantined",
    **{f"{name}.written": name for name in ("entities", "relations", "mentions", "links")},
    "chunks.written": "written",
    "chunks.embedded": "embedded",
    "chunks.reused": "reused",
}


class NamedShelf(Shelf):
    """Its documents mention two things, which the longer ones relate to each other."""

    def names(self) -> Iterator[Entity]:
        yield from (STONE, RIVER)

    def read(self, uri: str) -> RawDocument:
        raw = super().read(uri)
        relations = (Relation(RelationKind.REQUIRES, STONE, RIVER),) if len(raw.content) > 60 else ()
        return replace(raw, relations=relations)


class PickyGraph(MemoryGraph):
    """Refuses documents with arsenic in them."""

    def write(self, version: IndexVersion, batch: GraphBatch, *, timeout_seconds: float) -> None:
        if any(ARSENIC in chunk.text for chunk in batch.chunks):
            raise PoisonDocument("arsenic", reason=Reason.STORE_REFUSED)
        super().write(version, batch, timeout_seconds=timeout_seconds)


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    """Three documents that were ingested; since then one is new, one edited, one renamed, and two cannot pass."""
    house = SmallHouse(ledger, stack, staging=tmp_path, parser=parser)
    house.shelf, house.graph = NamedShelf(house.texts), PickyGraph()
    house.settings = house.settings.model_copy(update={"max_shards": 2, "shard_bytes": 200, "batch_chunks": 1})
    house.texts.update(
        alpha="# Alpha\n\nA Stone in the River.\n",
        beta="# Beta\n\nOne cloud, see [alpha](/alpha) and [nobody](/nobody).\n",
        gamma="# Gamma\n\nA willow stands by the river, and nobody asks it why.\n",
        delta="# Delta\n\nNothing happens here.\n",
    )
    assert house.run().counts["committed"] == 4
    house.texts.update(
        alpha="# Alpha\n\nA Stone in the River, edited, and then edited once more for good measure.\n\nA Stone.\n",
        epsilon=house.texts["gamma"],
        empty="   \n",
        poisoned=f"# Poison\n\nA cup of {ARSENIC}.\n",
    )
    del house.texts["gamma"]
    return house


def attempt(house: SmallHouse, *, times: int = 1, run_id: str = "counted") -> RunReport:
    """All stages of one run, without the gates, each so many times in a row, as if its task were repeated."""
    tools: dict[str, Any] = {"adapters": house.adapters, "settings": house.settings}

    def done(stage: Callable[..., Any], *given: Any) -> Any:
        return [stage(*given, **tools) for _ in range(times)][-1]

    plan = done(make_plan, RunRequest(SOURCE, run_id, approved=True))
    shards = [done(extract, plan, shard) for shard in range(plan.shards)]
    shards = [done(load, plan, done(embed, plan, shard)) for shard in shards]
    done(publish, plan)
    return [report(plan, shards, adapters=house.adapters) for _ in range(times)][-1]


def assert_told(kept: KeptMetrics, house: SmallHouse, run_id: str = "counted") -> None:
    """Every counter is what the ledger keeps as the run's report."""
    row = house.ledger.runs.report(run_id)
    assert row is not None
    counts = row["report"]["counts"]
    assert {name: kept.total(name) for name in REPORTED} == {name: counts.get(key, 0) for name, key in REPORTED.items()}
    assert all(dict(tags)["source"] == SOURCE for name in REPORTED for tags in kept.of(name))


def test_what_a_run_did_is_counted_as_its_report_says(house: SmallHouse) -> None:
    with kept_metrics() as kept:
        attempt(house)
    assert_told(kept, house)
    assert kept.total("documents.added") == 3
    assert kept.total("documents.committed") == 2
    assert kept.total("documents.deleted") == 1
    assert kept.total("documents.unchanged") == 2
    reasons = {dict(tags)["reason"]: n for tags, n in kept.of("documents.quarantined").items()}
    assert reasons == {"no_text": 1, "store_refused": 1}
    for name in ("chunks.reused", "chunks.embedded", "entities.written", "relations.written", "mentions.written"):
        assert kept.total(name) > 0, name


def test_links_are_counted_with_the_documents_that_have_them(house: SmallHouse) -> None:
    house.texts["beta"] += "\nMore of it.\n"
    with kept_metrics() as kept:
        attempt(house)
    assert_told(kept, house)
    assert kept.total("links.written") == 2


def test_a_stage_that_is_done_twice_counts_once(house: SmallHouse) -> None:
    with kept_metrics() as kept:
        attempt(house, times=2)
    assert_told(kept, house)


@pytest.mark.parametrize("effect", ["artefact.put", "plan.quarantine", "batch.verified", "run.publish", "run.finish"])
def test_an_attempt_that_dies_after_what_it_did_leaves_the_telling_to_the_next_one(
    house: SmallHouse, effect: str
) -> None:
    with kept_metrics() as kept:
        deaths = _until_none_dies(house, f"{effect}.after")
    assert deaths >= 1
    assert_told(kept, house)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_attempt_may_die_around_each_of_its_countings(house: SmallHouse, moment: str) -> None:
    with kept_metrics() as kept:
        deaths = _until_none_dies(house, f"plan.count.{moment}")
    assert deaths >= 4
    assert_told(kept, house)


def _until_none_dies(house: SmallHouse, point: str) -> int:
    """Attempts of one run, of which each dies where it passes the point one time later than the one before; the last
    one comes to its end. How many died."""
    for number in range(100):
        passed = 0

        def die(reached: str, last: int = number) -> None:
            nonlocal passed
            if reached == point:
                passed += 1
                if passed > last:
                    raise Killed

        try:
            with fault_points.hooked(die):
                attempt(house)
        except Killed:
            house.wait(house.settings.lease_seconds + 1)
            continue
        return number
    raise AssertionError("no attempt came to its end")


def test_what_the_ledger_did_not_let_a_stage_tell_is_told_by_the_report(house: SmallHouse) -> None:
    left = 3

    def refuse(point: str) -> None:
        nonlocal left
        if point == "plan.count.before" and left:
            left -= 1
            raise Unavailable("the ledger is away for a moment")

    with kept_metrics() as kept, fault_points.hooked(refuse):
        attempt(house)
    assert left == 0
    assert_told(kept, house)


def test_a_dry_run_has_done_nothing(house: SmallHouse) -> None:
    tools: dict[str, Any] = {"adapters": house.adapters, "settings": house.settings}
    with kept_metrics() as kept:
        plan = make_plan(RunRequest(SOURCE, "dry", dry_run=True), **tools)
        assert plan.counts["deleted"] == 1
        report(plan, adapters=house.adapters)
    assert not kept.counters


def test_a_plan_that_waits_for_a_person_is_counted_once_and_its_documents_are_not(house: SmallHouse) -> None:
    house.settings = house.settings.model_copy(update={"max_delete_fraction": 0.1})
    tools: dict[str, Any] = {"adapters": house.adapters, "settings": house.settings}
    with kept_metrics() as kept:
        for _ in range(2):
            plan = make_plan(RunRequest(SOURCE, "unusual"), **tools)
            assert plan.needs_approval
            report(plan, adapters=house.adapters)
    assert dict(kept.counters) == {("run.waiting", (("source", SOURCE),)): 1}


def test_a_run_without_changes_counts_what_it_left_alone(house: SmallHouse) -> None:
    attempt(house, run_id="before")
    with kept_metrics() as kept:
        tools: dict[str, Any] = {"adapters": house.adapters, "settings": house.settings}
        for _ in range(2):
            report(make_plan(RunRequest(SOURCE, "nothing"), **tools), adapters=house.adapters)
    assert dict(kept.counters) == {("documents.unchanged", (("source", SOURCE),)): 4}


def test_a_whole_run_reports_its_stages_its_stores_and_its_process(house: SmallHouse) -> None:
    adapters: Adapters = house.adapters
    with kept_metrics() as kept:
        ingest(RunRequest(SOURCE, "counted", approved=True), adapters=adapters, settings=house.settings)
    assert_told(kept, house)
    stages = {"plan", "extract", "check_documents", "embed", "check_chunks", "load", "check_stores", "publish"}
    assert {dict(tags)["stage"] for tags in kept.of("stage.finished")} == stages
    assert not kept.of("stage.failed")
    assert not kept.of("stage.retried")
    assert {dict(tags)["stage"] for (name, tags) in kept.gauges if name == "process.memory_bytes"} == stages
    assert {dict(tags)["store"]: n > 0 for tags, n in kept.of("store.rows").items()} == {"graph": True, "vectors": True}
    for store in ("graph", "vectors"):
        wrote = [tags for name, tags in kept.timed if name == "store.write" and dict(tags)["store"] == store]
        assert len(wrote) >= kept.of("store.batches")[("store", store),] > 0
        assert ("store.read_back", (("store", store),)) in kept.timed
    assert ("embed.encoding", (("source", SOURCE),)) in kept.timed


def test_what_a_run_rejected_that_a_gate_stops_is_counted(house: SmallHouse) -> None:
    house.settings = house.settings.model_copy(
        update={"max_quarantined_fraction": 0.0, "tolerated_quarantined_documents": 0}
    )
    with kept_metrics() as kept, pytest.raises(GateFailed):
        ingest(RunRequest(SOURCE, "stopped", approved=True), adapters=house.adapters, settings=house.settings)
    assert kept.of("documents.quarantined") == {(("reason", "no_text"), ("source", SOURCE)): 1}
    assert not kept.total("documents.committed")
