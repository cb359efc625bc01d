"""Work in a thread that keeps nobody: neither the one who asked, nor the process from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_a_thread(work: Callable[[], T]) -> Future[T]:
    """The work's result. A pool's threads would be waited for at the process's end, however long they hang."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
