"""No ledger call waits for ever: not for a lock, not for a slow statement, not for a server that says nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import structlog

from concordance.errors import OutcomeUnknown, Transient, Unavailable
from concordance.ledger.database import Cursor, Database
from concordance.resilience import LostRace
from concordance.settings import Settings
from support.ledgers import connect
from support.silent_proxy import silent_after

QUICK = {
    "ledger_timeout_seconds": 0.5,
    "ledger_bulk_timeout_seconds": 30,
    "call_timeout_seconds": 3,
    "retry_attempts": 2,
    "retry_wait_seconds": 0.01,
    "retry_wait_max_seconds": 0.01,
}


@contextmanager
def opened(settings: Settings, **changes: object) -> Iterator[Database]:
    database = Database(settings.model_copy(update={**QUICK, **changes}))
    try:
        yield database
    finally:
        database.close()


def sleeps(seconds: float) -> str:
    return f"SELECT pg_sleep({seconds})"


def select_one(cursor: Cursor) -> int:
    cursor.execute("SELECT 1")
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def test_a_statement_that_takes_too_long_is_ended_and_says_which_settings_allow_more(stack: Settings) -> None:
    with opened(stack) as database:
        with pytest.raises(Unavailable, match="LEDGER_TIMEOUT_SECONDS"):
            database.transact("sleep", lambda cursor: cursor.execute(sleeps(60)))
        # The connection was not lost by it.
        assert database.transact("ask", select_one) == 1


def test_statistics_that_cannot_be_refreshed_stop_nothing_and_are_told(stack: Settings) -> None:
    with opened(stack) as database, structlog.testing.capture_logs() as lines:
        database.refresh_statistics(("documents", "plan_documents", "generations", "chunks", "links"))
        assert [line for line in lines if line["log_level"] == "warning"] == []
        database.refresh_statistics(("no_such_table",))
        assert [line["tables"] for line in lines if line["log_level"] == "warning"] == [["no_such_table"]]
        assert database.transact("ask", select_one) == 1


def test_a_statement_over_a_whole_run_may_take_longer(stack: Settings) -> None:
    with opened(stack) as database:
        database.transact("sleep", lambda cursor: cursor.execute(sleeps(0.8)), is_bulk=True)


def test_a_lock_is_waited_for_until_its_holder_commits_however_short_each_wait(stack: Settings) -> None:
    waited: list[str] = []

    def lock(cursor: Cursor) -> None:
        waited.append("again")
        if len(waited) == 2:
            held.rollback()
        cursor.execute("SELECT pg_advisory_xact_lock(4242)")

    with opened(stack) as database, connect(stack) as held:
        held.autocommit = False
        held.execute("SELECT pg_advisory_xact_lock(4242)")
        database.transact("lock", lock)
    assert len(waited) == 2


def test_a_lock_that_is_never_given_up_is_a_lost_race_and_no_outage(stack: Settings) -> None:
    with opened(stack) as database, connect(stack) as held:
        held.autocommit = False
        held.execute("SELECT pg_advisory_xact_lock(4243)")
        with pytest.raises(LostRace):
            database.transact("lock", lambda cursor: cursor.execute("SELECT pg_advisory_xact_lock(4243)"))
        assert database.circuit.state().failures_in_a_row == 0


def by_transaction(database: Database) -> None:
    database.transact("ask", select_one)


def by_snapshot(database: Database) -> None:
    with database.reading("read"):
        raise AssertionError("there is nothing to read")


@pytest.mark.parametrize("read", [by_transaction, by_snapshot, None])
def test_a_server_that_stops_answering_does_not_hold_a_call(
    stack: Settings, read: Callable[[Database], None] | None
) -> None:
    address, _, _ = stack.effective_ledger_url.rpartition("/")
    host, _, port = address.rpartition("@")[2].rpartition(":")
    account, database_name = address.rpartition("@")[0], stack.effective_ledger_url.rpartition("/")[2]
    answers = threading.Event()
    answers.set()

    def stops_before_the_commit(cursor: Cursor) -> None:
        select_one(cursor)
        answers.clear()

    with silent_after((host, int(port)), answers=answers) as proxy:
        url = f"{account}@127.0.0.1:{proxy}/{database_name}"
        with opened(stack, ledger_url=url, retry_attempts=1) as database:
            assert database.transact("ask", select_one) == 1
            if read is None:
                with pytest.raises(OutcomeUnknown):
                    database.transact("write", stops_before_the_commit)
            else:
                answers.clear()
                with pytest.raises(Transient):
                    read(database)
            answers.set()
            assert database.transact("ask again", select_one) == 1


def test_connections_are_kept_and_those_that_died_meanwhile_are_made_anew(stack: Settings) -> None:
    def own_process(cursor: Cursor) -> int:
        cursor.execute("SELECT pg_backend_pid()")
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])

    with opened(stack, ledger_timeout_seconds=5) as database:
        first = database.transact("ask", own_process)
        assert database.transact("ask", own_process) == first
        with connect(stack) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [first])
        assert database.transact("ask", own_process) != first


def test_what_a_reader_raises_in_its_snapshot_is_not_blamed_on_the_ledger(stack: Settings) -> None:
    with opened(stack) as database:
        for _ in range(10):
            with pytest.raises(Unavailable, match="another store"), database.reading("read"):
                raise Unavailable("another store is down")
        assert database.circuit.state().failures_in_a_row == 0
        assert database.transact("ask", select_one) == 1
