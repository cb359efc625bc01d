"""The watch compares with the limits as their file has them now."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from concordance.errors import Misconfigured
from concordance.operations.alerts import AlertKind, Breach
from concordance.operations.slas import Slas
from concordance.settings import Settings
from concordance.watching.limits import ByLimits, Limits
from support.alerting import Sees, breach

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def write(file: Path, seconds: str, *, at: int) -> None:
    """Limits of this text, written at this time."""
    file.write_text(f'[[sla]]\ndag = "d"\nrun_seconds = {seconds}\n')
    os.utime(file, (at, at))


def sees(slas: Slas) -> Sees:
    """Somebody who reports the limit."""
    return Sees(breaches=[breach(str(slas.run_seconds("d", None)))])


def seen(watcher: ByLimits) -> list[str]:
    found: list[Breach] = watcher.look(NOW)
    return [each.subject["run"] for each in found]


def test_a_changed_file_counts_from_the_next_look_on_and_a_wrong_one_is_logged_once_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "slas.toml"
    write(file, "5", at=1_000)
    watcher = ByLimits(Limits(Settings(slas_file=file)), sees)
    assert watcher.kinds == {AlertKind.RUN_LATE}
    assert seen(watcher) == ["5.0"]
    write(file, "7", at=2_000)
    assert seen(watcher) == ["7.0"]
    write(file, "-1", at=3_000)
    assert [seen(watcher) for _ in range(3)] == [["7.0"]] * 3
    file.unlink()
    assert [seen(watcher) for _ in range(3)] == [["7.0"]] * 3
    said = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert ["run_seconds" in line for line in said] == [True, False]
    write(file, "9", at=4_000)
    assert seen(watcher) == ["9.0"]


def test_a_file_that_is_wrong_from_the_beginning_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "slas.toml", "-1", at=1_000)
    with pytest.raises(Misconfigured, match="run_seconds"):
        Limits(Settings(slas_file=tmp_path / "slas.toml"))
