"""Whether a process can go on with its work (live), whatever it depends on.

For health checks that run every few seconds: no driver of a store is imported.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from concordance.errors import ConcordanceError
from concordance.settings import Settings


def live(settings: Settings, *, heartbeat: Callable[[Settings], float] | None = None) -> tuple[str, ...]:
    """What keeps this process from its work, whatever it depends on: nothing if it is live. Never raises.

    It must be able to start a thread and to write to its state folder. `heartbeat` is asked how old the last round of
    the work is, and raises `ConcordanceError` when that is too long ago (`watch.check`).
    """
    faults = []
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_write, settings).result()
    except (OSError, RuntimeError) as error:
        faults.append(
            f"it cannot work in {settings.state_dir} ({type(error).__name__}): free disk, memory or processes"
        )
    try:
        if heartbeat is not None:
            heartbeat(settings)
    except ConcordanceError as error:
        faults.append(str(error))
    return tuple(faults)


def _write(settings: Settings) -> None:
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=settings.state_dir) as file:
        file.write(b".")
        file.flush()
