"""The running stores: who may connect to what, and what everybody else can see of them."""

from __future__ import annotations

import psycopg
import pytest

from concordance.settings import Settings


def test_the_ledgers_role_owns_its_database_and_nothing_else(stack: Settings) -> None:
    with psycopg.connect(stack.effective_ledger_url, password=stack.ledger_password.get_secret_value()) as connection:
        connection.execute("CREATE SCHEMA mine CREATE TABLE mine.rows (id int)")
        connection.execute("DROP SCHEMA mine CASCADE")
        flags = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert flags == (False, False, False, False)


def test_without_the_password_nobody_gets_in(stack: Settings) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(stack.effective_ledger_url, password="guessed")
