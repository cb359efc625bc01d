"""A ledger on the session's PostgreSQL, empty at the start of each test, whose clock tests can move."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from concordance.ledger import Ledger, open_ledger
from concordance.ledger.database import connection_string
from concordance.ledger.migrate import migrate
from concordance.settings import Settings
from support.index_rows import index_version

_KEPT = "('alembic_version', 'allowed_steps')"  # written by the migrations
_TABLES = f"SELECT tablename FROM pg_tables WHERE schemaname = 'concordance' AND tablename NOT IN {_KEPT}"  # noqa: S608
# Times that decide something, by table: moving the clock on means moving these back.
_TIMES = {
    "alerts": ("fired_at", "recovered_at"),
    "batches": ("lease_until",),
    "builder": ("lease_until",),
    "builds": ("started_at", "finished_at"),
    "control": ("held_until",),
    "erasures": ("hidden_at",),
    "generations": ("writer_until", "ended_at"),
    "index_versions": ("state_at",),
    "plan_documents": ("changed_at",),
    "plans": ("drawn_at", "made_at", "ended_at"),
    "quarantine": ("first_at", "last_at"),
    "runs": ("started_at", "finished_at"),
    "sources": ("declared_at", "lease_until"),
    "verdicts": ("at",),
}


def connect(settings: Settings) -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the test's own, beside the product's pool."""
    secret = settings.ledger_password.get_secret_value()
    return psycopg.connect(
        connection_string(settings.effective_ledger_url, secret),
        autocommit=True,
        options="-c search_path=concordance",
    )


@contextmanager
def held_document(settings: Settings, *, source: str, uri: str) -> Iterator[Callable[[], bool]]:
    """The batch with this document does not begin while this lasts: who loads it waits, and may be killed there. What
    is yielded says whether somebody waits now."""
    with connect(settings) as connection, connection.transaction():
        held = connection.execute(
            "SELECT 1 FROM documents WHERE source = %s AND uri = %s FOR KEY SHARE", [source, uri]
        ).fetchone()
        assert held, f"{source} has no {uri} yet"
        holder = connection.info.backend_pid

        def is_waited_for() -> bool:
            with connect(settings) as asking:
                waiting = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
                return asking.execute(waiting, [holder]).fetchone() is not None

        yield is_waited_for


def empty_ledger(settings: Settings) -> Ledger:
    """The ledger with its newest schema and without a row."""
    _migrated(settings.effective_ledger_url, settings.ledger_password.get_secret_value())
    with connect(settings) as connection:
        tables = [str(name) for (name,) in connection.execute(_TABLES)]
        # One statement: foreign keys are judged at its end, so that the order of the tables does not matter. (TRUNCATE
        # makes new files for each table and index, which takes longer than most tests.)
        emptied = [
            sql.SQL("{} AS (DELETE FROM {})").format(sql.Identifier(f"deleted_{table}"), sql.Identifier(table))
            for table in tables
        ]
        connection.execute(sql.SQL("WITH {} SELECT 1").format(sql.SQL(", ").join(emptied)))
        connection.execute("INSERT INTO control DEFAULT VALUES")
        connection.execute("INSERT INTO builder DEFAULT VALUES")
    return open_ledger(settings)


@functools.cache
def _migrated(url: str, password: str) -> None:
    migrate(url, password)


@contextmanager
def unflushed(settings: Settings) -> Iterator[None]:
    """Connections made inside do not wait for the disk. For tests in which nobody kills PostgreSQL."""
    name = settings.effective_ledger_url.rpartition("/")[2]
    with connect(settings) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name)))
        try:
            yield
        finally:
            connection.execute(sql.SQL("ALTER DATABASE {} RESET synchronous_commit").format(sql.Identifier(name)))


def end_idle_transactions(settings: Settings) -> None:
    """As the server does with transactions that nobody goes on with; returns when they are gone."""
    with connect(settings) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE state = 'idle in transaction' AND datname = current_database()"
        )


def skip_versions(settings: Settings) -> None:
    """Let the next index version have a number that no other test of the session used: the stores are shared."""
    dropped = index_version().settings
    with connect(settings) as connection:
        connection.execute(
            "INSERT INTO index_versions (version, state, settings, settings_digest, frozen) "
            "VALUES (%s, 'dropped', %s, %s, '{}')",
            [random.SystemRandom().randrange(1_000_000, 2_000_000_000), json.dumps(dropped.as_json()), dropped.digest],
        )


def move_clock(ledger: Settings | psycopg.Connection[tuple[object, ...]], seconds: float) -> None:
    """Let `seconds` pass for the ledger: its leases and graces are that much older."""
    if isinstance(ledger, Settings):
        with connect(ledger) as connection:
            move_clock(connection, seconds)
        return
    for table, columns in _TIMES.items():
        moved = sql.SQL(", ").join(
            sql.SQL("{0} = {0} - make_interval(secs => %(seconds)s)").format(sql.Identifier(column))
            for column in columns
        )
        ledger.execute(sql.SQL("UPDATE {} SET {}").format(sql.Identifier(table), moved), {"seconds": seconds})
