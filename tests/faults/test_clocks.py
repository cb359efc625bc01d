"""F18: the worker's clock jumps, stands in another century or another zone. Digests are the same, and leases are judged
by the ledger's clock alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from concordance import fault_points
from concordance.errors import Conflict, Leased
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import RunRequest
from concordance.settings import Settings
from support import trials
from support.corpus_digests import digests
from support.ledgers import connect, empty_ledger, move_clock
from support.shelves import (
    SOURCE,
    assert_agree,
    assert_nothing_left_to_do,
    make_shelf,
    pass_leases,
    prepared,
    run_ungated,
)
from support.trials import RecordTrials
from support.watched import SmallHouse, notes, small_house

# The night on which Berlin's clocks go back: 02:30 comes twice.
_DST = datetime(2026, 10, 25, 0, 59, 30, tzinfo=UTC)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
# Where the worker's clock stands, and by how much it jumps at every third fault point.
CLOCKS: dict[str, tuple[datetime, timedelta]] = {
    "right": (NOW, timedelta()),
    "24 h forward in mid-run": (NOW, timedelta(hours=24)),
    "1 h backward in mid-run": (NOW, timedelta(hours=-1)),
    "the night when summer time ends": (_DST, timedelta(minutes=10)),
    "1970": (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), timedelta()),
    "across 2038": (datetime(2038, 1, 19, 3, 14, 5, tzinfo=UTC), timedelta(seconds=2)),
}
WRONG = [name for name in CLOCKS if name != "right"]
ZONES = ("UTC", "Europe/Berlin", "Pacific/Kiritimati")


@contextmanager
def zone(name: str) -> Iterator[None]:
    """The process's time zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@contextmanager
def clock(start: datetime, jump: timedelta) -> Iterator[None]:
    """The wall clock of this process, jumping at every third fault point. Monotonic clocks go on, as they do."""
    passed = 0
    with time_machine.travel(start, tick=True) as travelling:

        def hook(point: str) -> None:
            nonlocal passed
            del point
            passed += 1
            if jump and passed % 3 == 0:
                travelling.shift(jump)

        with fault_points.hooked(hook):
            yield


@pytest.mark.timeout(600)
def test_whatever_the_worker_takes_for_the_time_its_digests_are_the_same(
    ledger: Ledger, stack: Settings, parser: Parser, tmp_path: Path, record_trials: RecordTrials
) -> None:
    del ledger
    found: dict[tuple[str, str], Any] = {}
    for place in ZONES if trials.is_full() else ZONES[1:2]:
        for name, (start, jump) in CLOCKS.items():
            record_trials("F18", engine="memory stores")
            opened = empty_ledger(stack)
            folder = tmp_path / f"{place} {name}".replace("/", " ")
            house = small_house(opened, stack, parser, staging=folder, documents=notes(4))
            with zone(place), clock(start, jump):
                run_ungated("first", adapters=house.adapters)
                house.shelf.documents.update(notes(2, edition=1))
                run_ungated("second", adapters=house.adapters)
                assert_agree(adapters=house.adapters, documents=4)
                assert_nothing_left_to_do(adapters=house.adapters, run_id="second")
            staged = sorted(path.name for path in (folder / "vectors").glob("*.parquet"))
            found[place, name] = (digests(stack), staged)
            opened.close()
    first = next(iter(found.values()))
    assert all(each == first for each in found.values()), [name for name, each in found.items() if each != first]


@pytest.mark.parametrize("name", WRONG if trials.is_full() else WRONG[:2])
def test_a_lease_is_judged_by_the_ledgers_clock_alone(
    ledger: Ledger, stack: Settings, parser: Parser, tmp_path: Path, name: str, record_trials: RecordTrials
) -> None:
    record_trials("F18", engine="memory stores")
    start, jump = CLOCKS[name]
    house = small_house(ledger, stack, parser, staging=tmp_path, documents=notes(3))
    adapters, settings = house.adapters, house.adapters.settings
    with clock(start, jump):
        plan = make_plan(RunRequest(SOURCE, "run"), adapters=adapters, settings=settings)
        (shard,) = prepared(plan, adapters=adapters)
        until = _lease_of_the_source(settings)
        assert settings.source_lease_seconds - 60 < until <= settings.source_lease_seconds
        # However late the worker thinks it is, the source is still somebody's.
        with pytest.raises(Leased):
            make_plan(RunRequest(SOURCE, "other"), adapters=adapters, settings=settings)
        taken_over = _begin_and_lose_the_lease(house, lambda: load(plan, shard, adapters=adapters, settings=settings))
        assert isinstance(taken_over, Conflict), taken_over
        load(plan, shard, adapters=adapters, settings=settings)
        # And however early: by the ledger's clock every lease has ended.
        pass_leases(settings)
        make_plan(RunRequest(SOURCE, "other"), adapters=adapters, settings=settings)


def _lease_of_the_source(settings: Settings) -> float:
    """Seconds that it still runs, by the ledger's clock."""
    with connect(settings) as connection:
        (left,) = connection.execute(
            "SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 FROM sources"
        ).fetchone() or (0.0,)
    return float(left)  # type: ignore[arg-type]


def _begin_and_lose_the_lease(house: SmallHouse, attempt: Callable[[], object]) -> BaseException | None:
    """An attempt stands still in its batch until the ledger's clock has ended its lease, and another one is done."""
    settings = house.adapters.settings
    done = False

    def another(point: str) -> None:
        nonlocal done
        if point == "vectors.upsert.after" and not done:
            done = True
            move_clock(settings, settings.lease_seconds + 1)
            attempt()

    try:
        with fault_points.hooked(another):
            attempt()
    except Conflict as conflict:
        return conflict
    return None


@pytest.mark.parametrize("year", [1970, 2038, 2106] if trials.is_full() else [2038])
def test_files_of_any_age_are_listed_and_an_edit_that_set_the_clock_back_is_seen(
    ledger: Ledger, stack: Settings, parser: Parser, tmp_path: Path, year: int, record_trials: RecordTrials
) -> None:
    del ledger
    record_trials("F18", engine="embedded")
    shelf = make_shelf(stack, tmp_path, documents=3)
    stamp = datetime(year, 2, 1, tzinfo=UTC).timestamp()
    for path in shelf.notes.iterdir():
        os.utime(path, (stamp, stamp))
    with shelf.adapters(parser) as adapters:
        assert run_ungated("first", adapters=adapters).counts["committed"] == 3
        shelf.write(0, edition=1)
        # As old as nothing else on the shelf, and older than its own last edition.
        os.utime(shelf.notes / "note-0.md", (1, 1))
        assert run_ungated("second", adapters=adapters).counts["committed"] == 1
        assert_agree(adapters=adapters, documents=3)
        assert_nothing_left_to_do(adapters=adapters, run_id="second")
