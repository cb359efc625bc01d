"""Alembic's entry: every migration and the record of it commit in one transaction, on the connection handed in."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema="concordance", transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
