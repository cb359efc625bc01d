"""Transactions over Bolt: one attempt each, its time bounded on both sides, its errors in our words.

The driver's own retries are off: repeating is done in one place, `resilience.py`. The time that is left of the call
goes to the server as the transaction's limit and bounds the wait for its answers here, so that nothing outlasts a
lease; a single answer takes `graph_timeout_seconds` at most, so that a server which stops in mid-call is noticed soon,
however much is written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import neo4j

from concordance.circuit import Circuit
from concordance.errors import ConcordanceError
from concordance.operations import correlation
from concordance.resilience import Policy, Store, StoreCalls
from concordance.settings import Settings
from concordance.stores import cypher
from concordance.stores.translate_neo4j import Call, translate

T = TypeVar("T")
Work = Callable[[neo4j.Transaction], T]

# What a server may take for an answer that holds every row of an index version.
STREAM_SECONDS = 3_600.0


class Transactions:
    """Thread-safe: each takes a connection of its own from the driver's pool."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.effective_neo4j_url
        self._user = settings.effective_neo4j_user
        self._database = settings.effective_neo4j_database
        policy = Policy.of(settings, Store.GRAPH)
        self._calls = StoreCalls(policy, address=self.url)
        self.seconds, self._answer_seconds = policy.call_timeout_seconds, policy.timeout_seconds
        # Its notes ("this property is in no node yet") are true of every new index and of no use to anybody.
        logging.getLogger("neo4j.notifications").setLevel(logging.ERROR)
        try:
            self._driver = neo4j.GraphDatabase.driver(
                self.url,
                auth=(self._user, settings.neo4j_password.get_secret_value()),
                # Waiting for a free connection is done in `StoreCalls`: what is left to acquire is connecting.
                max_connection_pool_size=policy.connections,
                connection_timeout=policy.timeout_seconds,
                connection_acquisition_timeout=policy.timeout_seconds,
                connection_write_timeout=policy.timeout_seconds,
                # A pooled connection is tried before it is used: a server that was restarted, or hangs, is noticed
                # within the acquisition timeout and not in the middle of a transaction.
                liveness_check_timeout=0,
                telemetry_disabled=True,
            )
        except Exception as error:
            raise translate(error, self._call("opening the graph")) from None

    @property
    def circuit(self) -> Circuit:
        """Whether this process leaves the graph alone now."""
        return self._calls.circuit

    def close(self) -> None:
        self._driver.close()

    def agent(self) -> str:
        """The server's name and version."""
        what = "asking the graph for its version"
        self.read(what, lambda tx: tx.run(cypher.PING).consume())
        try:
            return str(self._driver.get_server_info().agent)
        except Exception as error:
            raise translate(error, self._call(what)) from None

    def write(self, what: str, work: Work[T], *, timeout_seconds: float | None = None, is_whole: bool = False) -> T:
        """`is_whole`: one answer is about a whole index version, and may take as long as the call."""
        return self._calls.call(
            lambda seconds: self._transact(
                what, work, seconds=seconds, access=neo4j.WRITE_ACCESS, answer_seconds=self._patience(seconds, is_whole)
            ),
            timeout_seconds=timeout_seconds,
        )

    def read(self, what: str, work: Work[T], *, is_whole: bool = False) -> T:
        """As `write`, without the right to write."""
        return self._calls.call(
            lambda seconds: self._transact(
                what, work, seconds=seconds, access=neo4j.READ_ACCESS, answer_seconds=self._patience(seconds, is_whole)
            )
        )

    def stream(self, what: str, rows: Callable[[neo4j.Transaction], Iterator[T]]) -> Iterator[T]:
        """One long answer, row by row: what was handed on cannot be taken back, so nothing of it is repeated."""
        # A short call first: it passes the circuit, and may be repeated.
        self.read(what, lambda tx: tx.run(cypher.PING).consume())
        try:
            with self._driver.session(database=self._database, default_access_mode=neo4j.READ_ACCESS) as session:
                transaction = session.begin_transaction(metadata=_metadata(), timeout=STREAM_SECONDS)
                with _answers_within(transaction, STREAM_SECONDS, self.seconds), transaction:
                    yield from rows(transaction)
        except ConcordanceError:
            raise
        except Exception as error:
            raise translate(error, self._call(what)) from None

    def _patience(self, seconds: float, is_whole: bool) -> float:
        return seconds if is_whole else min(seconds, self._answer_seconds)

    def _transact(self, what: str, work: Work[T], *, seconds: float, access: str, answer_seconds: float) -> T:
        """One attempt: begin, work, commit. Raises our errors only."""
        deadline = time.monotonic() + seconds
        committing = False
        try:
            with self._driver.session(
                database=self._database,
                default_access_mode=access,
                connection_acquisition_timeout=min(seconds, self._answer_seconds),
            ) as session:
                # The begin travels with the first query: there is no answer to wait for before its limits are set.
                with session._pipelined_begin:
                    transaction = session.begin_transaction(metadata=_metadata(), timeout=seconds)
                # Outside the transaction's own block: a rollback waits for an answer too.
                with _answers_within(transaction, deadline - time.monotonic(), answer_seconds), transaction:
                    result = work(transaction)
                    committing = True
                    transaction.commit()
                    return result
        except ConcordanceError:
            raise
        except Exception as error:
            # Not chained: the driver's exception may carry the rows that were sent.
            raise translate(error, self._call(what, committing=committing)) from None

    def _call(self, what: str, *, committing: bool = False) -> Call:
        return Call(what, self.url, self._user, self._database, committing)


def _metadata() -> dict[str, str | int] | None:
    """What the server shows of a transaction beside its queries."""
    return dict(correlation.carried().fields) or None


@contextmanager
def _answers_within(transaction: neo4j.Transaction, seconds: float, answer_seconds: float) -> Iterator[None]:
    """Bound the wait for the server's answers in this transaction: for all of them, and for each.

    The driver has no setting for it (it trusts a hint that only Neo4j sends), so its socket is told directly; a test
    with a server that stops answering holds this to the driver's next version.
    """
    socket = transaction._connection.socket
    usual = socket.get_read_timeout()
    socket.set_read_deadline(max(seconds, 0.001))
    socket.set_read_timeout(answer_seconds if usual is None else min(usual, answer_seconds))
    try:
        yield
    finally:
        socket.set_read_deadline(None)
        socket.set_read_timeout(usual)
