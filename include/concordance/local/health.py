"""How a service is: the supervisor's word about its process, and the service's own answer."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from concordance.errors import ConcordanceError, Misconfigured, Unavailable
from concordance.local.program import Program
from concordance.local.state import State
from concordance.local.supervision import Supervised
from concordance.settings import ENVIRONMENT_PREFIX, Settings

_LOG_TAIL_BYTES = 16_384


class Condition(enum.StrEnum):
    """How a service is. `DONE`: it runs once, and ended without an error."""

    RUNNING = "running"
    STARTING = "starting"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Service:
    """One service, for people and programs; `detail` says what is wrong and what to do, or is empty."""

    name: str
    condition: Condition
    address: str
    version: str
    pid: int | None
    uptime_seconds: float | None
    log_file: Path
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The whole stack. `wanted` are the names that somebody started; the others do not count for its health."""

    state_dir: Path
    services: tuple[Service, ...]
    wanted: frozenset[str]

    @property
    def is_healthy(self) -> bool:
        """Whether anything was started, and all of that answers. What the exit code of `status` says."""
        good = (Condition.RUNNING, Condition.DONE)
        conditions = [service.condition for service in self.services if service.name in self.wanted]
        return bool(conditions) and all(condition in good for condition in conditions)

    @property
    def is_stopped(self) -> bool:
        """Whether nothing runs."""
        return all(service.pid is None for service in self.services)


def full_disk(state: State) -> Misconfigured:
    """The error of a disk that became full while the stack was starting."""
    return Misconfigured(
        f"the disk of {state.path} is full: free some space, or set {ENVIRONMENT_PREFIX}STATE_DIR to a folder on "
        "another disk, and run `python -m concordance up` again"
    )


def lacks(state: State, program: Program, known: Supervised | None) -> str | None:
    """What a started program lacks to be ready; None when nothing.

    Raises `Unavailable` or `Misconfigured` when it will not become ready by itself.
    """
    if known is None:
        raise Unavailable(f"the supervisor does not know {program.name}: run `python -m concordance down`, then `up`")
    if known.state == "FATAL" or (program.one_shot and known.state == "EXITED" and not known.is_done):
        raise _dead(state, program)
    if program.one_shot:
        return None if known.is_done else "it has not ended yet"
    if not known.is_alive:
        return "it died and is started again"
    if program.ready is None:
        return None if known.state == "RUNNING" else "it was started a moment ago"
    try:
        program.ready()
    except Unavailable as error:
        return str(error)
    return None


def _dead(state: State, program: Program) -> ConcordanceError:
    log = state.log_file(program.name)
    if "No space left on device" in _tail(log):
        return full_disk(state)
    what = "failed" if program.one_shot else "died as often as it was started"
    return Unavailable(f"{program.name} {what}: the last lines of {log} say why. Then run `python -m concordance up`")


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def unsupervised(state: State, program: Program, orphan: psutil.Process | None) -> Service:
    """A service while there is no supervisor; `orphan` is its process, if that was left behind."""
    detail = "it runs without its supervisor: `up` starts it anew, `down` stops it" if orphan else ""
    return Service(
        name=program.name,
        condition=Condition.FAILED if orphan else Condition.STOPPED,
        address=program.address,
        version=program.version(),
        pid=orphan.pid if orphan else None,
        uptime_seconds=None,
        log_file=state.log_file(program.name),
        detail=detail,
    )


def supervised(settings: Settings, state: State, *, program: Program, known: Supervised | None) -> Service:
    """A service as the supervisor knows it (None: it was not started), asked now."""
    condition, detail = _condition(settings, state, program=program, known=known)
    alive = known is not None and known.is_alive
    return Service(
        name=program.name,
        condition=condition,
        address=program.address,
        version=program.version(),
        pid=known.pid if known else None,
        uptime_seconds=round(max(0.0, time.time() - known.started), 1) if known and alive else None,
        log_file=state.log_file(program.name),
        detail=detail,
    )


def _condition(
    settings: Settings, state: State, *, program: Program, known: Supervised | None
) -> tuple[Condition, str]:
    if known is None or known.state == "STOPPED":
        return Condition.STOPPED, ""
    try:
        missing = lacks(state, program, known)
    except ConcordanceError as error:
        return Condition.FAILED, str(error)
    if missing is None:
        return (Condition.DONE if program.one_shot else Condition.RUNNING), ""
    if known.is_alive and time.time() - known.started > settings.stack_start_seconds:
        return Condition.FAILED, f"{missing}: see {state.log_file(program.name)}"
    return Condition.STARTING, missing
