"""The rooms of the bench: each a module with `measure()`, which gives figures, measured in a process of its own.

A room that fails, is killed for its memory or hangs takes no other's figures along; and what one of them imports, or
leaves in memory, is no part of the next one's figures. `python -m bench.rooms NAME FILE` is that process.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.figures import Figure
from bench.records import ROOT, Room

# In this order: the short ones tell first.
NAMES = (
    "pipeline",
    "gates",
    "telemetry",
    "loaders",
    "encoding",
    "cold",
    "search",
    "airflow",
    "memory",
    "index",
    "reconcile",
    "costs",
    "scale",
)
# What a room that ran into its limit has to stop its stores.
_GRACE_SECONDS = 90.0


def measured(name: str, *, environment: Mapping[str, str], limit_seconds: float) -> Room:
    """What the room found, in a process of its own; with an `error` and what it told before if it failed."""
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="concordance-bench-") as folder:
        target = Path(folder) / "room.json"
        error = _run(name, target, environment=environment, limit_seconds=limit_seconds)
        told: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {"figures": [], "error": ""}
    figures = tuple(Figure(**{**each, "samples": tuple(each["samples"])}) for each in told["figures"])
    seconds, loads = round(time.monotonic() - began, 1), (round(load, 2), round(os.getloadavg()[0], 2))
    return Room(name, figures, seconds, loads, error=told["error"] or error)


def _run(name: str, target: Path, *, environment: Mapping[str, str], limit_seconds: float) -> str:
    """Wait for the room's process; what is wrong with how it ended."""
    argv = [sys.executable, "-m", "bench.rooms", name, str(target)]
    with subprocess.Popen(argv, cwd=ROOT, env={**os.environ, **environment}) as process:
        try:
            status = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            _stop(process)
            return f"it was not done within {limit_seconds / 60:g} minutes"
        except BaseException:
            _stop(process)
            raise
    return "" if status == 0 else f"its process ended with {status}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let it stop what it started, then end it."""
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def end_when_asked() -> None:
    """From here on a signal to end leaves this process's blocks in order, so that what they started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _main(name: str, target: Path) -> int:
    """What the room told until it was done, failed or was ended."""
    end_when_asked()
    figures: list[Figure] = []
    error = ""
    try:
        for figure in importlib.import_module(f"bench.{name}").measure():
            figures.append(figure)
    except Exception as failure:
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
    finally:
        target.write_text(json.dumps({"figures": [asdict(figure) for figure in figures], "error": error}))
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], Path(sys.argv[2])))
