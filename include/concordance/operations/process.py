"""What this process uses: processor time, memory, and the disks that it writes to. Cheap enough for every stage."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from concordance.settings import Settings

# mallopt(3), and blocks from this size on.
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 1024 * 1024


def give_back_large_blocks() -> None:
    """From now on a block of a MiB or more is the system's again as soon as this process frees it.

    glibc by itself raises that size up to 32 MiB with each larger block that is freed (mallopt(3)); what a stage holds
    of one shard would then stay, in pieces between small blocks, while it reads the next one. Where the C library
    knows no such size nothing changes.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def cpu_seconds() -> float:
    """Processor time of this process since it was forked, and of its children: those that have ended and were waited
    for, and those that run now (the parser's) with what they waited for.

    The difference between two calls is what was used between them. A child that ends without being waited for drops
    out; that of another process is never in it.
    """
    times = os.times()
    spent = times.user + times.system + times.children_user + times.children_system
    for pid in _children():
        with suppress(psutil.Error):
            spent += sum(psutil.Process(pid).cpu_times()[:4])
    return spent


def peak_bytes() -> int:
    """The most memory that this process had resident since it began; a forked one begins with what it shares."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Where there is no such file: `getrusage` counts in bytes on macOS, in KiB elsewhere. (On Linux it would begin with
    # the peak of the program that started this one.)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_bytes(settings: Settings) -> dict[str, int]:
    """What is free for this account on the disks of the staging area and of the state folder, by `staging` and `state`;
    without what is not on a disk of this machine, or not there yet."""
    free = {}
    for place, folder in _folders(settings):
        with suppress(OSError):
            free[place] = shutil.disk_usage(folder).free
    return free


def _folders(settings: Settings) -> Iterator[tuple[str, Path]]:
    protocol, _, path = settings.staging.rpartition("://")
    if protocol in ("", "file"):
        yield "staging", Path(path)
    yield "state", settings.state_dir


def _children() -> list[int]:
    """The running children of this process. Linux lists them by thread; elsewhere all processes are looked through,
    which takes forty times as long."""
    try:
        listed = [(task / "children").read_text(encoding="ascii") for task in Path("/proc/self/task").iterdir()]
    except OSError:
        with suppress(psutil.Error):
            return [child.pid for child in psutil.Process().children()]
        return []
    return [int(pid) for line in listed for pid in line.split()]
