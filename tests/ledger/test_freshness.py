"""How far a source is searchable, and how long its changes took, on a real ledger with memory stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from concordance.errors import Misconfigured
from concordance.ledger import Ledger
from concordance.ledger.freshness import ChangeLag, SourceState
from concordance.model import Listed, QuarantineFilter
from concordance.parsing.parser import Parser
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import PlanReference, RunReport, RunRequest
from concordance.pipeline.report import report
from concordance.reindex.swap import rollback
from concordance.settings import Settings
from simulation.world import SOURCE, Shelf
from support.index_rows import index_version
from support.rebuilding import made_ungated, swapped
from support.small_house import SmallHouse

HOUR = 3600


@dataclass
class DatedShelf(Shelf):
    """A source that tells when its documents changed, of those that are in `times`."""

    times: dict[str, datetime] = field(default_factory=dict)

    def list(self, subpath: str = "") -> Iterator[Listed]:
        for listed in super().list(subpath):
            yield Listed(listed.uri, listed.stamp, listed.size_bytes, self.times.get(listed.uri))


class Dated(SmallHouse):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.shelf: DatedShelf = DatedShelf()
        self.texts = self.shelf.documents

    @property
    def state(self) -> SourceState:
        (found,) = [state for state in self.ledger.freshness.states() if state.source == SOURCE]
        return found

    @property
    def lag(self) -> ChangeLag | None:
        return self.ledger.freshness.lag(SOURCE, window_seconds=24 * HOUR, max_documents=1000)

    def write(self, uri: str, words: str, *, ago: float | None = None) -> None:
        """The document says this since so many seconds, if the source tells."""
        self.texts[uri] = f"# {uri}\n\n{words}\n"
        self.shelf.times.pop(uri, None)
        if ago is not None:
            self.shelf.times[uri] = datetime.now(UTC) - timedelta(seconds=ago)

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        for uri, at in self.shelf.times.items():
            self.shelf.times[uri] = at - timedelta(seconds=seconds)

    def planned(self, name: str, **asked: Any) -> PlanReference:
        return make_plan(
            RunRequest(SOURCE, name, approved=True, **asked), adapters=self.adapters, settings=self.settings
        )

    def finished(self, plan: PlanReference) -> RunReport:
        tools: dict[str, Any] = {"adapters": self.adapters, "settings": self.settings}
        if plan.goes_on:
            for shard in range(plan.shards):
                load(plan, embed(plan, extract(plan, shard, **tools), **tools), **tools)
            publish(plan, **tools)
        return report(plan, adapters=self.adapters)


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> Dated:
    """Two documents, searchable since an hour."""
    house = Dated(ledger, stack, staging=tmp_path, parser=parser)
    house.write("alpha", "The river.", ago=90 * 24 * HOUR)
    house.write("beta", "The stone.", ago=90 * 24 * HOUR)
    house.run()
    house.wait(HOUR)
    return house


def about(seconds: float) -> Any:
    """Within what a test takes."""
    return pytest.approx(seconds, abs=120)


def test_a_source_grows_stale_until_a_run_has_seen_all_of_it(house: Dated) -> None:
    assert house.state.age_seconds == about(HOUR)
    house.write("alpha", "The river rose.")
    house.run()
    assert house.state.age_seconds == about(0)


def test_a_run_with_nothing_to_do_makes_a_source_fresh(house: Dated) -> None:
    assert house.run().state == "nothing"
    assert house.state.age_seconds == about(0)


def test_what_saw_a_part_of_the_source_does_not_make_it_fresh(house: Dated) -> None:
    house.write("alpha", "The river rose.")
    house.write("gamma/one", "A cloud.")
    house.finished(house.planned("part", subpath="gamma"))
    house.finished(house.planned("some", max_documents=1))
    house.finished(house.planned("replay", replay=QuarantineFilter(source=SOURCE)))
    house.planned("dry", dry_run=True)
    assert house.state.age_seconds == about(HOUR)


def test_a_run_that_did_not_come_to_its_end_does_not_make_it_fresh(house: Dated) -> None:
    house.write("alpha", "The river rose.")
    plan = house.planned("stuck")
    assert plan.goes_on
    assert house.state.age_seconds == about(HOUR)


def test_a_document_in_quarantine_does_not_keep_the_source_stale(house: Dated) -> None:
    house.texts["empty"] = "\n"
    assert house.run().counts["quarantined"] == 1
    assert house.state.age_seconds == about(0)


def test_a_document_that_was_left_to_a_newer_plan_waits_for_that(house: Dated) -> None:
    house.write("gamma/one", "A cloud.")
    wide = house.planned("wide")
    house.ledger.runs.release(run_id="wide", source=SOURCE)
    # The part of it overtakes, and comes to no end either.
    house.write("gamma/one", "Two clouds.")
    house.planned("narrow", subpath="gamma")
    house.ledger.runs.release(run_id="narrow", source=SOURCE)
    house.finished(wide)
    assert house.state.age_seconds == about(HOUR)
    house.run()
    assert house.state.age_seconds == about(0)


def test_a_source_that_was_never_searchable_counts_from_its_declaration(house: Dated) -> None:
    house.ledger.freshness.declare({"nobody ran it": "acme", SOURCE: "acme"})
    states = {state.source: state for state in house.ledger.freshness.states()}
    assert states["nobody ran it"].searchable_at is None
    assert states["nobody ran it"].age_seconds == about(0)
    assert states[SOURCE].searchable_at is not None


def test_a_new_index_version_is_as_fresh_as_the_old_one_and_a_way_back_as_old_as_it_was(house: Dated) -> None:
    house.adapters.ledger.versions.all()
    swapped(made_ungated("again", adapters=house.adapters), adapters=house.adapters)
    assert house.state.age_seconds == about(HOUR)
    house.wait(HOUR)
    house.run()
    assert house.state.age_seconds == about(0)
    rollback(house.ledger.versions.get(1), adapters=house.adapters, settings=house.settings)
    # What the other version has seen since is not searchable in this one.
    assert house.state.age_seconds == about(2 * HOUR)
    house.run()
    assert house.state.age_seconds == about(0)


def test_a_first_load_is_no_change(house: Dated) -> None:
    assert house.lag is None


def test_a_change_is_dated_by_what_the_source_tells(house: Dated) -> None:
    house.write("alpha", "The river rose.", ago=600)
    house.write("beta", "The stone fell.", ago=1800)
    house.run()
    assert house.lag is not None
    assert house.lag.documents == 2
    assert house.lag.seconds["p50"] == about(1200)
    assert house.lag.seconds["p99"] == about(1800)


def test_where_the_source_tells_nothing_the_listing_that_showed_it_counts(house: Dated) -> None:
    house.write("alpha", "The river rose.")
    plan = house.planned("slow")
    house.wait(900)
    house.finished(plan)
    assert house.lag is not None
    assert house.lag.seconds["p50"] == about(900)


def test_a_restored_file_has_not_been_new_for_months(house: Dated) -> None:
    """It has an old time, and was not there when the source was listed an hour ago."""
    house.write("gamma/one", "From the attic.", ago=80 * 24 * HOUR)
    house.run()
    assert house.lag is not None
    assert house.lag.seconds["p50"] == about(HOUR)


def test_a_file_from_the_future_is_as_new_as_its_listing(house: Dated) -> None:
    house.write("alpha", "The river will rise.", ago=-80 * 24 * HOUR)
    house.run()
    assert house.lag is not None
    assert house.lag.seconds["p50"] == about(0)


def test_what_a_run_took_up_in_vain_keeps_its_time(house: Dated) -> None:
    house.write("alpha", "The river rose.", ago=600)
    house.planned("in vain")
    house.ledger.runs.release(run_id="in vain", source=SOURCE)
    house.wait(HOUR)
    house.run()
    assert house.lag is not None
    assert house.lag.seconds["p50"] == about(HOUR + 600)


def test_a_first_load_that_needed_a_second_run_is_no_change(
    ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser
) -> None:
    house = Dated(ledger, stack, staging=tmp_path / "second", parser=parser)
    house.write("alpha", "The river.", ago=600)
    house.planned("in vain")
    house.ledger.runs.release(run_id="in vain", source=SOURCE)
    house.run()
    assert house.lag is None


def test_a_build_changes_nothing_in_the_source(house: Dated) -> None:
    swapped(made_ungated("again", adapters=house.adapters, chunk_max_tokens=60), adapters=house.adapters)
    assert house.lag is None


def test_a_tenant_may_be_corrected_until_something_was_ingested_for_it(ledger: Ledger) -> None:
    opened: dict[str, Any] = {"run_id": "r", "source": "manuals", "request": {}}
    version = ledger.versions.make_first_live(ledger.versions.create(index_version(1).settings, {"names": []}))
    ledger.freshness.declare({"manuals": "acm"})
    ledger.runs.open(tenant="acme", **opened)
    ledger.freshness.declare({"manuals": "acmee"})
    ledger.runs.open(tenant="acme", **opened)
    ledger.plans.draw(run_id="r", source="manuals", scope="", version=version)
    ledger.freshness.declare({"manuals": "other"})
    with pytest.raises(Misconfigured, match="for tenant 'other' and was ingested for 'acme'"):
        ledger.runs.open(tenant="other", **opened)
    ledger.runs.open(tenant="acme", **opened)
