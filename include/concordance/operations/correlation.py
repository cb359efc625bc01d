"""One id for all that one trigger sets in motion, and what else its lines and calls carry.

A trigger is a person's, a program's or the schedule's; its run's name gives the id, so that every retry, cleared task
and repeated command of the run has the same one. A run that triggers others hands its own id to them. It is bound to
the context, with run, source, stage, shard and attempt: each log line has them, each transaction of the graph as its
metadata, each request to the vectors in a header, each transaction of the ledger in its application name. What a call
carries is made when it is bound, so that a call itself only reads one variable. Assumes nothing of the caller: where
nothing is bound, nothing is carried.
"""

from __future__ import annotations

import contextvars
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from concordance.operations.tracebacks import told

T = TypeVar("T")

# Legal in a header, in a file name, in SQL and in a search box; a conf key may bring one.
ID_PATTERN = "^[0-9a-f]{16}$"
HEADER = "x-request-id"
PROGRAM = "concordance"
# PostgreSQL cuts a longer one in the middle of a word.
MAX_NAME_BYTES = 63
_MAX_VALUE_CHARACTERS = 250

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Carried:
    """What is bound now: the fields by name, and the application name that tells of them in PostgreSQL."""

    fields: Mapping[str, str | int] = field(default_factory=dict)
    application_name: str = PROGRAM

    @property
    def correlation_id(self) -> str:
        return str(self.fields.get("correlation_id", ""))


_NOTHING = Carried()
_carried: contextvars.ContextVar[Carried] = contextvars.ContextVar("concordance_carried", default=_NOTHING)


def of_run(run_id: str) -> str:
    """The id of everything that the run of this name sets in motion."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:16]


def is_id(given: Any) -> bool:
    """Whether this is an id, as a conf may bring one."""
    return isinstance(given, str) and re.fullmatch(ID_PATTERN, given) is not None


def for_run(run_id: str) -> str:
    """The id that is bound, of whatever triggered the run; else the run's own."""
    return current_id() or of_run(run_id)


def carried() -> Carried:
    """What a call of a store carries now."""
    return _carried.get()


def current_id() -> str:
    """The id that is bound now; empty where nothing is."""
    return _carried.get().correlation_id


def bind(**fields: str | int) -> None:
    """Carry these fields from here on, to the end of the context: for the entry of a process that does one thing."""
    _carried.set(_with(fields))
    structlog.contextvars.bind_contextvars(**fields)


@contextmanager
def bound(**fields: str | int) -> Iterator[None]:
    """Carry these fields within the block, beside what is bound already."""
    token = _carried.set(_with(fields))
    try:
        with structlog.contextvars.bound_contextvars(**fields):
            yield
    finally:
        _carried.reset(token)


def _with(fields: Mapping[str, str | int]) -> Carried:
    clean = {name: value[:_MAX_VALUE_CHARACTERS] if isinstance(value, str) else value for name, value in fields.items()}
    together = {**_carried.get().fields, **clean}
    words = (PROGRAM, together.get("correlation_id"), together.get("stage"))
    name = " ".join(str(word) for word in words if word)
    return Carried(together, name.encode("ascii", "replace")[:MAX_NAME_BYTES].decode())


@contextmanager
def stage(name: str, *, source: str) -> Iterator[None]:
    """Carry the stage within the block, and say in one line how it ended: when it fails, with the error's class and
    reason code. The ids are those that are bound."""
    began = time.monotonic()
    with bound(stage=name, source=source):
        try:
            yield
        except Exception as error:
            log.error("a stage failed", seconds=round(time.monotonic() - began, 3), **told(error))
            raise
        log.info("a stage is done", seconds=round(time.monotonic() - began, 3))


class Threads(ThreadPoolExecutor):
    """A pool whose threads carry what the caller of `submit` carried."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        # A copy for each call: one context cannot be entered by two threads at once.
        return super().submit(contextvars.copy_context().run, fn, *args, **kwargs)
