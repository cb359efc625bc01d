"""F14: the source changes or vanishes while a run reads it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from concordance import fault_points, ids
from concordance.errors import Unavailable
from concordance.ledger import Ledger
from concordance.model import GenerationKey, Listed, RawDocument
from concordance.parsing.parser import Parser
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import PlanReference, Rehearsed, RunReport, RunRequest, ShardReference
from concordance.pipeline.rehearse import rehearse
from concordance.pipeline.report import report
from concordance.settings import Settings
from support import trials
from support.ledgers import connect
from support.shelves import (
    SOURCE,
    assert_agree,
    assert_nothing_left_to_do,
    clean_up,
    pass_leases,
    prepared,
    run_ungated,
)
from support.trials import RecordTrials
from support.watched import PaperShelf, SmallHouse, notes, small_house

SEEDS = trials.seeds(6, full=200)
NAMES = tuple(notes(6))


@dataclass
class MovingShelf(PaperShelf):
    """A shelf on which somebody works while it is listed and read."""

    chance: float = 0.0
    dice: random.Random = field(default_factory=random.Random)

    def list(self, subpath: str = "") -> Iterator[Listed]:
        for listed in super().list(subpath):
            self.move(self.chance)
            yield listed
        if self.dice.random() < self.chance / 2:
            # A mount that goes away ends the listing early, which must not read as "all the others are deleted".
            raise Unavailable("the source went away while it was listed")

    def read(self, uri: str) -> RawDocument:
        self.move(self.chance)
        return super().read(uri)

    def move(self, chance: float) -> None:
        """Somebody writes, takes back or deletes a document."""
        if self.dice.random() < chance:
            uri = self.dice.choice(NAMES)
            if self.dice.random() < 0.4:
                self.documents.pop(uri, None)
            else:
                self.documents[uri] = notes(len(NAMES), edition=self.dice.randrange(3))[uri]


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    return small_house(ledger, stack, parser, staging=tmp_path, shelf=MovingShelf())


def _read_as_an_application(adapters: Adapters) -> None:
    """I5: each current generation is whole in both stores, and no document has two."""
    if adapters.ledger.versions.live() is None:
        return
    with adapters.ledger.snapshot() as snapshot:
        version = snapshot.live()
        committed = list(snapshot.committed(version))
        keys = {GenerationKey(chunk.document_id, chunk.generation) for chunk in committed}
        in_graph = set(adapters.graph.read_back(version, sorted(keys)))
        in_vectors = set(adapters.vectors.read_back(version, [chunk.chunk_id for chunk in committed]))
    assert len({key.document_id for key in keys}) == len(keys), "a document with two generations"
    assert set(committed) <= in_graph & in_vectors, "a current chunk is missing in a store"


def _accounted_for(house: SmallHouse, ended_run: RunReport) -> None:
    """I6: every document that the run discovered has exactly one outcome, every quarantined one a reason."""
    counts = ended_run.counts
    if ended_run.state == "published":
        ended = sum(counts.get(each, 0) for each in ("committed", "quarantined", "superseded", "erased"))
        known = sum(counts.get(each, 0) for each in ("unchanged", "still_quarantined", "postponed"))
        assert counts["discovered"] == ended + known, counts
        assert not counts.get("open"), counts
    with connect(house.adapters.settings) as connection:
        (without,) = connection.execute("SELECT count(*) FROM quarantine WHERE reason IS NULL").fetchone() or (0,)
    assert without == 0


@pytest.mark.timeout(3600)
def test_whatever_moves_in_mid_run_readers_see_whole_documents_and_the_next_quiet_run_has_them_all(
    house: SmallHouse, record_trials: RecordTrials
) -> None:
    adapters, shelf = house.adapters, house.shelf
    assert isinstance(shelf, MovingShelf)

    def somebody_works(point: str) -> None:
        del point
        _read_as_an_application(adapters)
        shelf.move(shelf.chance / 2)

    for seed in SEEDS:
        record_trials("F14", engine="memory stores")
        shelf.dice = random.Random(seed)
        for _ in range(3):
            shelf.move(1.0)
        shelf.chance = shelf.dice.choice([0.05, 0.2, 0.5])
        with fault_points.hooked(somebody_works), suppress(Unavailable):
            _accounted_for(house, run_ungated(f"run-{seed}", adapters=adapters))
        shelf.chance = 0.0
        pass_leases(adapters.settings)
        run_ungated(f"quiet-{seed}", adapters=adapters)
        if shelf.dice.random() < 0.3:
            clean_up(adapters=adapters)
        assert_agree(adapters=adapters, documents=len(shelf.documents))
        assert_nothing_left_to_do(adapters=adapters, run_id=f"quiet-{seed}")


@dataclass
class TrickShelf(PaperShelf):
    """`while_reading` holds what a document is, or that it is not there (None), at the next reading alone."""

    while_reading: dict[str, str | None] = field(default_factory=dict)

    def read(self, uri: str) -> RawDocument:
        if uri not in self.while_reading:
            return super().read(uri)
        before, meanwhile = self.documents.pop(uri), self.while_reading.pop(uri)
        if meanwhile is not None:
            self.documents[uri] = meanwhile
        try:
            return super().read(uri)
        finally:
            self.documents[uri] = before


@pytest.fixture
def tricked(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    """Two notes that are live, and a new one: the first run of all reads some documents more than once."""
    house = small_house(ledger, stack, parser, staging=tmp_path, documents=notes(2), shelf=TrickShelf())
    run_ungated("before", adapters=house.adapters)
    house.shelf.documents["new"] = "# New\n\nAs it was listed.\n"
    return house


def test_an_edit_that_was_read_and_then_taken_back_is_not_swallowed(
    tricked: SmallHouse, record_trials: RecordTrials
) -> None:
    """The listing saw the old text, the reading a new one, and then the old one is there again, with its old stamp."""
    record_trials("F14", engine="memory stores")
    assert isinstance(tricked.shelf, TrickShelf)
    tricked.shelf.while_reading["new"] = "# New\n\nAs it was read.\n"
    run_ungated("first", adapters=tricked.adapters)
    run_ungated("second", adapters=tricked.adapters)
    assert_nothing_left_to_do(adapters=tricked.adapters, run_id="second")


@pytest.mark.parametrize("meanwhile", [None, ""], ids=["not there", "empty"])
def test_a_document_that_could_not_be_read_is_there_once_it_can_be_under_the_same_stamp(
    tricked: SmallHouse, meanwhile: str | None, record_trials: RecordTrials
) -> None:
    record_trials("F14", engine="memory stores")
    assert isinstance(tricked.shelf, TrickShelf)
    tricked.shelf.while_reading["new"] = meanwhile
    assert run_ungated("first", adapters=tricked.adapters).counts["quarantined"] == 1
    assert run_ungated("second", adapters=tricked.adapters).counts["committed"] == 1
    assert_agree(adapters=tricked.adapters, documents=3)
    assert_nothing_left_to_do(adapters=tricked.adapters, run_id="second")


class Died(Exception):
    """What a struck attempt ends with."""


@contextmanager
def _at_point(number: int, work: Callable[[], None]) -> Iterator[list[str]]:
    """Do `work` at this of the points that the block passes in the staging area, and at no other; gives their names."""
    passed: list[str] = []

    def hook(point: str) -> None:
        if point.startswith(("artefact.put", "reference.put")):
            passed.append(point)
            if len(passed) == number + 1:
                with fault_points.hooked(lambda _: None):
                    work()

    with fault_points.hooked(hook):
        yield passed


def _die() -> None:
    raise Died


# Before and after content and reference of documents and chunks.
_POINTS = range(8)


@dataclass
class EditedShelf(PaperShelf):
    """Its one document says which edition it is."""

    edition: int = 0

    def edit(self) -> None:
        self.edition += 1
        self.documents["new"] = f"# New\n\nThis is edition {self.edition} of it.\n"


@pytest.fixture
def edited(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    house = small_house(ledger, stack, parser, staging=tmp_path, shelf=EditedShelf())
    _edit(house)
    run_ungated("before", adapters=house.adapters)
    return house


def _edit(house: SmallHouse) -> None:
    assert isinstance(house.shelf, EditedShelf)
    house.shelf.edit()


def _planned(house: SmallHouse, run_id: str, *, dry_run: bool = False) -> PlanReference:
    """An edit, and a plan that has seen it."""
    _edit(house)
    request = RunRequest(SOURCE, run_id, approved=True, dry_run=dry_run)
    return make_plan(request, adapters=house.adapters, settings=house.adapters.settings)


def _extracted(house: SmallHouse, plan: PlanReference) -> ShardReference:
    staged = extract(plan, 0, adapters=house.adapters, settings=house.adapters.settings)
    return replace(staged, seconds=ShardReference(0, staged.documents, staged.chunks).seconds)


def _assert_of_one_reading(house: SmallHouse, staged: ShardReference | Rehearsed, story: str) -> None:
    """The stamp of the document is that of the text which its chunks say."""
    (document,), (chunk,) = (
        tables.from_parquet(house.adapters.staging.read(artefact)).to_pylist()
        for artefact in (staged.documents, staged.chunks)
    )
    body = chunk["text"].partition("\n\n")[2]
    assert document["stamp"] == ids.text_digest(f"# New\n\n{body}\n"), story


@pytest.mark.parametrize("point", _POINTS)
def test_an_edit_after_an_attempt_died_while_it_staged_is_loaded_with_its_own_text(
    edited: SmallHouse, point: int, record_trials: RecordTrials
) -> None:
    """The next attempt reads anew: what it finds of the first one must not stand under the stamp of its own reading."""
    record_trials("F14", engine="memory stores, an attempt dies")
    adapters = edited.adapters
    tools: dict[str, Any] = {"adapters": adapters, "settings": adapters.settings}
    plan = _planned(edited, "run")
    with _at_point(point, _die), pytest.raises(Died):
        extract(plan, 0, **tools)
    _edit(edited)
    for shard in prepared(plan, adapters=adapters):
        _assert_of_one_reading(edited, shard, f"struck at {point}")
        load(plan, shard, **tools)
    publish(plan, **tools)
    report(plan, adapters=adapters)
    run_ungated("next", adapters=adapters)
    assert_agree(adapters=adapters, documents=1)
    with adapters.ledger.snapshot() as snapshot:
        version = snapshot.live()
        (chunk,) = snapshot.committed(version)
    (row,) = adapters.graph.chunk_rows(version, [GenerationKey(chunk.document_id, chunk.generation)])
    assert row.text.endswith(edited.shelf.documents["new"].partition("\n\n")[2].strip())
    assert_nothing_left_to_do(adapters=adapters, run_id="next")


def test_two_attempts_that_read_different_editions_end_with_one_of_them_whole(
    edited: SmallHouse, record_trials: RecordTrials
) -> None:
    """While the first one stages, the source is edited, and another one stages what it reads: to its end, or until it
    dies as well. A third one finds what the first went on with."""
    for point in _POINTS:
        for other in (*_POINTS, None):
            record_trials("F14", engine="memory stores, two attempts at once")
            plan = _planned(edited, f"run-{point}-{other}")
            seconds: list[ShardReference] = []

            def another(other: int | None = other, plan: PlanReference = plan, ended: list[Any] = seconds) -> None:
                _edit(edited)
                with _at_point(-1 if other is None else other, _die), suppress(Died):
                    ended.append(_extracted(edited, plan))

            with _at_point(point, another) as passed:
                first = _extracted(edited, plan)
            story = f"the other came at {passed[point]} ({point}) and died at {other}"
            _edit(edited)
            assert first == _extracted(edited, plan), story
            assert seconds in ([], [first]), story
            _assert_of_one_reading(edited, first, story)
            report(plan, adapters=edited.adapters)
            pass_leases(edited.adapters.settings)


@pytest.mark.parametrize("point", _POINTS)
def test_an_exact_plan_that_died_while_it_staged_is_of_one_reading_after_an_edit(
    edited: SmallHouse, point: int, record_trials: RecordTrials
) -> None:
    record_trials("F14", engine="memory stores, an attempt dies")
    tools: dict[str, Any] = {"adapters": edited.adapters, "settings": edited.adapters.settings}
    plan = _planned(edited, "plan", dry_run=True)
    with _at_point(point, _die), pytest.raises(Died):
        rehearse(plan, **tools)
    _edit(edited)
    (kept,) = rehearse(plan, **tools).rehearsed
    _assert_of_one_reading(edited, kept, f"struck at {point}")
    report(plan, adapters=edited.adapters)
