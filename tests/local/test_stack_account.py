"""The account that the database gets when root starts the stack: as few rights as its way to its files needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from concordance.local import account

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs an account for the database")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass; those of pytest are closed."""
    made = subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True)
    folder = Path(made.stdout.strip())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_where_it_can_pass_it_gets_no_capability(open_folder: Path) -> None:
    state = open_folder / "state"
    state.mkdir(mode=0o700)
    found = account.for_database([state / "data"], shared=[state])
    assert found is not None
    assert found.uid != 0
    assert found.capability is None
    assert state.stat().st_mode & 0o777 == 0o710
    assert open_folder.stat().st_mode & 0o777 == 0o755


def test_past_a_closed_folder_it_gets_one_capability_and_nothing_is_opened(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("#!/bin/sh\ngrep -E '^(Uid|CapPrm)' /proc/self/status\n")
    program.chmod(0o755)
    found = account.for_database([program], shared=[])
    assert found is not None
    assert found.capability is not None
    # `os.access` first: PostgreSQL asks it about its own programs before it runs them.
    code = (
        f"import os; from concordance.local.account import Account, become; become({found!r})\n"
        f"assert os.access({str(program)!r}, os.X_OK)\n"
        f"os.execv({str(program)!r}, ['program'])\n"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    shown = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert set(shown["Uid"].split()) == {str(found.uid)}
    assert int(shown["CapPrm"], 16) == 1 << found.capability
    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_folder_is_given_to_the_account_with_all_that_is_in_it(open_folder: Path) -> None:
    found = account.for_database([open_folder], shared=[])
    assert found is not None
    data = open_folder / "data"
    (data / "inner").mkdir(parents=True)
    (data / "inner" / "file").write_text("")
    (data / "link").symlink_to("/etc/passwd")
    account.own(data, found)
    owners = {path.lstat().st_uid for path in (data, *data.rglob("*"))}
    assert owners == {found.uid}
    assert Path("/etc/passwd").stat().st_uid == 0
