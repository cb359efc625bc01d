"""Transactions of the ledger: what each may take, and how it is repeated.

Every ledger operation is one transaction that may be run again: a commit whose outcome is unknown is simply repeated.
One statement, with the locks that it waits for, takes `ledger_timeout_seconds` at most; one over a whole run
(`is_bulk`) `ledger_bulk_timeout_seconds`. PostgreSQL is told, and a server that answers nothing is given up here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg
import structlog
from psycopg import sql
from psycopg.rows import TupleRow

from concordance.circuit import Circuit
from concordance.errors import ConcordanceError, OutcomeUnknown
from concordance.ledger.connections import Connections, PatientConnection
from concordance.ledger.translate_postgres import translated
from concordance.operations import correlation
from concordance.resilience import Policy, Store, StoreCalls
from concordance.settings import Settings

_LOCK_SHARE = 0.8
# A plan of fewer documents moves no statistics that matter: joins with all of them are cheap, whatever their order.
MANY_DOCUMENTS = 500
Cursor = psycopg.Cursor[TupleRow]
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


def connection_string(url: str, password: str) -> str:
    """The driver's connection string; the password travels beside the URL, never in it."""
    parts = urlsplit(url)
    return psycopg.conninfo.make_conninfo(
        host=parts.hostname or "",
        port=parts.port or 5432,
        user=parts.username or "",
        dbname=parts.path.lstrip("/"),
        password=password or None,
        application_name=correlation.PROGRAM,
    )


class Database:
    """The ledger's schema, over the connections of one process. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        policy = Policy.of(settings, Store.LEDGER)
        url = settings.effective_ledger_url
        parts = urlsplit(url)
        self._calls = StoreCalls(policy, address=f"{parts.hostname}:{parts.port or 5432}")
        self._usual, self._bulk = policy.timeout_seconds, settings.ledger_bulk_timeout_seconds
        self._whole_call = policy.call_timeout_seconds
        self._connections = Connections(
            connection_string(url, settings.ledger_password.get_secret_value()),
            patience_seconds=policy.timeout_seconds,
            options=_options(settings),
        )

    @property
    def circuit(self) -> Circuit:
        """Whether this process leaves the ledger alone now."""
        return self._calls.circuit

    def transact(
        self,
        what: str,
        work: Callable[[Cursor], Result],
        *,
        isolation: str = "READ COMMITTED",
        is_bulk: bool = False,
    ) -> Result:
        """Run `work` in one transaction and commit it; transient failures are retried within the settings' bounds.

        `is_bulk`: its statements are about a whole run. Raises `Unavailable`, `OutcomeUnknown`, `Misconfigured` or
        `Terminal`, naming `what` was being done.
        """
        statement_seconds = self._bulk if is_bulk else self._usual

        def attempt(seconds: float) -> Result:
            with translated(what):
                connection = self._connections.take()
                try:
                    return _once(connection, what, work, isolation, statement_seconds)
                finally:
                    self._connections.give_back(connection)

        return self._calls.call(attempt, timeout_seconds=max(self._whole_call, statement_seconds))

    def refresh_statistics(self, tables: Sequence[str]) -> None:
        """Let PostgreSQL look at these tables anew. Its own look comes a minute late: what a run has just written or
        turned over by the thousand is unknown to it until then, and joins with it are carried out as each with each.

        It never fails: what stands before it is committed, and what comes after it is right without it, only slower.
        """
        statement = sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(sql.SQL(", ").join(map(sql.Identifier, tables)))
        try:
            self.transact("refresh statistics", lambda cursor: cursor.execute(statement), is_bulk=True)
        except ConcordanceError as error:
            log.warning("the ledger's statistics were not refreshed", tables=list(tables), error=type(error).__name__)

    @contextmanager
    def reading(self, what: str) -> Iterator[Cursor]:
        """One REPEATABLE READ, READ ONLY transaction: everything read inside belongs to one moment.

        A statement inside may be about a whole index, and takes `call_timeout_seconds` at most.
        """
        with self._begun(what, "REPEATABLE READ READ ONLY", self._whole_call) as connection:
            with connection.cursor() as cursor:
                yield cursor
            # Nothing was written: there is no outcome to wait for.
            connection.execute("ROLLBACK")

    @contextmanager
    def locking(self, what: str) -> Iterator[Cursor]:
        """One READ COMMITTED transaction, open while the caller works elsewhere; it commits if that went well.

        Only its beginning is retried: what the block does besides must be safe to repeat.
        """
        with self._begun(what, "READ COMMITTED", self._usual) as connection:
            with connection.cursor() as cursor:
                yield cursor
            _commit(connection, what)

    @contextmanager
    def _begun(self, what: str, isolation: str, statement_seconds: float) -> Iterator[PatientConnection]:
        """A connection inside a transaction, rolled back if the block raises."""

        def begin(seconds: float) -> PatientConnection:
            with translated(what):
                connection = self._connections.take()
                try:
                    _begin(connection, isolation, statement_seconds)
                except BaseException:
                    connection.close()
                    raise
                return connection

        connection = self._calls.call(begin, keeps_connection=True)
        try:
            with translated(what):
                try:
                    yield connection
                except BaseException:
                    if not connection.closed:
                        connection.execute("ROLLBACK")
                    raise
        finally:
            self._connections.give_back(connection)
            self._calls.give_connection_back()

    def close(self) -> None:
        self._connections.close()


def _once(
    connection: PatientConnection,
    what: str,
    work: Callable[[Cursor], Result],
    isolation: str,
    statement_seconds: float,
) -> Result:
    _begin(connection, isolation, statement_seconds)
    with connection.cursor() as cursor:
        try:
            result = work(cursor)
        except BaseException:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise
    _commit(connection, what)
    return result


def _begin(connection: PatientConnection, isolation: str, statement_seconds: float) -> None:
    connection.patience_seconds = statement_seconds
    # One round trip, and gone with the transaction. A lock is waited for a little shorter than a statement may take, so
    # that a race lost to another transaction is told from a server that is too slow.
    connection.execute(
        sql.SQL(
            "BEGIN ISOLATION LEVEL {}; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; "
            "SET LOCAL application_name = {}"
        ).format(
            sql.SQL(isolation),
            sql.Literal(round(statement_seconds * 1000)),
            sql.Literal(round(statement_seconds * _LOCK_SHARE * 1000)),
            sql.Literal(correlation.carried().application_name),
        )
    )


def _commit(connection: PatientConnection, what: str) -> None:
    try:
        connection.execute("COMMIT")
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate.startswith(("08", "57")):
            raise OutcomeUnknown(
                f"The ledger's answer to a commit was lost ({what}): it may have been applied; repeating it is safe"
            ) from None
        raise


def _options(settings: Settings) -> str:
    # A caller works elsewhere while its transaction is open (a sweep, a comparison of both stores): ten calls' time.
    idle_milliseconds = round(settings.call_timeout_seconds * 10_000)
    return f"-c search_path=concordance -c timezone=UTC -c idle_in_transaction_session_timeout={idle_milliseconds}"
