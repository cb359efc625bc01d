"""A small disk in memory; a test decides how many files and bytes still fit. Needs the right to mount."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def why_not() -> str | None:
    """Why no disk can be mounted here; None when one can."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "a disk of the test's own needs root and `mount`"
    return None


class SmallDisk:
    """A mounted tmpfs. `leave_files` and `leave_bytes` fill it up to what is left; `make_room` undoes both."""

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        self.folder = folder
        self._bytes = megabytes * 1024 * 1024

    def leave_files(self, count: int) -> None:
        """So many more files, folders and links can be made, then ENOSPC."""
        found = os.statvfs(self.folder)
        self._remount(f"nr_inodes={found.f_files - found.f_ffree + count}")

    def leave_bytes(self, count: int) -> None:
        """So many more bytes fit, to whole pages of memory, then ENOSPC."""
        found = os.statvfs(self.folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        # A size of 0 would mean no limit at all.
        self._remount(f"size={max(used + count, found.f_frsize)}")

    def make_room(self) -> None:
        self._remount(f"size={self._bytes},nr_inodes=100000")

    def _remount(self, options: str) -> None:
        _run("mount", "-o", f"remount,{options}", str(self.folder))


@contextmanager
def small_disk(folder: Path, *, megabytes: int = 10) -> Iterator[SmallDisk]:
    """A disk mounted at `folder`, which is made; gone with the block."""
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,nr_inodes=100000", "concordance-test", str(folder))
    try:
        yield SmallDisk(folder, megabytes=megabytes)
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
