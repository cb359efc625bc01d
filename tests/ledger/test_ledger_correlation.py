"""What PostgreSQL shows of a transaction: whose run it is, for as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from concordance.errors import ConcordanceError
from concordance.ledger.database import Cursor, Database
from concordance.operations import correlation
from concordance.settings import Settings
from support.ledgers import connect

EMBED = "concordance 0123456789abcdef embed"


@pytest.fixture
def database(stack: Settings) -> Iterator[Database]:
    opened = Database(stack)
    yield opened
    opened.close()


def shown(stack: Settings, pid: int) -> str:
    """As an operator sees it, from another connection."""
    with connect(stack) as connection:
        found = connection.execute("SELECT application_name FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
    assert found is not None
    return str(found[0])


def own_pid(cursor: Cursor) -> int:
    cursor.execute("SELECT pg_backend_pid()")
    (pid,) = cursor.fetchone() or (0,)
    return int(pid)


def test_a_transaction_shows_its_run_and_stage_and_the_connection_forgets_them(
    stack: Settings, database: Database
) -> None:
    pids: list[int] = []

    def work(cursor: Cursor) -> str:
        pids.append(own_pid(cursor))
        return shown(stack, pids[-1])

    with correlation.bound(correlation_id="0123456789abcdef", stage="embed"):
        assert database.transact("look", work) == EMBED
        with database.reading("look") as cursor:
            assert work(cursor) == EMBED
        with database.locking("look") as cursor:
            assert work(cursor) == EMBED
    assert shown(stack, pids[0]) == "concordance"
    # The same connection, taken by whoever carries nothing.
    assert database.transact("look", work) == "concordance"
    assert len(set(pids)) == 1


def test_one_that_failed_leaves_nothing_behind_either(stack: Settings, database: Database) -> None:
    pids: list[int] = []

    def fail(cursor: Cursor) -> Any:
        pids.append(own_pid(cursor))
        cursor.execute("SELECT 1 / 0")

    with correlation.bound(correlation_id="0123456789abcdef"), pytest.raises(ConcordanceError):
        database.transact("divide", fail)
    assert shown(stack, pids[0]) == "concordance"
