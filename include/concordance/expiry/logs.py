"""Log files below one folder that are too old, and the folders that they leave empty.

Symbolic links are neither followed nor removed: every step goes through the descriptor of the folder it is in, so that
a folder that is exchanged for a link meanwhile leads nowhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from concordance import fault_points
from concordance.errors import Misconfigured, Unavailable


def remove_logs(folder: Path, *, before: float, dry_run: bool = False) -> Iterator[int]:
    """Remove regular files last written before `before` (seconds since 1970), folder by folder, the deepest first;
    yields how many went from each, or with `dry_run` would go.

    Raises `Misconfigured` when `folder` is no folder, `Unavailable` when the disk does not answer.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise Misconfigured(f"{folder} is no folder of logs: correct the setting of Airflow's base_log_folder")
    try:
        for _, folders, files, descriptor in os.fwalk(folder, topdown=False, follow_symlinks=False):
            old = [name for name in files if _is_old(name, descriptor, before)]
            if dry_run:
                yield len(old)
                continue
            if old:
                with fault_points.around("logs.expire"):
                    yield sum(_remove(name, descriptor) for name in old)
            for name in folders:
                # One that is not empty stays, and so does a link: it is no folder.
                with suppress(OSError):
                    if _is_old(name, descriptor, before, of=stat.S_ISDIR):
                        os.rmdir(name, dir_fd=descriptor)
    except OSError as error:
        raise Unavailable(f"The logs in {folder} cannot be read: {error.strerror or type(error).__name__}") from None


def _is_old(name: str, folder: int, before: float, *, of: Callable[[int], bool] = stat.S_ISREG) -> bool:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return of(found.st_mode) and found.st_mtime < before


def _remove(name: str, folder: int) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True
