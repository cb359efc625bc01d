"""A ledger on the session's PostgreSQL, empty at the start of each test, whose clock tests can move."""

from __future__ import annotations

import random

import psycopg

from concordance.ledger import Ledger, open_ledger
from concordance.ledger.database import connection_string
from concordance.ledger.migrate import migrate
from concordance.settings import Settings

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
    migrate(settings.effective_ledger_url, settings.ledger_password.get_secret_value())
    with connect(settings) as connection:
        connection.execute(
            "TRUNCATE control, index_versions, sources, runs, plans, documents, tombstones, plan_documents, batches, "
            "generations, chunks, links, quarantine"
        )
        connection.execute("INSERT INTO control DEFAULT VALUES")
    return open_ledger(settings)


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
