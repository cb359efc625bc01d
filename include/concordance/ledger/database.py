"""Connections to the ledger: one pool a process, one function that translates the driver's errors, one retry policy.

Every ledger operation is one transaction that may be run again: a commit whose outcome is unknown is simply repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
import psycopg_pool
import tenacity
from psycopg import sql
from psycopg.rows import TupleRow

from concordance.errors import ConcordanceError, Misconfigured, OutcomeUnknown, Terminal, Unavailable
from concordance.settings import Settings

Cursor = psycopg.Cursor[TupleRow]
Result = TypeVar("Result")

# Conditions in which the server rolled back for a reason that passes (class or code of SQLSTATE).
_PASSING = ("40", "53", "55P03", "57", "58", "25P03", "25P04")
_REFUSED = {
    "28000": "refuses this user",
    "28P01": "refuses the password: check AIRFLOW__CONCORDANCE__LEDGER_PASSWORD or the connection concordance_ledger",
    "3D000": "has no such database: create it, or correct AIRFLOW__CONCORDANCE__LEDGER_URL",
    "42501": "denies a privilege that the ledger's role needs",
    "3F000": "has no ledger schema: run `python -m concordance up`, or `make setup` for a deployment",
    "42P01": "has no ledger tables: run `python -m concordance up`, or the init service of the deployment",
}


def connection_string(url: str, password: str) -> str:
    """The driver's connection string; the password travels beside the URL, never in it."""
    parts = urlsplit(url)
    return psycopg.conninfo.make_conninfo(
        host=parts.hostname or "",
        port=parts.port or 5432,
        user=parts.username or "",
        dbname=parts.path.lstrip("/"),
        password=password or None,
        application_name="concordance",
    )


class Database:
    """A small pool of connections to the ledger's schema."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._conninfo = connection_string(settings.effective_ledger_url, settings.ledger_password.get_secret_value())
        self._pool = psycopg_pool.ConnectionPool(
            self._conninfo,
            min_size=0,
            max_size=settings.ledger_pool_connections,
            timeout=min(10.0, settings.request_timeout_seconds),
            kwargs={"autocommit": True, "connect_timeout": 10, "options": _options(settings)},
            check=psycopg_pool.ConnectionPool.check_connection,
            open=False,
            name="ledger",
        )

    def transact(self, what: str, work: Callable[[Cursor], Result], *, isolation: str = "READ COMMITTED") -> Result:
        """Run `work` in one transaction and commit it; transient failures are retried within the settings' bounds.

        Raises `Unavailable`, `OutcomeUnknown`, `Misconfigured` or `Terminal`, naming `what` was being done.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_worth_repeating),
            stop=tenacity.stop_after_attempt(self._settings.retry_attempts),
            wait=tenacity.wait_random_exponential(
                multiplier=self._settings.retry_wait_seconds, max=self._settings.retry_wait_max_seconds
            ),
            reraise=True,
        )
        result: Result = retrying(self._once, what, work, isolation)
        return result

    def _once(self, what: str, work: Callable[[Cursor], Result], isolation: str) -> Result:
        with translated(what), self._connection() as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("BEGIN ISOLATION LEVEL {}").format(sql.SQL(isolation)))
            try:
                result = work(cursor)
            except BaseException:
                if not connection.broken:
                    cursor.execute("ROLLBACK")
                raise
            _commit(connection, what)
            return result

    @contextmanager
    def reading(self, what: str) -> Iterator[Cursor]:
        """One REPEATABLE READ, READ ONLY transaction: everything read inside belongs to one moment."""
        with translated(what), self._connection() as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield cursor
            finally:
                if not connection.broken:
                    cursor.execute("ROLLBACK")

    @contextmanager
    def locking(self, what: str) -> Iterator[Cursor]:
        """One READ COMMITTED transaction, open while the caller works elsewhere; it commits if that went well.

        Not retried: what the block does besides must be safe to repeat.
        """
        with translated(what), self._connection() as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
            except BaseException:
                if not connection.broken:
                    cursor.execute("ROLLBACK")
                raise
            _commit(connection, what)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[TupleRow]]:
        if self._pool.closed:
            # The pool connects in the background and hides why it cannot: the first connection is made in the open.
            psycopg.connect(self._conninfo, connect_timeout=10).close()
            self._pool.open()
        with self._pool.connection() as connection:
            yield connection

    def close(self) -> None:
        self._pool.close()


def _commit(connection: psycopg.Connection[Any], what: str) -> None:
    try:
        connection.execute("COMMIT")
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate.startswith(("08", "57")):
            raise OutcomeUnknown(
                f"The ledger's answer to a commit was lost ({what}): it may have been applied; repeating it is safe"
            ) from None
        raise


def _options(settings: Settings) -> str:
    milliseconds = int(settings.request_timeout_seconds * 1000)
    return (
        f"-c search_path=concordance -c timezone=UTC -c lock_timeout={milliseconds} "
        f"-c idle_in_transaction_session_timeout={milliseconds * 10}"
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the driver's errors into ours; the server's message is dropped where it could hold values of rows."""
    try:
        yield
    except ConcordanceError:
        raise
    except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as error:
        raise translate(error, what) from None


def translate(error: Exception, what: str) -> ConcordanceError:
    """Our error for one of psycopg's (or its pool's)."""
    state = getattr(error, "sqlstate", None)
    if state in _REFUSED:
        return Misconfigured(f"PostgreSQL {_REFUSED[state]} ({what})")
    if state is None and "password authentication failed" in str(error):
        return Misconfigured(f"PostgreSQL {_REFUSED['28P01']} ({what})")
    if state is not None and state.startswith(_PASSING):
        return Unavailable(f"The ledger rolled back, SQLSTATE {state} ({what}): try again")
    if isinstance(error, (psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed)) or state is None or state[:2] == "08":
        if isinstance(error, (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError)):
            return Terminal(f"The ledger's driver refused a statement: {type(error).__name__} ({what})")
        return Unavailable(
            f"The ledger does not answer ({what}): is PostgreSQL up? `python -m concordance status` says so for the "
            "local stack"
        )
    return Terminal(f"The ledger refused a statement: {type(error).__name__}, SQLSTATE {state} ({what})")


def _is_worth_repeating(error: BaseException) -> bool:
    # A lease of somebody else is Transient too, but waiting for it is for the caller to decide.
    return isinstance(error, (Unavailable, OutcomeUnknown))
