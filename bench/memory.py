"""The memory that a benchmark's own process needed at most."""

from __future__ import annotations

from pathlib import Path


def peak_bytes() -> int:
    """This process's own peak, on Linux. (`getrusage` begins with that of the process that started it.)"""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
