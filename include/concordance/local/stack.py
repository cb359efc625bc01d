"""`up`, `status` and `down` of the local stack.

`up` ends with every program answering, or with nothing of what it started left behind and one sentence that says what
to do. A second `up` changes nothing. `down` leaves no process, also when the supervisor itself was killed before.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from concordance.errors import ConcordanceError, Misconfigured, Unavailable
from concordance.local import launch, postgres, processes, supervision
from concordance.local import programs as make
from concordance.local import state as states
from concordance.local.program import Program
from concordance.local.programs import Selection
from concordance.local.state import State
from concordance.local.supervision import Supervised
from concordance.settings import ENVIRONMENT_PREFIX, Settings

_POLL_SECONDS = 0.1
_ORPHAN_SECONDS = 30
_LOG_TAIL_BYTES = 16_384

Report = Callable[[str], None]


class Condition(enum.StrEnum):
    """How a service is."""

    RUNNING = "running"
    STARTING = "starting"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Service:
    """One service for people and programs; `detail` says what is wrong and what to do, or is empty."""

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
    """The whole stack. `is_wanted` of a service that nobody started is False: it does not count for health."""

    state_dir: Path
    services: tuple[Service, ...]
    wanted: frozenset[str]

    @property
    def is_healthy(self) -> bool:
        """Whether everything that was started answers, and anything was. The exit code of `status`."""
        good = (Condition.RUNNING, Condition.DONE)
        return bool(self.wanted) and all(
            service.condition in good for service in self.services if service.name in self.wanted
        )

    @property
    def is_stopped(self) -> bool:
        """Whether nothing runs."""
        return all(service.pid is None for service in self.services)


def up(settings: Settings, *, programs: Selection = "stores", report: Report = lambda line: None) -> StackStatus:
    """Start what is not running of the selection, and wait until all of it answers.

    `report` gets a line for each step. The secrets that are generated on the first call are read by the next
    `load_settings`. Raises `Misconfigured` or `Unavailable`, with nothing of what was started left behind.
    """
    state = states.create(settings)
    with _full_disk_named(state), states.locked(state, wait_seconds=settings.stack_start_seconds):
        secrets = states.ensure_secrets(state)
        account = postgres.choose_account(state)
        stores = make.stores(settings, state, secrets=secrets, database_account=account)
        everything = make.everything(settings, state, secrets=secrets, database_account=account)
        wanted = everything if programs == "all" else stores
        _bring_up(settings, state, everything=everything, wanted=wanted, report=report)
    return status(settings)


def status(settings: Settings) -> StackStatus:
    """How every service is, asked now: the supervisor's word and the service's own answer.

    Raises `Misconfigured` for a state folder of another user, `Unavailable` for a supervisor that does not answer.
    """
    state = states.locate(settings)
    states.check_readable(state)
    stored = states.read_secrets(state)
    secrets = {name: stored.get(name, "") for name in states.SECRET_NAMES}
    everything = make.everything(settings, state, secrets=secrets, database_account=None)
    supervised = supervision.ask(state) if state.run.is_dir() else None
    if supervised is None:
        orphans = {processes.program_of(process, state): process for process in reversed(processes.members(state))}
        services = tuple(_unsupervised(program, state, orphans.get(program.name)) for program in everything)
        return StackStatus(state.path, services, frozenset(orphans))
    known = supervised
    with ThreadPoolExecutor(max_workers=len(everything)) as pool:
        services = tuple(
            pool.map(lambda program: _service(settings, state, program, known.get(program.name)), everything)
        )
    return StackStatus(state.path, services, frozenset(supervised))


def down(settings: Settings, *, report: Report = lambda line: None) -> StackStatus:
    """Stop everything; the data stays. Nothing to stop is no error.

    Raises `Misconfigured` for a state folder of another user, `Unavailable` for a process that cannot be stopped.
    """
    state = states.locate(settings)
    states.check_readable(state)
    if state.path.exists():
        with states.locked(state, wait_seconds=settings.stack_start_seconds):
            _stop_everything(state, report=report)
    else:
        # Somebody removed the folder under the running programs: they are found all the same.
        _stop_everything(state, report=report)
    return status(settings)


@contextlib.contextmanager
def _full_disk_named(state: State) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full_disk(state) from None


def _full_disk(state: State) -> Misconfigured:
    return Misconfigured(
        f"the disk of {state.path} is full: free some space, or set {ENVIRONMENT_PREFIX}STATE_DIR to a folder on "
        "another disk, and run `up` again"
    )


def _bring_up(
    settings: Settings, state: State, *, everything: Sequence[Program], wanted: Sequence[Program], report: Report
) -> None:
    supervised = supervision.ask(state)
    if supervised is None and (left := processes.stop_members(state, wait_seconds=_ORPHAN_SECONDS)):
        report(f"stopped what an earlier stack had left running: {', '.join(left)}")
    known = supervised or {}
    _check_unchanged(state, wanted, known)
    missing = [program for program in wanted if not _stands(state, program, known.get(program.name))]
    _check_ports(missing)
    for program in missing:
        program.prepare()
    try:
        if missing:
            named = {program.name for program in wanted} | set(known)
            configured = [program for program in everything if program.name in named]
            supervision.write_configuration(state, configured, settings=settings)
            if supervised is None:
                supervision.start(state)
            else:
                supervision.add(state, [program.name for program in missing])
        _start(settings, state, wanted=wanted, missing=missing, report=report)
    except BaseException as error:
        try:
            _take_down(state, missing if supervised is not None else None)
        except ConcordanceError as second:
            error.add_note(f"and what was started could not be stopped: {second}")
        raise


def _stands(state: State, program: Program, known: Supervised | None) -> bool:
    """Whether a program needs no start: it is alive, or ran once with what it would be given now."""
    if known is None:
        return False
    if program.one_shot:
        return known.is_done and _is_unchanged(state, program)
    return known.is_alive


def _is_unchanged(state: State, program: Program) -> bool:
    try:
        return launch.read(state, program.name) == program.launch(state)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_unchanged(state: State, wanted: Sequence[Program], known: Mapping[str, Supervised]) -> None:
    alive = [program for program in wanted if (found := known.get(program.name)) and found.is_alive]
    changed = [program.name for program in alive if not program.one_shot and not _is_unchanged(state, program)]
    if changed:
        raise Misconfigured(
            f"{', '.join(changed)} of {state.path} run with other settings than the present ones: run "
            "`python -m concordance down`, then `up`"
        )


def _check_ports(missing: Sequence[Program]) -> None:
    taken: dict[int, str] = {}
    for program in missing:
        for setting, port in program.ports.items():
            variable = ENVIRONMENT_PREFIX + setting.upper()
            if port in taken:
                raise Misconfigured(f"{variable} and {taken[port]} are both {port}: give each its own port")
            taken[port] = variable
            if not _is_free(port):
                raise Misconfigured(
                    f"port {port} on 127.0.0.1, which {program.name} needs, is in use{_holder(port)}: stop that "
                    f"program, or set {variable} to a free port"
                )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a connection that ended a moment ago does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.pid is None or not connection.laddr:
                continue
            if connection.laddr.port == port:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def _start(
    settings: Settings, state: State, *, wanted: Sequence[Program], missing: Sequence[Program], report: Report
) -> None:
    """Start the missing programs as soon as what they need is ready, and wait until every wanted one is."""
    waiting, pending = list(missing), {program.name: program for program in wanted if program not in missing}
    begun = dict.fromkeys(pending, time.monotonic())
    names, ready = {program.name for program in wanted}, set[str]()
    started = {program.name for program in missing}
    while waiting or pending:
        for program in [each for each in waiting if set(each.needs) & names <= ready]:
            supervision.start_program(state, program.name)
            waiting.remove(program)
            pending[program.name], begun[program.name] = program, time.monotonic()
        known = supervision.ask(state)
        if known is None:
            raise Unavailable(f"the supervisor ended while it was starting: see {state.log_file('supervisord')}")
        for program in list(pending.values()):
            lacks = _lacks(state, program, known.get(program.name))
            if lacks is None:
                if program.name in started:
                    program.establish()
                    report(f"{program.name}: ready{f' on {program.address}' if program.address else ''}")
                ready.add(program.name)
                del pending[program.name]
            elif time.monotonic() - begun[program.name] > settings.stack_start_seconds:
                raise Unavailable(
                    f"{program.name} was not ready within {settings.stack_start_seconds:g} s ({lacks}): "
                    f"see {state.log_file(program.name)}"
                )
        if pending:
            time.sleep(_POLL_SECONDS)


def _lacks(state: State, program: Program, known: Supervised | None) -> str | None:
    """What a started program lacks to be ready, None when nothing. Raises when it cannot become ready."""
    if known is None:
        raise Unavailable(f"the supervisor does not know {program.name}: run `python -m concordance down`, then `up`")
    if known.state == "FATAL" or (program.one_shot and known.state == "EXITED" and not known.is_done):
        raise _dead(state, program)
    if program.one_shot:
        return None if known.is_done else "it has not ended"
    if not known.is_alive:
        return "it died and is started again"
    try:
        program.ready()
    except Unavailable as error:
        return str(error)
    return None


def _dead(state: State, program: Program) -> ConcordanceError:
    log = state.log_file(program.name)
    tail = _tail(log)
    if "No space left on device" in tail:
        return _full_disk(state)
    what = "failed" if program.one_shot else "ended as often as it was started"
    return Unavailable(f"{program.name} {what}: the last lines of {log} say why")


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _take_down(state: State, started: Sequence[Program] | None) -> None:
    """Stop what a failed `up` started: some programs, or with None the whole stack."""
    if started is None:
        _stop_everything(state, report=lambda line: None)
        return
    for program in reversed(started):
        supervision.stop_program(state, program.name)
    deadline = time.monotonic() + sum(program.stop_seconds for program in started) + 10
    names = {program.name for program in started}
    while any(one.pid for one in (supervision.ask(state) or {}).values() if one.name in names):
        if time.monotonic() > deadline:
            raise Unavailable(f"{', '.join(sorted(names))} do not end: run `python -m concordance down`")
        time.sleep(_POLL_SECONDS)


def _stop_everything(state: State, *, report: Report) -> None:
    found = processes.members(state)
    names = sorted({processes.program_of(process, state) for process in found} - {"unknown", processes.SUPERVISOR})
    if state.run.is_dir() and supervision.shut_down(state):
        # It stops its programs one after the other, each within its own time, then itself.
        psutil.wait_procs(found, timeout=_ORPHAN_SECONDS * max(1, len(names)) + 10)
    processes.stop_members(state, wait_seconds=_ORPHAN_SECONDS)
    if names:
        report(f"stopped: {', '.join(names)}")
    for left in state.run.glob("*") if state.run.is_dir() else ():
        # How programs are started holds secrets, and a socket without its process only misleads.
        left.unlink(missing_ok=True)


def _unsupervised(program: Program, state: State, orphan: psutil.Process | None) -> Service:
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


def _service(settings: Settings, state: State, program: Program, known: Supervised | None) -> Service:
    condition, detail = _condition(settings, state, program, known)
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


def _condition(settings: Settings, state: State, program: Program, known: Supervised | None) -> tuple[Condition, str]:
    if known is None or (known.state in ("STOPPED", "STOPPING") and not known.pid):
        return Condition.STOPPED, ""
    try:
        lacks = _lacks(state, program, known)
    except ConcordanceError as error:
        return Condition.FAILED, f"{error}; then run `python -m concordance up`"
    if lacks is None:
        return (Condition.DONE if program.one_shot else Condition.RUNNING), ""
    if known.is_alive and time.time() - known.started > settings.stack_start_seconds:
        return Condition.FAILED, f"{lacks}: see {state.log_file(program.name)}"
    return Condition.STARTING, lacks
