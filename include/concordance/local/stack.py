"""`up`, `status` and `down` of the local stack.

`up` ends with every program answering, or with nothing of what it started left behind and one sentence that says what
to do. A second `up` changes nothing. `down` leaves no process, also when the supervisor itself was killed before.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from pydantic import SecretStr

from concordance.errors import ConcordanceError, Misconfigured, Unavailable
from concordance.local import health, launch, postgres, processes, supervision
from concordance.local import programs as make
from concordance.local import state as states
from concordance.local.health import Condition, Service, StackStatus
from concordance.local.ports import check_ports
from concordance.local.program import Program
from concordance.local.programs import Selection
from concordance.local.state import State
from concordance.local.supervision import Supervised
from concordance.settings import Settings

__all__ = ["Condition", "Report", "Service", "StackStatus", "down", "status", "up"]

_POLL_SECONDS = 0.1
_ORPHAN_SECONDS = 30

Report = Callable[[str], None]


def _silent(line: str) -> None:
    del line


def up(settings: Settings, *, programs: Selection = "stores", report: Report = _silent) -> StackStatus:
    """Start what is not running of the selection, and wait until all of it answers.

    `report` gets a line for each step. The secrets that the first call generates are read by the next `load_settings`.
    Raises `Misconfigured` or `Unavailable`, with nothing of what was started left behind.
    """
    state = states.create(settings)
    with _full_disk_named(state), states.locked(state, wait_seconds=settings.stack_start_seconds):
        secrets = states.ensure_secrets(state)
        settings = _with_secrets(settings, secrets)
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
    known = supervision.ask(state) if state.run.is_dir() else None
    if known is None:
        orphans = {processes.program_of(process, state): process for process in reversed(processes.members(state))}
        services = tuple(health.unsupervised(state, program, orphans.get(program.name)) for program in everything)
        return StackStatus(state.path, services, frozenset(orphans))
    with ThreadPoolExecutor(max_workers=len(everything)) as pool:
        asked = [
            pool.submit(health.supervised, settings, state, program=program, known=known.get(program.name))
            for program in everything
        ]
        return StackStatus(state.path, tuple(one.result() for one in asked), frozenset(known))


def down(settings: Settings, *, report: Report = _silent) -> StackStatus:
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


def _with_secrets(settings: Settings, secrets: Mapping[str, str]) -> Settings:
    """The settings as they will be read after this `up`: those of the first one were read before there were secrets."""
    missing = {
        name: SecretStr(secret)
        for name, secret in secrets.items()
        if name in Settings.model_fields and not getattr(settings, name).get_secret_value()
    }
    return settings.model_copy(update=missing)


@contextmanager
def _full_disk_named(state: State) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise health.full_disk(state) from None


def _bring_up(
    settings: Settings, state: State, *, everything: Sequence[Program], wanted: Sequence[Program], report: Report
) -> None:
    supervised = supervision.ask(state)
    if supervised is None and (left := processes.stop_members(state, wait_seconds=_ORPHAN_SECONDS)):
        report(f"stopped what an earlier stack had left running: {', '.join(left)}")
    known = supervised or {}
    _check_unchanged(state, wanted, known)
    missing = [program for program in wanted if not _stands(state, program, known.get(program.name))]
    check_ports(missing)
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
            _take_down(state, None if supervised is None else missing)
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
            f"what runs in {state.path} was started with other settings than the present ones ({', '.join(changed)}): "
            "run `python -m concordance down`, then `up`"
        )


def _start(
    settings: Settings, state: State, *, wanted: Sequence[Program], missing: Sequence[Program], report: Report
) -> None:
    """Start the missing programs, each as soon as what it needs is ready, and wait until every wanted one is."""
    waiting = list(missing)
    pending = [program for program in wanted if program not in missing]
    begun = {program.name: time.monotonic() for program in pending}
    names, ready = {program.name for program in wanted}, set[str]()
    while waiting or pending:
        for program in [each for each in waiting if set(each.needs) & names <= ready]:
            supervision.start_program(state, program.name)
            begun[program.name] = time.monotonic()
            waiting.remove(program)
            pending.append(program)
        known = supervision.ask(state)
        if known is None:
            raise Unavailable(f"the supervisor ended while it was starting: see {state.log_file('supervisord')}")
        for program in list(pending):
            lacks = health.lacks(state, program, known.get(program.name))
            if lacks is None:
                if program in missing:
                    program.establish()
                    report(f"{program.name}: ready{f' on {program.address}' if program.address else ''}")
                ready.add(program.name)
                pending.remove(program)
            elif time.monotonic() - begun[program.name] > settings.stack_start_seconds:
                raise Unavailable(
                    f"{program.name} was not ready within {settings.stack_start_seconds:g} s ({lacks}): "
                    f"see {state.log_file(program.name)}"
                )
        if pending:
            time.sleep(_POLL_SECONDS)


def _take_down(state: State, started: Sequence[Program] | None) -> None:
    """Stop what a failed `up` started: some programs, or with None the whole stack."""
    if started is None:
        _stop_everything(state, report=_silent)
        return
    names = {program.name for program in started}
    for program in reversed(started):
        supervision.stop_program(state, program.name)
    deadline = time.monotonic() + sum(program.stop_seconds for program in started) + 10
    while any(one.pid for one in (supervision.ask(state) or {}).values() if one.name in names):
        if time.monotonic() > deadline:
            raise Unavailable(f"{', '.join(sorted(names))} do not end: run `python -m concordance down`")
        time.sleep(_POLL_SECONDS)


def _stop_everything(state: State, *, report: Report) -> None:
    found = {processes.program_of(process, state) for process in processes.members(state)}
    names = sorted(found - {processes.UNKNOWN, processes.SUPERVISOR})
    supervisor = supervision.find(state)
    if supervisor is not None and state.run.is_dir() and supervision.shut_down(state):
        # It stops its programs one after the other, each within its own time, then itself. What they have left behind
        # is found afterwards.
        processes.wait_end(supervisor, seconds=_ORPHAN_SECONDS * len(names) + 10)
    processes.stop_members(state, wait_seconds=_ORPHAN_SECONDS)
    if names:
        report(f"stopped: {', '.join(names)}")
    for left in state.run.glob("*") if state.run.is_dir() else ():
        # How programs are started holds secrets, and a socket without its process only misleads.
        left.unlink(missing_ok=True)
