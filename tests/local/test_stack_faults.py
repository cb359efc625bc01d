"""What happens to the stores when they are killed, when their folder is taken away, and to a user without a home."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from neo4j import Driver, GraphDatabase

from concordance.local import processes, stack, state
from concordance.local.stack import StackStatus
from concordance.settings import Settings
from support.stacks import running, stack_settings, with_secrets
from support.waiting import wait_for

STORES = ("postgres", "graph", "vectors")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack that the tests of this file may hurt; each brings it up again where it needs it."""
    with running(stack_settings(tmp_path_factory.mktemp("own"))) as settings:
        yield settings


def _pids(status: StackStatus) -> dict[str, int | None]:
    return {service.name: service.pid for service in status.services if service.name in STORES}


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


def test_after_kill_9_of_everything_up_finds_all_that_was_committed(own: Settings) -> None:
    stack.up(own)
    settings = with_secrets(own)
    with _ledger(settings) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    with _graph(settings) as driver:
        driver.execute_query("CREATE (:Kept)", database_=settings.effective_neo4j_database)
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
    with _ledger(settings) as connection:
        assert connection.execute("DROP TABLE kept").statusmessage == "DROP TABLE"
    with _graph(settings) as driver:
        found, _, _ = driver.execute_query("MATCH (n:Kept) RETURN count(n) AS n", database_="graph")
        assert found[0]["n"] == 1


def _ledger(settings: Settings) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(settings.effective_ledger_url, password=settings.ledger_password.get_secret_value())


def _graph(settings: Settings) -> Driver:
    credentials = (settings.effective_neo4j_user, settings.neo4j_password.get_secret_value())
    return GraphDatabase.driver(settings.effective_neo4j_url, auth=credentials)


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


def test_down_finds_the_stores_of_a_folder_that_was_removed_when_their_supervisor_is_dead(own: Settings) -> None:
    stack.up(own)
    _kill(processes.find(state.locate(own), processes.SUPERVISOR))
    shutil.rmtree(own.state_dir)
    lines: list[str] = []
    assert stack.down(own, report=lines.append).is_stopped
    assert lines == ["stopped: graph, postgres, vectors"]
    assert processes.members(state.locate(own)) == []
    assert not own.state_dir.exists()


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
