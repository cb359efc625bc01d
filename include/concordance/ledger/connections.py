"""Connections to PostgreSQL: opened in the open by whoever needs one, kept while idle, tried before they are reused.

The driver's own pool connects in threads of its own, again and again for minutes, and tells a waiting caller neither
that nor why: a second layer of retries that nobody asked for. Here a connection that cannot be made is an error of the
attempt that needed it, at once. How many there are is bounded by the caller (`StoreCalls`).
"""

from __future__ import annotations

import threading
import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

T = TypeVar("T")

IDLE_SECONDS = 300.0
# PostgreSQL ends a statement that takes too long by itself, and the connection stays whole: we give up a little later.
_GRACE_SECONDS = 1.0
_INTERRUPTED_EVERY_SECONDS = 0.1


class PatientConnection(psycopg.Connection[TupleRow]):
    """A connection that waits `patience_seconds` for each answer, and is closed when none came.

    A server that is stopped, or a network that swallows packets, answers nothing at all: no limit on the server helps.
    """

    patience_seconds: float = 5.0

    def wait(self, gen: PQGen[T], interval: float = _INTERRUPTED_EVERY_SECONDS, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, self.patience_seconds + _GRACE_SECONDS if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:
            # What was asked is still being answered: nothing else can be asked here any more.
            self.close()
            raise


class Connections:
    """Thread-safe. `take` gives a working connection, `give_back` keeps it for the next one."""

    def __init__(self, conninfo: str, *, patience_seconds: float, options: str) -> None:
        self._conninfo = conninfo
        self._patience_seconds = patience_seconds
        self._options = options
        self._lock = threading.Lock()
        self._idle: list[tuple[PatientConnection, float]] = []
        self._is_closed = False

    def take(self) -> PatientConnection:
        """An idle connection that answers, or a new one. Raises the driver's errors."""
        while (idle := self._pop()) is not None:
            connection, since = idle
            if time.monotonic() - since < IDLE_SECONDS and _answers(connection):
                return connection
            connection.close()
        connection = PatientConnection.connect(
            self._conninfo,
            autocommit=True,
            # libpq takes whole seconds, and waits for two at least.
            connect_timeout=max(2, round(self._patience_seconds)),
            options=self._options,
        )
        connection.patience_seconds = self._patience_seconds
        return connection

    def give_back(self, connection: PatientConnection) -> None:
        """Keep it, unless it is broken or still inside a transaction."""
        is_idle = connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            if is_idle and not self._is_closed:
                connection.patience_seconds = self._patience_seconds
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it is given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _pop(self) -> tuple[PatientConnection, float] | None:
        # The one that was used last: those that nobody needs any more grow old at the other end.
        with self._lock:
            return self._idle.pop() if self._idle else None


def _answers(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("")
    except psycopg.Error:
        return False
    return True
