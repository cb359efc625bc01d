"""I8: the database itself refuses a step that is not allowed, and verify finds what was done past it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from concordance.consistency.hourly import reconcile
from concordance.errors import Corrupt
from concordance.ledger import Ledger
from concordance.ledger.history import FORBIDDEN
from concordance.ledger.versions import ALLOWED_STEPS
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from support.ledgers import connect
from support.small_house import SmallHouse


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    house = SmallHouse(ledger, stack, staging=tmp_path, parser=parser)
    house.texts["alpha"] = "# Alpha\n\nStone and river.\n"
    house.run()
    house.texts["alpha"] += "\nOnce more.\n"
    house.run()
    return house


@pytest.fixture
def by_hand(stack: Settings) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with connect(stack) as connection:
        yield connection


REFUSED = (
    "UPDATE generations SET state = 'current' WHERE state = 'replaced'",
    "UPDATE generations SET state = 'verified' WHERE state = 'current'",
    "UPDATE generations SET state = 'swept' WHERE state = 'current'",
    "UPDATE generations SET state = 'loading' WHERE state = 'replaced'",
    "UPDATE batches SET state = 'intent'",
    "UPDATE plans SET state = 'made'",
    "UPDATE plans SET state = 'closed'",
    "UPDATE index_versions SET state = 'building'",
    "UPDATE index_versions SET state = 'dropped'",
    "UPDATE generations SET content_digest = '' WHERE state = 'current'",
    "UPDATE generations SET access = '{everybody}' WHERE state = 'current'",
    "UPDATE generations SET generation = generation + 100",
    "UPDATE documents SET last_generation = last_generation - 1",
    "UPDATE documents SET document_id = gen_random_uuid()",
    "UPDATE sources SET last_plan_number = 0",
    "UPDATE batches SET token = token - 1",
)


def test_what_no_protocol_may_do_is_refused(house: SmallHouse, by_hand: psycopg.Connection[tuple[object, ...]]) -> None:
    for statement in REFUSED:
        with pytest.raises(psycopg.errors.CheckViolation):
            by_hand.execute(statement)
    assert house.check().findings == ()


def test_the_database_and_the_code_know_the_same_steps_of_an_index_version(
    house: SmallHouse, by_hand: psycopg.Connection[tuple[object, ...]]
) -> None:
    rows = by_hand.execute("SELECT before, after FROM allowed_steps WHERE kind = 'index_versions'")
    assert {(str(before), str(after)) for before, after in rows} == ALLOWED_STEPS


PAST_THE_TRIGGERS = {
    "generations whose times do not fit their state": "UPDATE generations SET ended_at = NULL WHERE state = 'replaced'",
    "generations in no list": "UPDATE generations SET dirty = false WHERE state = 'replaced'",
    "documents with a generation number above their last one": "UPDATE documents SET last_generation = 1",
    "deleted or erased documents with a current generation": (
        "INSERT INTO tombstones (document_id, kind) SELECT document_id, 'erased' FROM documents"
    ),
    "documents of a published plan without an outcome": "UPDATE plan_documents SET outcome = NULL",
    "plans with a number above the last one of their source": "UPDATE sources SET last_plan_number = 0",
    # Last: what is looked at in a published plan would not be seen any more.
    "current generations whose plan was not published": "UPDATE plans SET state = 'made'",
}


def test_what_was_done_past_the_triggers_is_found(
    house: SmallHouse, by_hand: psycopg.Connection[tuple[object, ...]]
) -> None:
    tables = ("plans", "generations", "documents", "sources")
    for table in tables:
        by_hand.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    try:
        for what, statement in PAST_THE_TRIGGERS.items():
            assert what in FORBIDDEN
            by_hand.execute(statement)
            assert what in {finding.what for finding in house.check().findings if finding.invariant == "I8"}
    finally:
        for table in tables:
            by_hand.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def test_the_hourly_reconcile_ends_well_on_a_sound_index_and_fails_on_what_it_cannot_put_right(
    house: SmallHouse, by_hand: psycopg.Connection[tuple[object, ...]]
) -> None:
    assert reconcile(adapters=house.adapters, settings=house.settings)["sound"]
    by_hand.execute("DELETE FROM chunks WHERE ordinal = 0")
    with pytest.raises(Corrupt, match="wait for its next ingest"):
        reconcile(adapters=house.adapters, settings=house.settings)
    assert house.run().counts["changed"] == 1
    assert reconcile(adapters=house.adapters, settings=house.settings)["sound"]
