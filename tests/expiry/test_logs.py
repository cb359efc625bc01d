"""Old logs go, and nothing outside their folder does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from concordance.errors import Misconfigured
from concordance.expiry.logs import remove_logs

OLD, NEW, BETWEEN = 1_000.0, 3_000.0, 2_000.0


def log(path: Path, at: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a line\n")
    os.utime(path, (at, at))
    return path


def aged(folder: Path, at: float) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            os.utime(path, (at, at))


def test_old_files_go_with_the_folders_that_they_leave_empty(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    old = [log(folder / "dag_id=a" / f"run_id={number}" / "attempt=1.log", OLD) for number in range(3)]
    new = log(folder / "dag_id=a" / "run_id=new" / "attempt=1.log", NEW)
    aged(folder, OLD)
    os.utime(new, (NEW, NEW))
    assert sum(remove_logs(folder, before=BETWEEN, dry_run=True)) == 3
    assert all(path.exists() for path in old)
    assert sum(remove_logs(folder, before=BETWEEN)) == 3
    assert not any(path.exists() for path in old)
    assert new.exists()
    # A folder counts as young from the moment in which something in it went: it goes the next time.
    aged(folder, OLD)
    os.utime(new, (NEW, NEW))
    assert sum(remove_logs(folder, before=BETWEEN)) == 0
    assert not any(path.parent.exists() for path in old)


def test_links_lead_nowhere_and_stay(tmp_path: Path) -> None:
    outside = log(tmp_path / "elsewhere" / "precious.log", OLD)
    folder = tmp_path / "logs"
    log(folder / "attempt=1.log", OLD)
    (folder / "latest").symlink_to(outside.parent, target_is_directory=True)
    (folder / "latest.log").symlink_to(outside)
    assert sum(remove_logs(folder, before=BETWEEN)) == 1
    assert outside.exists()
    assert (folder / "latest").is_symlink()
    assert (folder / "latest.log").is_symlink()


@pytest.mark.parametrize("what", ["missing", "a file", "a link"])
def test_only_a_folder_is_a_folder_of_logs(tmp_path: Path, what: str) -> None:
    folder = tmp_path / what
    if what == "a file":
        folder.write_text("")
    if what == "a link":
        (tmp_path / "logs").mkdir()
        folder.symlink_to(tmp_path / "logs")
    with pytest.raises(Misconfigured, match="no folder of logs"):
        list(remove_logs(folder, before=BETWEEN))
