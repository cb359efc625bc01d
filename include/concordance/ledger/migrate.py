"""Brings the ledger's schema up to date. Run by `up` and by the tests; two at once wait for each other."""

from __future__ import annotations

from pathlib import Path

from concordance.ledger.database import connection_string
from concordance.ledger.translate_postgres import translated

MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 7_031_001


def migrate(url: str, password: str) -> None:
    """Apply every missing migration, each with its record in one transaction; nothing when there is none.

    Raises `Unavailable` when PostgreSQL does not answer, `Misconfigured` when it refuses the password or the database.
    """
    # Alembic and SQLAlchemy take most of a second to import: only who migrates pays for them.
    import sqlalchemy
    from alembic import command
    from alembic.config import Config

    with translated("migrate the ledger"):
        import psycopg

        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(connection_string(url, password), connect_timeout=10),
            poolclass=sqlalchemy.pool.NullPool,
        )
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS concordance")
                configuration = Config()
                configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
                configuration.attributes["connection"] = connection
                command.upgrade(configuration, "head")
        finally:
            engine.dispose()
