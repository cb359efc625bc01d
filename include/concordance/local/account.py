"""The account of the database when the stack is started by root: PostgreSQL refuses to run as root.

As a normal user nothing here is needed. As root, PostgreSQL runs as the system account `concordance-pg`, made on first
use (`nobody` where accounts cannot be made). The state folder's group lets that account through. Where a folder above
the state or the environment is closed to others (a checkout in /root), it gets one capability instead: to pass closed
folders. No permission outside the state folder is changed.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from concordance.errors import Misconfigured

NAME = "concordance-pg"
_FALLBACK = "nobody"
_MAKE = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin")

# linux/capability.h and linux/prctl.h. Reading past closed folders is the smaller right; containers often have only
# the larger one to give.
_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE, _CAP_SETPCAP = 2, 1, 8
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 28, 47, 2
_NO_SETUID_FIXUP = 1 << 2


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a program runs as; `capability` is the number of the one capability that it keeps, or None."""

    name: str
    uid: int
    gid: int
    capability: int | None = None


def for_database(paths: Sequence[Path], *, shared: Sequence[Path]) -> Account | None:
    """The account that PostgreSQL must run as, or None to run as the user who asks.

    `paths` are what it must reach; the folders of `shared` are opened to its group for passing (not for listing).
    Raises `Misconfigured` when it cannot be let through.
    """
    if os.geteuid() != 0:
        return None
    entry = _find_or_make()
    for folder in shared:
        os.chown(folder, 0, entry.pw_gid)
        folder.chmod(0o710)
    account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    closed = [folder for path in paths for folder in path.parents if not _passes(folder, account)]
    if not closed:
        return account
    held = _held()
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if held & (1 << capability) and held & (1 << _CAP_SETPCAP):
            return Account(account.name, account.uid, account.gid, capability)
    raise Misconfigured(
        f"PostgreSQL cannot run as root, and the account {account.name} may not pass {closed[0]}: start the stack as a "
        f"normal user, or run `chmod o+x {closed[0]}`"
    )


def own(folder: Path, account: Account | None) -> None:
    """Give a folder with all that is in it to the account, where it is not the account's already."""
    if account is None or folder.stat().st_uid == account.uid:
        return
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), account.uid, account.gid, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid)


def become(account: Account) -> None:
    """Turn this process, of root, into one of the account for good; it keeps the one capability over `exec`.

    Raises `OSError` when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if account.capability is not None:
        # Else the capability ends with root's number, and `access`, which PostgreSQL asks about its own programs, would
        # leave it out of account.
        _checked(libc.prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0))
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    if account.capability is None:
        return
    mask = 1 << account.capability
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)  # effective, permitted, inheritable; low and high words
    _checked(libc.capset(ctypes.byref(header), ctypes.byref(sets)))
    _checked(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, account.capability, 0, 0))


def _checked(outcome: int) -> None:
    if outcome != 0:
        raise OSError(ctypes.get_errno(), "the kernel refused the capability")


def _held() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def _passes(folder: Path, account: Account) -> bool:
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid == account.gid else 0o001))


def _find_or_make(attempts: int = 5) -> pwd.struct_passwd:
    maker = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    for _ in range(attempts if maker else 0):
        try:
            return pwd.getpwnam(NAME)
        except KeyError:
            # Two stacks may make it at the same moment: the one that finds the user file locked looks again.
            made = subprocess.run([str(maker), *_MAKE, NAME], capture_output=True, check=False)
            if made.returncode not in (0, 1, 9):
                break
            if made.returncode == 1:
                time.sleep(0.2)
    for name in (NAME, _FALLBACK):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Misconfigured(
        f"PostgreSQL cannot run as root, and the account {NAME} cannot be made: start the stack as a normal user, or "
        f"run `useradd {' '.join(_MAKE)} {NAME}`"
    )
