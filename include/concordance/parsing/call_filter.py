"""A filter of system calls for the parser's child process: no socket, no other process, no look into one.

A short program of the classic Berkeley packet filter, which the kernel (seccomp) runs before each call. It knows the
numbers of two architectures; on any other nothing is filtered, and `install` says so. A filter can only be added to,
never taken off.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_CLONE_THREAD = 0x00010000


class _Calls(NamedTuple):
    """One architecture's numbers of the system calls that are refused, wholly or for some of their arguments."""

    architecture: int
    refused: tuple[int, ...]
    """socket, io_uring_setup (which makes sockets too), execve, execveat, ptrace, process_vm_readv and _writev; fork
    and vfork where they exist."""
    clone: int
    clone3: int
    socketpair: int


_CALLS = {
    "x86_64": _Calls(0xC000003E, (41, 425, 59, 322, 101, 310, 311, 57, 58), clone=56, clone3=435, socketpair=53),
    "aarch64": _Calls(0xC00000B7, (198, 425, 221, 281, 117, 270, 271), clone=220, clone3=435, socketpair=199),
}
_LOAD, _AND, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_ALLOW, _KILL, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_FOREIGN_NUMBERS = 0x40000000
_STREAM = 1


def install(libc: ctypes.CDLL) -> bool:
    """Filter this thread's system calls, and those of all that it starts. False where that is not possible."""
    calls = _CALLS.get(os.uname().machine)
    if calls is None or sys.maxsize < 2**32:
        return False
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in _filter(calls))
    buffer = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, described, 0, 0) == 0)


def _filter(calls: _Calls) -> Iterator[tuple[int, int, int, int]]:
    """Instructions: code, how many to leave out if true, if false, operand."""
    yield from [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, calls.architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 0, 1, _FOREIGN_NUMBERS),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for number in calls.refused:
        yield from [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    yield from [
        # Its arguments lie in memory, out of a filter's sight; the C library falls back to clone.
        (_IF_EQUAL, 0, 1, calls.clone3),
        (_RETURN, 0, 0, _UNKNOWN),
        # Threads yes, processes no.
        (_IF_EQUAL, 0, 4, calls.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
        # An event loop wakes itself through a pair of streams; any other kind could be sent to an address.
        (_IF_EQUAL, 0, 5, calls.socketpair),
        (_LOAD, 0, 0, _SECOND_ARGUMENT),
        (_AND, 0, 0, 0xF),
        (_IF_EQUAL, 1, 0, _STREAM),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ALLOW),
    ]
