"""Documents that are read and parsed ahead: the same rows to the byte, whatever is refused, and nothing that stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from concordance.errors import Unavailable
from concordance.ledger import Ledger
from concordance.model import PlanEntry, RawDocument
from concordance.operations import correlation
from concordance.parsing.parser import Parser
from concordance.pipeline import tables
from concordance.pipeline.extract import Extracted, extract_shard
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import PlanReference, RunRequest
from concordance.settings import Settings, load_settings
from support.shelves import SOURCE
from support.watched import PaperShelf, SmallHouse, notes, small_house

IN_TURN = {"read_ahead_documents": 0}
AHEAD = {"read_ahead_documents": 5, "parser_processes": 3}
BAD = {"note-3": "\n\n---\n\n", "note-17": ""}


class TalkingShelf(PaperShelf):
    """Remembers who read what, and with which id; one document may be out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.read_by: dict[str, tuple[str, str]] = {}
        self.away = ""

    def read(self, uri: str) -> RawDocument:
        self.read_by[uri] = (threading.current_thread().name, str(correlation.carried().fields.get("document_id")))
        if uri == self.away:
            raise Unavailable("the source does not answer")
        return super().read(uri)


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parser]:
    with Parser(load_settings({"parser_processes": 3}, environment={})) as parser:
        yield parser


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parsers: Parser) -> SmallHouse:
    documents = {**notes(40), **BAD}
    return small_house(ledger, stack, parsers, staging=tmp_path, documents=documents, shelf=TalkingShelf())


def _planned(house: SmallHouse) -> tuple[PlanReference, dict[str, Any]]:
    tools: dict[str, Any] = {"adapters": house.adapters, "settings": house.adapters.settings}
    return make_plan(RunRequest(SOURCE, "run-1", approved=True), **tools), tools


def _extracted(house: SmallHouse, plan: PlanReference, **overrides: int) -> Extracted:
    settings = house.adapters.settings.model_copy(update=overrides)
    version = house.adapters.ledger.versions.get(plan.index_version)
    return extract_shard(plan, 0, version, adapters=house.adapters, settings=settings, renew=lambda: None)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_what_is_extracted_is_the_same_to_the_byte_whatever_is_read_ahead(house: SmallHouse) -> None:
    plan, _ = _planned(house)
    in_turn, beside = _extracted(house, plan, **IN_TURN), _extracted(house, plan, **AHEAD)
    assert beside == in_turn
    assert len(beside.documents) == 40 - len(BAD)
    assert len(beside.rejections) == len(BAD)
    assert tables.to_parquet(beside.chunks, tables.CHUNKS) == tables.to_parquet(in_turn.chunks, tables.CHUNKS)


def test_documents_are_read_in_threads_of_the_stage_that_carry_its_ids_and_end_with_it(house: SmallHouse) -> None:
    plan, _ = _planned(house)
    shelf = house.shelf
    assert isinstance(shelf, TalkingShelf)
    _extracted(house, plan, **AHEAD)
    readers = {thread for thread, _ in shelf.read_by.values()}
    assert readers
    assert all(name.startswith("ahead") for name in readers)
    entries: list[PlanEntry] = tables.plan_entries(house.adapters.staging.read(plan.entries), shard=0)
    assert {uri: document for uri, (_, document) in shelf.read_by.items()} == {
        entry.uri: str(entry.document_id) for entry in entries
    }
    assert _threads() == []


@pytest.mark.parametrize("overrides", [IN_TURN, AHEAD])
def test_a_source_that_goes_away_stops_the_stage_and_no_thread_goes_on(
    house: SmallHouse, overrides: dict[str, int]
) -> None:
    plan, _ = _planned(house)
    shelf = house.shelf
    assert isinstance(shelf, TalkingShelf)
    shelf.away = "note-20"
    with pytest.raises(Unavailable, match="does not answer"):
        _extracted(house, plan, **overrides)
    assert _threads() == []
    shelf.away = ""
    assert len(_extracted(house, plan, **overrides).documents) == 40 - len(BAD)


def test_one_caller_has_one_process_and_threads_no_more_than_are_allowed_and_all_end_with_the_parser() -> None:
    document = RawDocument("a.md", b"# A\n\nSome words.\n", media_type="text/markdown")
    before = {child.pid for child in psutil.Process().children()}
    with Parser(load_settings({"parser_processes": 2}, environment={})) as parser:
        for _ in range(3):
            parser.parse(document)
        (first,) = {child.pid for child in psutil.Process().children()} - before
        assert parser.child_pids == (first,)
        meeting = threading.Barrier(2, timeout=60)

        def parse() -> None:
            meeting.wait()
            for _ in range(20):
                parser.parse(document)

        threads = [threading.Thread(target=parse) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len({child.pid for child in psutil.Process().children()} - before) <= 2
    assert {child.pid for child in psutil.Process().children()} == before
