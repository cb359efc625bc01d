"""The parser's child process gives up what it does not need, and says what it could not give up.

Each restriction has a name and words on how it is kept, None where this machine cannot keep it: `confine` promises
nothing that is not in force. Standard library only: the child starts often. Landlock and seccomp are asked for by bare
system calls: of their bindings one is an alpha version and the other needs a library of the operating system.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

from concordance.parsing import call_filter

# A thread's stack counts as data, used or not, and the native parser starts a few threads for each processor.
_STACK_BYTES_PER_PROCESSOR = 16_000_000
_SHARED_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
# The same numbers on every architecture.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_FILE_RIGHTS = ((5, 16), (3, 15), (2, 14), (1, 13))
"""How many rights over files a kernel knows, by its Landlock version."""
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11


class Restriction(NamedTuple):
    """`how` is for people, None where this machine cannot keep it."""

    name: str
    how: str | None


def confine(*, memory_bytes: int, cpu_seconds: int, open_files: int) -> list[Restriction]:
    """Put every restriction in force that this machine allows."""
    data_bytes = memory_bytes + _STACK_BYTES_PER_PROCESSOR * (os.cpu_count() or 1)
    kept = [
        Restriction("environment", None if set(os.environ) - {"LC_CTYPE", "LC_ALL"} else "empty"),
        _limited("data", resource.RLIMIT_DATA, data_bytes, how=f"{data_bytes} bytes, by the kernel"),
        _limited("processor time", resource.RLIMIT_CPU, cpu_seconds, how=f"{cpu_seconds} s a document, by the kernel"),
        _limited("open files", resource.RLIMIT_NOFILE, open_files, how=f"{open_files}, by the kernel"),
        _limited("written files", resource.RLIMIT_FSIZE, 0, how="of 0 bytes, by the kernel"),
        _limited("memory dumps", resource.RLIMIT_CORE, 0, how="none, by the kernel"),
    ]
    return kept + (_confine_linux() if sys.platform.startswith("linux") else _unconfined())


def allow_cpu(seconds: int) -> None:
    """Let this process use `seconds` more of processor time: the limit counts its whole life, a document its own."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def _limited(name: str, kind: int, limit: int, *, how: str) -> Restriction:
    # Processor time is raised again for each document: its hard limit stays.
    hard = resource.RLIM_INFINITY if kind == resource.RLIMIT_CPU else limit
    try:
        resource.setrlimit(kind, (limit, hard))
    except (OSError, ValueError):
        return Restriction(name, None)
    return Restriction(name, how)


def _unconfined() -> list[Restriction]:
    return [Restriction(name, None) for name in ("rights", "network", "other programs", "files of the machine")]


def _confine_linux() -> list[Restriction]:
    libc = ctypes.CDLL(None, use_errno=True)
    has_namespace = libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    gives_up_rights = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    reads_libraries_alone = _confine_files(libc)
    has_filter = call_filter.install(libc)
    network = [
        *(["a namespace without a network"] if has_namespace else []),
        *(["a filter that refuses sockets"] if has_filter else []),
    ]
    return [
        Restriction("rights", "no new ones" if gives_up_rights else None),
        Restriction("network", f"none, by {' and '.join(network)}" if network else None),
        Restriction("other programs", "none, by a filter of system calls" if has_filter else None),
        Restriction(
            "files of the machine",
            "none but the interpreter's own libraries, for reading, by Landlock" if reads_libraries_alone else None,
        ),
    ]


def _confine_files(libc: ctypes.CDLL) -> bool:
    """Landlock: of all files only libraries can be opened, and only for reading."""
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    rights = next(count for least, count in _LANDLOCK_FILE_RIGHTS if version >= least)
    attributes = struct.pack("=QQQ", (1 << rights) - 1, _TCP, _ABSTRACT_SOCKETS_AND_SIGNALS)
    # An older kernel knows fewer of the three words.
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, size, 0)
    if ruleset < 0:
        return False
    try:
        return (
            all(_may_read(libc, ruleset, path) for path in _libraries())
            and libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0
        )
    finally:
        os.close(ruleset)


def _libraries() -> list[str]:
    """Folders that the interpreter and the parsers are loaded from, when a document first needs them."""
    own = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    found = {*own, str(Path(sys.base_prefix, "lib")), str(Path(__file__).parent), *_SHARED_LIBRARIES}
    return sorted(path for path in found if os.path.exists(path))


def _may_read(libc: ctypes.CDLL, ruleset: int, path: str) -> bool:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0)
            return bool(libc.syscall(_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", rights, descriptor), 0) == 0)
        finally:
            os.close(descriptor)
    return False
