"""What `up`, `status` and `down` do when something died, was killed, or was taken away."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from concordance.errors import Misconfigured, Unavailable
from concordance.local import processes, stack, state
from concordance.local import programs as programs_of
from concordance.local.program import Program
from concordance.local.stack import Condition, Service, StackStatus
from concordance.settings import Settings
from support.stacks import running, stack_settings, with_secrets
from support.waiting import wait_for

STORES = ("postgres", "graph", "vectors")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack that the tests of this file may hurt; each brings it up again where it needs it."""
    with running(stack_settings(tmp_path_factory.mktemp("own"))) as settings:
        yield settings


def _services(status: StackStatus) -> dict[str, Service]:
    return {service.name: service for service in status.services}


def _pids(status: StackStatus) -> dict[str, int | None]:
    return {name: service.pid for name, service in _services(status).items() if name in STORES}


def _kill(process: psutil.Process | None) -> None:
    assert process is not None
    process.kill()
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, what="the end of a process")


def test_stores_that_are_killed_come_back(own: Settings) -> None:
    before = _pids(stack.up(own))
    for pid in before.values():
        _kill(psutil.Process(pid))

    def revived() -> StackStatus | None:
        status = stack.status(own)
        return status if status.is_healthy else None

    after = _pids(wait_for(revived, seconds=90, what="the return of the stores"))
    assert not set(before.values()) & set(after.values())


def test_a_killed_supervisor_is_told_and_up_starts_anew(own: Settings) -> None:
    before = _pids(stack.up(own))
    _kill(processes.find(state.locate(own), processes.SUPERVISOR))

    status = stack.status(own)
    assert not status.is_healthy
    for name in STORES:
        assert _services(status)[name].condition is Condition.FAILED
        assert "without its supervisor" in _services(status)[name].detail
    lines: list[str] = []
    after = stack.up(own, report=lines.append)
    assert after.is_healthy
    assert not set(before.values()) & set(_pids(after).values())
    assert "graph, postgres, vectors" in lines[0]


def test_down_leaves_no_process_when_the_supervisor_was_killed(own: Settings) -> None:
    stack.up(own)
    _kill(processes.find(state.locate(own), processes.SUPERVISOR))
    assert stack.down(own).is_stopped
    assert processes.members(state.locate(own)) == []


def test_after_kill_9_of_everything_up_finds_all_that_was_committed(own: Settings) -> None:
    stack.up(own)
    with psycopg.connect(own.effective_ledger_url, password=own.ledger_password.get_secret_value()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (id int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    _kill_everything(own)
    assert stack.status(own).is_stopped
    # After a reboot the number in the database's pid file can be any other program's, of the same account.
    with _foreign_process(own) as foreign:
        pid_file = own.state_dir / "postgres" / "data" / "postmaster.pid"
        lines = pid_file.read_text().splitlines(keepends=True)
        pid_file.write_text("".join([f"{foreign.pid}\n", *lines[1:]]))
        assert stack.up(own).is_healthy
        assert foreign.poll() is None
        foreign.kill()
    with psycopg.connect(own.effective_ledger_url, password=own.ledger_password.get_secret_value()) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM kept").fetchone() == (True,)


def _kill_everything(settings: Settings) -> None:
    def killed() -> bool:
        for process in processes.members(state.locate(settings)):
            process.send_signal(signal.SIGKILL)
        return not processes.members(state.locate(settings))

    wait_for(killed, what="the end of every process")


def _foreign_process(settings: Settings) -> subprocess.Popen[bytes]:
    owner = (settings.state_dir / "postgres" / "data").stat().st_uid
    user = owner if os.geteuid() == 0 else None
    return subprocess.Popen(["sleep", "600"], user=user, cwd="/")


def test_down_finds_the_processes_of_a_folder_that_was_removed(own: Settings) -> None:
    stack.up(own)
    shutil.rmtree(own.state_dir)
    assert stack.down(own).is_stopped
    assert processes.members(state.locate(own)) == []
    assert not own.state_dir.exists()
    # A stack of other secrets, for the tests after this one.
    stack.up(own)
    renewed = with_secrets(own)
    for name in ("ledger_password", "neo4j_password", "qdrant_api_key"):
        object.__setattr__(own, name, getattr(renewed, name))


def test_other_settings_than_those_that_run_are_refused_and_nothing_changes(own: Settings) -> None:
    before = _pids(stack.up(own))
    other = own.model_copy(update={"graph_heap_bytes": own.graph_heap_bytes * 2})
    with pytest.raises(Misconfigured, match=r"other settings.*graph.*concordance down"):
        stack.up(other)
    assert _pids(stack.status(own)) == before


def test_of_two_ups_at_once_one_starts_and_the_other_finds_it_done(own: Settings) -> None:
    stack.down(own)
    found: list[StackStatus] = []
    lines: list[str] = []
    both = [threading.Thread(target=lambda: found.append(stack.up(own, report=lines.append))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [status.is_healthy for status in found] == [True, True]
    assert _pids(found[0]) == _pids(found[1])
    assert sorted(line.split(":")[0] for line in lines) == sorted(STORES)


def test_an_up_that_waits_too_long_for_another_says_so(own: Settings) -> None:
    impatient = own.model_copy(update={"stack_start_seconds": 0.2})
    held = state.locked(state.locate(own), wait_seconds=60)
    with held, pytest.raises(Unavailable, match=rf"another `up` or `down` \(process {os.getpid()}\)"):
        stack.up(impatient)


def test_a_supervisor_that_hangs_is_stopped_by_down(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.up(own)
    monkeypatch.setattr("concordance.local.supervision._ASK_SECONDS", 0.3)
    supervisor = processes.find(state.locate(own), processes.SUPERVISOR)
    assert supervisor is not None
    supervisor.suspend()
    with pytest.raises(Unavailable, match=r"does not answer.*concordance down"):
        stack.up(own)
    monkeypatch.setattr("concordance.local.stack._ORPHAN_SECONDS", 5)
    assert stack.down(own).is_stopped


@pytest.mark.parametrize("one_shot", [False, True], ids=["long-running", "one-shot"])
def test_a_program_that_dies_is_named_with_its_log_and_the_running_stores_stay(
    own: Settings, monkeypatch: pytest.MonkeyPatch, one_shot: bool
) -> None:
    before = _pids(stack.up(own))
    _add(monkeypatch, _program(own, "dies", "print('no luck'); raise SystemExit(3)", one_shot=one_shot))
    with pytest.raises(Unavailable, match=r"dies (died|failed).*dies\.log say why"):
        stack.up(own, programs="all")
    assert "no luck" in (own.state_dir / "logs" / "dies.log").read_text()
    status = stack.status(own)
    assert _pids(status) == before
    assert not status.is_healthy
    assert _services(status)["dies"].condition is Condition.FAILED
    assert "dies.log" in _services(status)["dies"].detail


def test_a_one_shot_runs_once_before_those_that_need_it(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.up(own)
    notes = own.state_dir / "notes"
    note = f"open({str(notes)!r}, 'a').write('{{}} ')"
    waits = "; import signal; signal.pause()"
    first = _program(own, "first", note.format("first"), one_shot=True)
    second = _program(
        own, "second", note.format("second") + waits, needs=("first",), ready=lambda: _has(notes, "second")
    )
    _add(monkeypatch, second, first)
    for _ in range(2):
        status = stack.up(own, programs="all")
        assert status.is_healthy
        assert _services(status)["first"].condition is Condition.DONE
        assert _services(status)["second"].condition is Condition.RUNNING
        assert notes.read_text() == "first second "
    # The stores alone are asked for: what else runs is left alone.
    assert _services(stack.up(own))["second"].condition is Condition.RUNNING


def _has(notes: Path, word: str) -> None:
    if not notes.is_file() or word not in notes.read_text():
        raise Unavailable(f"{word} has not been noted")


def _program(settings: Settings, name: str, code: str, **given: Any) -> Program:
    return Program(name=name, argv=(sys.executable, "-c", code), directory=settings.state_dir, **given)


def _add(monkeypatch: pytest.MonkeyPatch, *added: Program) -> None:
    monkeypatch.setattr(
        programs_of, "everything", lambda *given, **named: (*programs_of.stores(*given, **named), *added)
    )


def test_down_stops_the_grandchildren_too(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    number = own.state_dir / "grandchild"
    code = (
        "import subprocess, signal; "
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True); "
        f"open({str(number)!r}, 'w').write(str(child.pid)); signal.pause()"
    )
    _add(monkeypatch, _program(own, "forks", code, ready=lambda: _has(number, "")))
    stack.up(own, programs="all")
    grandchild = psutil.Process(int(number.read_text()))
    stack.down(own)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    number.unlink()


def test_a_normal_user_in_a_deep_and_odd_folder_without_a_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = _folder_of_a_normal_user(tmp_path_factory)
    try:
        odd = folder.joinpath(*["a rather long name of a folder"] * 5, "100% 'odd' \"ü\" ; x, y")
        settings = stack_settings(odd)
        given = {name: getattr(settings, name) for name in settings.model_fields_set if not name.endswith("_dir")}
        # As root: the rights of `nobody`, but for a way through closed folders to the interpreter (as in /root).
        nobody = pwd.getpwnam("nobody")
        code = (
            "import os; from concordance.local import account, stack; from concordance.settings import load_settings\n"
            f"if os.geteuid() == 0: account.become(account.Account('nobody', {nobody.pw_uid}, {nobody.pw_gid}, 2))\n"
            f"settings = load_settings({given | {'state_dir': str(odd)}!r}, environment={{}})\n"
            "try: assert stack.up(settings).is_healthy\n"
            "finally: assert stack.down(settings).is_stopped\n"
        )
        done = subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd="/",
            env={"HOME": "", "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert processes.members(state.locate(settings)) == []
    finally:
        shutil.rmtree(folder)


def _folder_of_a_normal_user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0:
        return tmp_path_factory.mktemp("deep")
    # The folders of pytest are closed to other users.
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    return folder
