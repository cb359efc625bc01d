"""H11: entities with names of any length, of nothing, of marks alone; and more of them than anybody reads."""

from __future__ import annotations

from concordance import ids
from concordance.model import Reason
from support.hostile import GOOD_DOCUMENTS, Batch, NamingShelf
from support.shelves import assert_nothing_left_to_do

STORED = ("n" * 10_000, "m" * 1_000_000, "!!!", "\u2014", "C++", "O'Neil")
NOTHING = ("", "   ", "\x00", "\u200b", "\u202e\u202c", "\ud800", "\n")
SPELLINGS = ("Ada\x00 Lovelace", "Ada \ud800Lovelace", "ADA\u200b LOVELACE", "\u202eAda Lovelace")


def key(name: str) -> str:
    return ids.entity_key(tenant="acme", type="person", name=name)


def test_long_and_odd_names_are_stored_and_empty_ones_are_none(batch: Batch) -> None:
    adapters = batch.adapters(source=NamingShelf(stated=(*STORED, *NOTHING, *SPELLINGS)))
    batch.assert_outcome(batch.run(adapters), committed=GOOD_DOCUMENTS + 1, quarantined={})
    assert batch.authors("bad") == {*map(key, STORED), key("ada lovelace")}
    assert_nothing_left_to_do(adapters=adapters, run_id="run")


def test_as_many_entities_as_allowed_are_stored(batch: Batch) -> None:
    names = [f"person {number}" for number in range(1_000)]
    batch.settings = batch.settings.model_copy(update={"max_names_per_document": len(names)})
    report = batch.run(batch.adapters(source=NamingShelf(stated=names)))
    batch.assert_outcome(report, committed=GOOD_DOCUMENTS + 1, quarantined={})
    assert len(batch.authors("bad")) == len(names)


def test_a_hundred_thousand_entities_of_one_document_are_refused(batch: Batch) -> None:
    names = [f"person {number}" for number in range(100_000)]
    report = batch.run(batch.adapters(source=NamingShelf(stated=names)))
    batch.assert_outcome(report, committed=GOOD_DOCUMENTS, quarantined={"bad": Reason.TOO_LARGE})
