"""A ledger on the session's PostgreSQL, empty at the start of each test, whose clock tests can move."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from concordance.ledger import Ledger, open_ledger
from concordance.ledger.database import connection_string
from concordance.ledger.migrate import migrate
from concordance.settings import Settings

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'concordance' AND tablename <> 'alembic_version'"
# Times that decide something, by table: moving the clock on means moving these back.
_TIMES = {
    "batches": ("lease_until",),
    "generations": ("writer_until", "ended_at"),
    "sources": ("lease_until",),
}


def connect(settings: Settings) -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the test's own, beside the product's pool."""
    secret = settings.ledger_password.get_secret_value()
    return psycopg.connect(
        connection_string(settings.effective_ledger_url, secret),
        autocommit=True,
        options="-c search_path=concordance",
    )


def empty_ledger(settings: Settings) -> Ledger:
    """The ledger with its newest schema and without a row."""
    _migrated(settings.effective_ledger_url, settings.ledger_password.get_secret_value())
    with connect(settings) as connection:
        tables = [str(name) for (name,) in connection.execute(_TABLES)]
        # One statement: foreign keys are judged at its end, so that the order of the tables does not matter. (TRUNCATE
        # makes new files for each table and index, which takes longer than most tests.)
        emptied = ", ".join(f'"deleted_{table}" AS (DELETE FROM "{table}")' for table in tables)
        connection.execute(f"WITH {emptied} SELECT 1")
        connection.execute("INSERT INTO control DEFAULT VALUES")
    return open_ledger(settings)


@functools.cache
def _migrated(url: str, password: str) -> None:
    migrate(url, password)


@contextmanager
def unflushed(settings: Settings) -> Iterator[None]:
    """Connections made inside do not wait for the disk. For tests in which nobody kills PostgreSQL."""
    name = settings.effective_ledger_url.rpartition("/")[2]
    with connect(settings) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{name}" RESET synchronous_commit')


def skip_versions(settings: Settings) -> None:
    """Let the next index version have a number that no other test of the session used: the stores are shared."""
    with connect(settings) as connection:
        connection.execute(
            "INSERT INTO index_versions (version, state, settings, settings_digest, frozen) "
            "VALUES (%s, 'dropped', '{}', '', '{}')",
            [random.SystemRandom().randrange(1_000_000, 2_000_000_000)],
        )


def move_clock(settings: Settings, seconds: float) -> None:
    """Let `seconds` pass for the ledger: its leases and graces are that much older."""
    with connect(settings) as connection:
        for table, columns in _TIMES.items():
            for column in columns:
                connection.execute(
                    f"UPDATE {table} SET {column} = {column} - make_interval(secs => %s)",  # noqa: S608 - constants
                    [seconds],
                )
