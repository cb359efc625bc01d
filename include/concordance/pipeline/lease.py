"""The lease of a run or a build that is at work: it must not end under a process that lives, however long a step takes.

Who goes document by document asks `renew_when_due` each time: the ledger is asked only when a third of the lease has
gone, and work that hangs lets the lease end. A single long call whose time is bounded elsewhere stands in a block of
`kept`, where a thread renews; it ends with the block, and with the process. A lease that was lost is never taken back:
who holds it by now is at work on the same things.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from concordance.errors import OutcomeUnknown, Unavailable
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings

log = structlog.get_logger(__name__)

# One renewal may fail and the next still comes in time.
_DUE_AFTER = 1 / 3


class Lease:
    """A lease that was taken just now. `keep` extends it by `seconds` in the ledger, and raises when it was lost."""

    def __init__(self, keep: Callable[[], None], *, seconds: float) -> None:
        self._keep = keep
        self._due_seconds = seconds * _DUE_AFTER
        self._due_at = time.monotonic() + self._due_seconds
        self._lost: Exception | None = None
        self._lock = threading.Lock()

    def renew(self) -> None:
        """Hold it for another whole span. Raises `Leased` when it was lost, what the ledger raises else."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            # The span begins before the ledger is asked: its answer may take long.
            asked_at = time.monotonic()
            self._keep()
            self._due_at = asked_at + self._due_seconds

    def renew_when_due(self) -> None:
        """The same once a third of it has gone; asks nobody before, and costs nothing then."""
        if self._lost is not None or time.monotonic() >= self._due_at:
            self.renew()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """It does not end while the block is at work. Raises at the block's end what `renew` raises."""
        is_over = threading.Event()
        # The thread's calls of the ledger carry the ids that the caller's do.
        keeping = contextvars.copy_context().run
        thread = threading.Thread(target=keeping, args=(self._keep_until, is_over), name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            # Nothing may be renewed any more that the caller gives back.
            thread.join()
        self.renew_when_due()

    def _keep_until(self, is_over: threading.Event) -> None:
        while not is_over.wait(self._due_seconds):
            try:
                self.renew()
            except (Unavailable, OutcomeUnknown) as error:
                # There is time for another one, and what is still wrong at the block's end is raised there.
                log.warning("a lease was not renewed", error=type(error).__name__)
            except Exception as error:
                self._lost = error
                return


def run_lease(run_id: str, source: str, *, adapters: Adapters, settings: Settings) -> Lease:
    """That of a run that was opened or renewed just now: its source's, or the builder's place for a run of a build."""
    return Lease(lambda: adapters.ledger.runs.keep(run_id=run_id, source=source), seconds=settings.source_lease_seconds)


def build_lease(build_id: str, *, adapters: Adapters, settings: Settings) -> Lease:
    """The builder's place, that the build took just now."""
    return Lease(lambda: adapters.ledger.building.keep(build_id), seconds=settings.source_lease_seconds)
