"""Which processes belong to a stack, found by what they are, and how they are stopped.

A process number in a file proves nothing: after a crash or a reboot it may be another program's. Every process of a
stack carries its state folder in the environment variable `CONCORDANCE_STACK`, inherited by all that it starts.
PostgreSQL's workers overwrite their environment with their title, so its processes are known by their cluster name.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from concordance.errors import Unavailable
from concordance.local.state import State

MARKER = "CONCORDANCE_STACK"
PROGRAM = "CONCORDANCE_PROGRAM"
SUPERVISOR = "supervisor"
UNKNOWN = "unknown"
_POLL_SECONDS = 0.1


def cluster_name(state: State) -> str:
    """The name that PostgreSQL shows in the title of each of its processes; one a state folder."""
    return f"concordance-{hashlib.sha256(str(state.path).encode()).hexdigest()[:12]}"


def members(state: State) -> list[psutil.Process]:
    """Every living process of this stack, but the caller and the processes that it was started by."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in own and is_member(process, state)]


def is_member(process: psutil.Process, state: State) -> bool:
    """Whether a process belongs to this stack. Zombies do not: they run nothing and wait for their parent."""
    try:
        if not _is_running(process):
            return False
        return _has_title(process, state) or process.environ().get(MARKER) == str(state.path)
    except (psutil.Error, OSError):
        # It ended meanwhile, or it is another user's, whose environment nobody may read.
        return False


def _has_title(process: psutil.Process, state: State) -> bool:
    cluster, words = cluster_name(state), process.cmdline()
    if not words:
        return False
    return words[0].startswith(f"postgres: {cluster}: ") or is_postmaster(words, cluster)


def is_postmaster(words: Iterable[str], cluster: str) -> bool:
    """Whether a command line is that of the database's first process, which the others hang on."""
    program, *arguments = words
    return Path(program).name == "postgres" and f"cluster_name={cluster}" in arguments


def program_of(process: psutil.Process, state: State) -> str:
    """The name of the program that a member belongs to."""
    try:
        if _has_title(process, state):
            return "postgres"
        return process.environ().get(PROGRAM, UNKNOWN)
    except (psutil.Error, OSError):
        return UNKNOWN


def find(state: State, program: str) -> psutil.Process | None:
    """The first process of a program, the one that started its others; None when it does not run."""
    found = [process for process in members(state) if program_of(process, state) == program]
    numbers = {process.pid for process in found}
    for process in found:
        try:
            if process.ppid() not in numbers:
                return process
        except psutil.Error:
            continue
    return None


def wait_end(process: psutil.Process, *, seconds: float) -> bool:
    """Wait until a process has ended; False when it still runs after `seconds`.

    Where the first process of a container collects no dead children, they stay as zombies: those count as ended.
    """
    deadline = time.monotonic() + seconds
    while _is_running(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop_members(state: State, *, wait_seconds: float) -> list[str]:
    """Stop every process of the stack, politely first; returns the names of the programs that were stopped.

    Those that are left after `wait_seconds` are killed. Raises `Unavailable` when one survives even that.
    """
    stopped: set[str] = set()
    deadline = time.monotonic() + wait_seconds
    asked: set[int] = set()
    while found := members(state):
        stopped.update(program_of(process, state) for process in found)
        late = time.monotonic() >= deadline
        for process in found:
            if late:
                _send(process, signal.SIGKILL)
            elif process.pid not in asked:
                _ask(process, state)
                asked.add(process.pid)
        time.sleep(_POLL_SECONDS)
        if time.monotonic() >= deadline + 10:
            left = ", ".join(str(process.pid) for process in members(state))
            if left:
                raise Unavailable(
                    f"the processes {left} of the stack in {state.path} do not end: stop them with `kill -9`"
                )
    return sorted(stopped - {UNKNOWN, SUPERVISOR})


def _ask(process: psutil.Process, state: State) -> None:
    try:
        words, is_of_database = process.cmdline(), _has_title(process, state)
    except psutil.Error:
        # It ended meanwhile.
        return
    if words and is_postmaster(words, cluster_name(state)):
        # Its SIGTERM waits for the clients to leave; SIGINT sends them away and shuts down cleanly.
        _send(process, signal.SIGINT)
    elif not is_of_database:
        # The database's workers end with its first process; asked by themselves, they would look like a crash.
        _send(process, signal.SIGTERM)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        raise Unavailable(f"the process {process.pid} of the stack is another user's: stop it as that user") from None
