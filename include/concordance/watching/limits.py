"""The declared limits as they are now: a changed file counts from the next look on, as it does for tasks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from concordance.errors import Misconfigured
from concordance.operations.alerts import AlertKind, Breach, Watcher
from concordance.operations.slas import Slas, load_slas
from concordance.settings import Settings

_log = logging.getLogger(__name__)


class Limits:
    """The limits of `slas_file`. Thread-safe. Raises `Misconfigured` when it is made with a wrong file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._seen = self._mark()
        self._slas = load_slas(settings)

    def now(self) -> Slas:
        """The same object as before, unless the file has changed; after a change to a wrong one, which is logged once,
        the last good limits."""
        with self._lock:
            seen = self._mark()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._slas = load_slas(self._settings)
                except Misconfigured as error:
                    _log.error("the limits stay as they were until their file is right: %s", error)
                else:
                    _log.info("the limits have changed")
            return self._slas

    def _mark(self) -> tuple[int, int] | None:
        """What changes with the file; None while it is not there."""
        try:
            found = self._settings.slas_file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size


class ByLimits:
    """A watcher by the limits, made anew when they have changed."""

    def __init__(self, limits: Limits, make: Callable[[Slas], Watcher]) -> None:
        self._limits = limits
        self._make = make
        self._slas = limits.now()
        self._watcher = make(self._slas)

    @property
    def kinds(self) -> frozenset[AlertKind]:
        return self._watcher.kinds

    def look(self, now: datetime) -> list[Breach]:
        """What the watcher sees, by the limits of now. Raises what it raises."""
        slas = self._limits.now()
        if slas is not self._slas:
            self._slas, self._watcher = slas, self._make(slas)
        return self._watcher.look(now)
