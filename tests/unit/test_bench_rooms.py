"""The command of the bench over rooms that tell, fail, die and hang: each is a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.__main__ import main
from bench.records import read_history
from bench.rooms import measured

TELLS = "from bench.figures import Figure, median_of\ndef measure():\n    return [{}]\n"
ROOMS = {
    "tells": TELLS.format('median_of("time", [1.0, 1.1, 0.9], "x", "<= 1.5")'),
    "slower": TELLS.format('median_of("time", [2.0, 2.1, 1.9], "x", "<= 9.0")'),
    "asks": "from bench import effort\n"
    + TELLS.format('Figure("pairs", effort.pairs(5) + effort.is_quick(), "pairs")'),
    "fails": "def measure():\n    raise ValueError('no model is prepared')\n",
    "half": "from bench.figures import Figure\ndef measure():\n    yield Figure('first', 1.0, 's')\n"
    "    raise MemoryError('the second')\n",
    "dies": "import os, signal\ndef measure():\n    os.kill(os.getpid(), signal.SIGKILL)\n",
    "hangs": "import pathlib, threading\ndef measure():\n    try:\n        threading.Event().wait()\n"
    "    finally:\n        pathlib.Path({!r}).touch()\n",
}

Bench = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms beside the repository's own: `bench` is a namespace, which these join."""
    (tmp_path / "rooms" / "bench").mkdir(parents=True)
    for name, text in ROOMS.items():
        (tmp_path / "rooms" / "bench" / f"{name}.py").write_text(text.replace("{!r}", repr(str(tmp_path / "stopped"))))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "rooms"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    def run(*argv: str) -> int:
        return main(argv, folder=tmp_path / "bench", kept=tmp_path / "history.jsonl")

    return run


def found(folder: Path) -> dict[str, object]:
    rooms = json.loads((folder / "bench" / "bench.json").read_text())["rooms"]
    return {room["name"]: room["error"] or [figure["value"] for figure in room["figures"]] for room in rooms}


def test_rooms_that_fail_die_or_are_missing_take_no_figures_along(bench: Bench, tmp_path: Path, capfd: Capture) -> None:
    assert bench("fails", "dies", "nowhere", "tells") == 1
    assert found(tmp_path) == {
        "fails": "ValueError: no model is prepared",
        "dies": "its process ended with -9",
        "nowhere": "ModuleNotFoundError: No module named 'bench.nowhere'",
        "tells": [1.0],
    }
    assert "dies failed: its process ended with -9" in capfd.readouterr().out
    assert "time" in (tmp_path / "bench" / "bench.md").read_text()


def test_what_a_room_told_before_it_failed_is_kept() -> None:
    room = measured("half", environment={}, limit_seconds=60)
    assert [figure.name for figure in room.figures] == ["first"]
    assert room.error == "MemoryError: the second"


def test_a_room_that_hangs_is_ended_at_its_limit_and_stops_what_it_started(tmp_path: Path) -> None:
    room = measured("hangs", environment={}, limit_seconds=6)
    assert (room.figures, room.error) == ((), "it was not done within 0.1 minutes")
    assert (tmp_path / "stopped").exists()


def test_what_was_asked_for_reaches_the_rooms(bench: Bench, tmp_path: Path) -> None:
    assert bench("asks", "--pairs", "9", "--quick") == 0
    assert found(tmp_path) == {"asks": [10]}


def test_a_recorded_run_is_what_the_next_one_is_compared_with(bench: Bench, tmp_path: Path, capfd: Capture) -> None:
    assert bench("tells", "--record", "1.0") == 0
    assert bench("tells") == 0
    room = tmp_path / "rooms" / "bench" / "tells.py"
    room.write_text(ROOMS["slower"])
    # What Python has compiled of a file counts as long as the file's size and second are the same.
    os.utime(room, (1, 1))
    assert bench("tells") == 1
    assert "tells: time worse: 2 x, 1 x in the release" in capfd.readouterr().out
    assert bench("tells", "--quick") == 0
    assert bench("tells", "--against", "none") == 0
    assert "worse" not in (tmp_path / "bench" / "bench.md").read_text()
    assert [record.label for record in read_history(tmp_path / "history.jsonl")] == ["1.0"]


@pytest.mark.parametrize("argv", [("tells", "fails", "--record", "x"), ("tells", "--quick", "--record", "x")])
def test_a_run_that_failed_and_a_quick_look_are_not_recorded(
    bench: Bench, tmp_path: Path, argv: tuple[str, ...]
) -> None:
    bench(*argv)
    assert read_history(tmp_path / "history.jsonl") == []


def test_a_label_that_is_not_there_is_said_before_anything_is_measured(bench: Bench, capfd: Capture) -> None:
    assert bench("tells", "--against", "9.9") == 2
    assert "no record is labelled 9.9" in capfd.readouterr().err
