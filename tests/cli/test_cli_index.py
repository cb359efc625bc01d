"""`index` on the real stores of the stack: built, held, published, taken back, dropped; and what it refuses."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from concordance.__main__ import main
from concordance.settings import Settings
from support.commanding import Command, Commanding
from support.ledgers import move_clock

NOTES = {
    "leases.md": "# Leases\n\nA lease carries a fencing token.\n\n## End\n\nA lease ends by the ledger's clock.\n",
    "tokens.md": "# Tokens\n\nA tokeniser cuts words into tokens. See [leases](leases.md).\n",
    "sweep.md": "# Sweep\n\nA sweep deletes what no current generation names, after a grace.\n",
}


@pytest.fixture
def command(commanding: Commanding) -> Command:
    return commanding(NOTES, tenants={"notes": "acme"}, max_delete_fraction=1)


def test_from_a_held_version_to_the_one_before_and_back_to_one(
    command: Command, stack: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    assert command("ingest", "notes")[0] == 0
    (first,) = listed(command)
    nothing_is_built_where_nothing_has_changed(command, first)
    second = a_version_is_built_and_held(command, first)
    (tmp_path / "notes" / "sweep.md").unlink()
    assert command("ingest", "notes")[0] == 0
    a_table_says_how_far_behind_it_is(command, capsys, first, second)
    nobody_there_to_be_asked_is_a_no(command, monkeypatch, second)
    it_is_published_caught_up(command, first, second)
    what_differs_is_told(command, capsys, first, second)
    code, back = command("index", "rollback", str(first), "--yes")
    assert (code, back["version"], back["before"]) == (0, first, second)
    it_is_dropped_after_the_grace(command, stack, capsys, second)
    assert command("verify")[0] == 0


def listed(command: Command) -> dict[int, dict[str, Any]]:
    """The versions that this test made, by number."""
    code, shown = command("index", "list")
    assert code == 0
    # The first is the one that was skipped.
    return {each["version"]: each for each in shown["versions"][1:]}


def nothing_is_built_where_nothing_has_changed(command: Command, first: int) -> None:
    code, ended = command("index", "build", "--auto", "--build-id", "none")
    assert (code, ended["state"], ended["version"]) == (0, "nothing", None)
    assert listed(command).keys() == {first}


def a_version_is_built_and_held(command: Command, first: int) -> int:
    code, ended = command(
        *("index", "build", "--hold", "--auto"), *("--set", "chunk_max_tokens=60", "--set", "chunk_min_tokens=20")
    )
    assert (code, ended["state"]) == (0, "held")
    assert ended["said"]["reasons"] == ["chunk_min_tokens", "chunk_max_tokens"]
    assert ended["said"]["relevance"]["passed"]
    states = {version: each["state"] for version, each in listed(command).items()}
    assert states == {first: "live", ended["version"]: "ready"}
    return int(ended["version"])


def a_table_says_how_far_behind_it_is(
    command: Command, capsys: pytest.CaptureFixture[str], first: int, second: int
) -> None:
    assert [listed(command)[version]["behind"] for version in (first, second)] == [0, 1]
    assert main(["index", "list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[1:5] for line in lines if line[1:2] == ["ready"]] == [["ready", "3", "4", "1"]]


def nobody_there_to_be_asked_is_a_no(command: Command, monkeypatch: pytest.MonkeyPatch, second: int) -> None:
    with monkeypatch.context() as terminal:
        terminal.setattr(sys.stdin, "isatty", lambda: False)
        code, why = command("index", "publish", str(second))
        assert (code, "say --yes" in why) == (2, True)
        terminal.setattr(sys.stdin, "isatty", lambda: True)
        terminal.setattr(builtins, "input", lambda: "y")
        code, why = command("index", "publish", str(second))
        assert (code, "Nothing was changed" in why) == (1, True)
    assert listed(command)[second]["state"] == "ready"


def it_is_published_caught_up(command: Command, first: int, second: int) -> None:
    code, ended = command("index", "publish", str(second), "--yes")
    assert (code, ended["state"], ended["version"]) == (0, "published", second)
    assert ended["said"]["swap"]["before"] == first
    versions = listed(command)
    assert [(versions[each]["state"], versions[each]["documents"]) for each in (first, second)] == [
        ("retired", 2),
        ("live", 2),
    ]


def what_differs_is_told(command: Command, capsys: pytest.CaptureFixture[str], first: int, second: int) -> None:
    code, found = command("index", "diff", str(first), str(second))
    assert (code, found["documents"]) == (0, 0)
    assert found["settings"]["chunk_max_tokens"] == [200, 60]
    assert main(["index", "diff", str(first), str(second)]) == 0
    shown = capsys.readouterr().out
    assert "chunk_max_tokens" in shown
    assert "Both hold the same documents." in shown
    assert main(["index", "diff", str(second), str(second)]) == 0
    assert "Both are made of the same settings." in capsys.readouterr().out


def it_is_dropped_after_the_grace(
    command: Command, stack: Settings, capsys: pytest.CaptureFixture[str], second: int
) -> None:
    assert main(["index", "drop", str(second), "--yes"]) == 0
    assert f"version {second} in " in capsys.readouterr().out
    move_clock(stack, stack.lease_seconds + stack.sweep_grace_seconds + 1)
    assert command("index", "drop", str(second), "--yes")[1]["dropped"] == [second]
    assert listed(command)[second]["state"] == "dropped"


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (("build",), 2, "There is no live index yet"),
        (("build", "--set", "chunk_max_tokens"), 2, "is not NAME=NUMBER"),
        (("build", "--set", "chunk_max_tokens=many"), 2, "is not NAME=NUMBER"),
        (("build", "--set", "chunk_max_tokens=9000"), 2, "allowed: at least 32, at most 8192"),
        (("build", "--set", "search_limit=3"), 2, "search_limit cannot be chosen for a new version"),
        (("drop", "7"), 2, "say --yes"),
        (("rollback", "7", "--yes"), 2, "no index version 7"),
        (("publish", "7", "--yes", "--accept", "why not"), 2, "no index version 7"),
        (("diff", "7", "8"), 2, "no index version 7"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_makes_no_version(
    command: Command, argv: tuple[str, ...], code: int, word: str
) -> None:
    ended, why = command("index", *argv)
    assert ended == code, why
    assert word in why
    assert listed(command) == {}
