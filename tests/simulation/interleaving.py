"""Several attempts at once, as steps of one thread of time: who goes on is decided at every named fault point.

Each attempt has a thread of its own, and one baton says which may run: the others wait inside their fault point. So a
seed decides the whole interleaving, and replays it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

PATIENCE_SECONDS = 60


@dataclass(eq=False)
class _Attempt:
    work: Callable[[], object]
    may_go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    is_done: bool = False
    error: BaseException | None = None


class Interleaving:
    """`choose(n)` names the next of n waiting attempts; `between()` happens before each step, while all wait."""

    def __init__(self, *, choose: Callable[[int], int], between: Callable[[], None]) -> None:
        self._choose = choose
        self._between = between
        self._attempts: dict[int, _Attempt] = {}
        self._stepped = threading.Semaphore(0)

    def run(self, works: Sequence[Callable[[], object]]) -> None:
        """All of them to their ends. Raises what the first of them raised that failed, after all have ended."""
        attempts = [_Attempt(work) for work in works]
        threads = [threading.Thread(target=self._live, args=(attempt,), daemon=True) for attempt in attempts]
        for thread in threads:
            thread.start()
        while waiting := [attempt for attempt in attempts if not attempt.is_done]:
            self._between()
            waiting[self._choose(len(waiting))].may_go.release()
            assert self._stepped.acquire(timeout=PATIENCE_SECONDS), "an attempt waits for one that holds no baton"
        for thread in threads:
            thread.join()
        for attempt in attempts:
            if attempt.error is not None:
                raise attempt.error

    def step(self) -> None:
        """Called by an attempt at a point where another may go on; outside of `run` it does nothing."""
        attempt = self._attempts.get(threading.get_ident())
        if attempt is not None:
            self._stepped.release()
            attempt.may_go.acquire()

    def _live(self, attempt: _Attempt) -> None:
        attempt.may_go.acquire()
        self._attempts[threading.get_ident()] = attempt
        try:
            attempt.work()
        except BaseException as error:
            attempt.error = error
        finally:
            del self._attempts[threading.get_ident()]
            attempt.is_done = True
            self._stepped.release()
