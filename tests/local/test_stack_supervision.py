"""How programs are started, watched and stopped, shown with small programs in the place of the stores."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from concordance.errors import Misconfigured, Unavailable
from concordance.local import processes, stack, state
from concordance.local import programs as programs_of
from concordance.local.program import Program
from concordance.local.stack import Condition, Service, StackStatus
from concordance.settings import Settings
from support.stacks import stack_settings
from support.waiting import wait_for

WAITS = "import signal; signal.pause()"
FORKS = "import subprocess; child = subprocess.Popen(['sleep', '600'], start_new_session=True); "

AddPrograms = Callable[..., None]


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a stack of its own, of which no process may be left."""
    own = stack_settings(tmp_path / "state")
    yield own
    stack.down(own)
    assert processes.members(state.locate(own)) == []


@pytest.fixture
def add(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AddPrograms:
    """Enter programs in the list of what a stack consists of; the first two stand for the stores."""
    listed = [_program(settings, name, WAITS) for name in ("one", "two")]
    monkeypatch.setattr(programs_of, "stores", lambda *given, **named: tuple(listed[:2]))
    monkeypatch.setattr(programs_of, "everything", lambda *given, **named: tuple(listed))
    return lambda *programs: listed.extend(programs)


def _program(settings: Settings, name: str, code: str, **given: Any) -> Program:
    """A program that notes its number in a file, is ready from then on, and does what `code` says."""
    note = settings.state_dir / f"{name}.note"

    def ready() -> None:
        if not note.is_file():
            raise Unavailable(f"{name} has not begun")

    # What dies notes nothing: it must not look ready before.
    noting = (
        ""
        if "SystemExit" in code
        else f"import os, pathlib; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); "
    )
    probe = None if given.get("one_shot") else ready
    return Program(
        name=name, argv=(sys.executable, "-c", noting + code), directory=settings.state_dir, ready=probe, **given
    )


def _services(status: StackStatus) -> dict[str, Service]:
    return {service.name: service for service in status.services}


def _pids(status: StackStatus) -> dict[str, int | None]:
    return {service.name: service.pid for service in status.services}


def _kill_supervisor(settings: Settings) -> None:
    supervisor = processes.find(state.locate(settings), processes.SUPERVISOR)
    assert supervisor is not None
    supervisor.kill()
    assert processes.wait_end(supervisor, seconds=10)


def test_a_program_that_is_killed_comes_back_and_the_others_stay(settings: Settings, add: AddPrograms) -> None:
    add()
    before = _pids(stack.up(settings))
    psutil.Process(before["one"]).kill()

    def revived() -> StackStatus | None:
        status = stack.status(settings)
        return status if status.is_healthy and _pids(status)["one"] != before["one"] else None

    assert _pids(wait_for(revived, what="the return of the program"))["two"] == before["two"]


def test_a_killed_supervisor_is_told_and_up_starts_anew(settings: Settings, add: AddPrograms) -> None:
    add()
    before = _pids(stack.up(settings))
    _kill_supervisor(settings)

    status = stack.status(settings)
    assert not status.is_healthy
    assert not status.is_stopped
    for service in status.services:
        assert service.condition is Condition.FAILED
        assert "without its supervisor" in service.detail
    lines: list[str] = []
    after = stack.up(settings, report=lines.append)
    assert after.is_healthy
    assert not set(before.values()) & set(_pids(after).values())
    assert lines[0] == "stopped what an earlier stack had left running: one, two"


@pytest.mark.parametrize("is_supervised", [True, False], ids=["with", "without"])
def test_down_stops_the_grandchildren_too(settings: Settings, add: AddPrograms, is_supervised: bool) -> None:
    number = settings.state_dir / "grandchild"
    add(_program(settings, "forks", FORKS + f"open({str(number)!r}, 'w').write(str(child.pid)); " + WAITS))
    stack.up(settings, programs="all")
    grandchild = psutil.Process(int(wait_for(lambda: number.is_file() and number.read_text(), what="the grandchild")))
    if not is_supervised:
        _kill_supervisor(settings)
    assert stack.down(settings).is_stopped
    assert processes.wait_end(grandchild, seconds=0)
    assert processes.members(state.locate(settings)) == []


def test_other_settings_than_those_that_run_are_refused_and_nothing_changes(
    settings: Settings, add: AddPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    add()
    before = _pids(stack.up(settings))
    changed = (_program(settings, "one", "'otherwise'; " + WAITS), _program(settings, "two", WAITS))
    with monkeypatch.context() as patched:
        patched.setattr(programs_of, "stores", lambda *given, **named: changed)
        with pytest.raises(Misconfigured, match=r"other settings.*\(one\).*concordance down"):
            stack.up(settings)
    assert _pids(stack.status(settings)) == before


def test_of_two_ups_at_once_one_starts_and_the_other_finds_it_done(settings: Settings, add: AddPrograms) -> None:
    add()
    found: list[StackStatus] = []
    lines: list[str] = []
    both = [threading.Thread(target=lambda: found.append(stack.up(settings, report=lines.append))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [status.is_healthy for status in found] == [True, True]
    assert _pids(found[0]) == _pids(found[1])
    assert sorted(lines) == ["one: ready", "two: ready"]


def test_an_up_that_waits_too_long_for_another_says_so(settings: Settings) -> None:
    impatient = settings.model_copy(update={"stack_start_seconds": 0.2})
    held = state.locked(state.create(settings), wait_seconds=60)
    with held, pytest.raises(Unavailable, match=rf"another `up` or `down` \(process {os.getpid()}\)"):
        stack.up(impatient)


def test_a_supervisor_that_hangs_is_named_by_up_and_stopped_by_down(
    settings: Settings, add: AddPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    add()
    stack.up(settings)
    supervisor = processes.find(state.locate(settings), processes.SUPERVISOR)
    assert supervisor is not None
    supervisor.suspend()
    monkeypatch.setattr("concordance.local.supervision._ASK_SECONDS", 0.3)
    with pytest.raises(Unavailable, match=rf"\(process {supervisor.pid}\).* does not answer.*concordance down"):
        stack.up(settings)
    monkeypatch.setattr("concordance.local.stack._ORPHAN_SECONDS", 1)
    assert stack.down(settings).is_stopped


@pytest.mark.parametrize("one_shot", [False, True], ids=["long-running", "one-shot"])
def test_a_program_that_dies_is_named_with_its_log_and_what_ran_before_stays(
    settings: Settings, add: AddPrograms, one_shot: bool
) -> None:
    before = {name: pid for name, pid in _pids(stack.up(settings)).items() if pid}
    later = _program(settings, "later", WAITS, needs=("dies",))
    add(_program(settings, "dies", "print('no luck'); raise SystemExit(3)", one_shot=one_shot), later)
    with pytest.raises(Unavailable, match=r"dies (died|failed).*dies\.log say why"):
        stack.up(settings, programs="all")
    assert "no luck" in (settings.state_dir / "logs" / "dies.log").read_text()
    status = stack.status(settings)
    assert {name: pid for name, pid in _pids(status).items() if name in before} == before
    assert not status.is_healthy
    assert _services(status)["dies"].condition is Condition.FAILED
    assert "dies.log" in _services(status)["dies"].detail
    assert _services(status)["later"].condition is Condition.STOPPED


def test_a_program_that_dies_in_the_first_up_takes_everything_down(settings: Settings, add: AddPrograms) -> None:
    add(_program(settings, "dies", "raise SystemExit(3)", one_shot=True))
    with pytest.raises(Unavailable, match=r"dies failed"):
        stack.up(settings, programs="all")
    assert stack.status(settings).is_stopped
    # Neither a secret nor a socket is left there.
    assert list((settings.state_dir / "run").iterdir()) == []


def test_a_program_that_never_answers_is_given_up(settings: Settings, add: AddPrograms) -> None:
    def never() -> None:
        raise Unavailable("it is deaf")

    before = _pids(stack.up(settings))
    add(Program(name="deaf", argv=(sys.executable, "-c", WAITS), directory=settings.state_dir, ready=never))
    impatient = settings.model_copy(update={"stack_start_seconds": 1.0})
    with pytest.raises(Unavailable, match=r"deaf was not ready within 1 s \(it is deaf\): see .*deaf\.log"):
        stack.up(impatient, programs="all")
    assert _pids(stack.status(settings)) == {**before, "deaf": None}


def test_a_one_shot_runs_once_before_those_that_need_it(settings: Settings, add: AddPrograms) -> None:
    notes = settings.state_dir / "notes"
    append = f"open({str(notes)!r}, 'a').write('{{}} '); "
    second = _program(settings, "second", append.format("second") + WAITS, needs=("first",))
    add(second, _program(settings, "first", append.format("first"), one_shot=True))
    for _ in range(2):
        status = stack.up(settings, programs="all")
        assert status.is_healthy
        assert _services(status)["first"].condition is Condition.DONE
        assert _services(status)["second"].condition is Condition.RUNNING
        wait_for(lambda: notes.read_text() == "first second ", what="both notes")
    # The stores alone are asked for: what else runs is left alone.
    assert _services(stack.up(settings))["second"].condition is Condition.RUNNING


def test_a_program_gets_its_own_environment_and_nothing_of_the_shells(
    settings: Settings, add: AddPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("HOME", "")
    shown = settings.state_dir / "shown"
    code = f"pathlib.Path({str(shown)!r}).write_text(repr(dict(os.environ))); " + WAITS
    add(_program(settings, "shows", code, environment={"OWN": 'a "quoted" %s; value'}))
    stack.up(settings, programs="all")
    environment = eval(wait_for(lambda: shown.is_file() and shown.read_text(), what="the environment"))  # noqa: S307
    assert environment["OWN"] == 'a "quoted" %s; value'
    assert environment["HOME"] == str(settings.state_dir / "home")
    assert "PGPORT" not in environment
