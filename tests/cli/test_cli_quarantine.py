"""`quarantine` on the real stores of the stack: listed, shown, replayed, dismissed; and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concordance.__main__ import main
from concordance.ledger import Ledger
from concordance.settings import Settings
from support.ledgers import move_clock, skip_versions
from support.stacks import PORTS, SHORT_TIMES

GOOD = "# Good\n\nA stone in the river.\n"
Command = Callable[..., tuple[int, Any]]


@pytest.fixture
def command(
    stack: Settings,
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run a command with `--json` on a source of two documents, one of them without text."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "good.md").write_text(GOOD)
    (tmp_path / "notes" / "blank.md").write_text("\n\n")
    (tmp_path / "sources.toml").write_text(
        f'[[source]]\nname = "notes"\nkind = "files"\ntenant = "acme"\nlocation = "{tmp_path / "notes"}"\n'
    )
    given: dict[str, Any] = {
        "sources_file": tmp_path / "sources.toml",
        "staging_url": f"file://{tmp_path / 'staging'}",
        "embedding_backend": "hash",
        "max_quarantined_fraction": 0.6,
    }
    for name in ("state_dir", "graph_heap_bytes", *PORTS, *SHORT_TIMES):
        given[name] = getattr(stack, name)
    for name, value in given.items():
        monkeypatch.setenv(f"AIRFLOW__CONCORDANCE__{name.upper()}", str(value))
    skip_versions(stack)

    def run(*argv: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*argv, "--json"])
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else shown.err

    assert run("ingest", "notes")[1]["counts"]["quarantined"] == 1
    return run


def test_from_a_row_to_a_replay_that_lets_the_mended_document_through(
    command: Command, stack: Settings, tmp_path: Path
) -> None:
    code, listed = command("quarantine", "list", "--reason", "no_text")
    assert (code, listed["total"]) == (0, 1)
    (row,) = listed["documents"]
    assert (row["uri"], row["stage"], row["attempts"], row["is_stale"]) == ("blank.md", "extract", 1, False)
    assert command("quarantine", "show", row["document_id"]) == (0, row)
    code, replayed = command("quarantine", "replay", row["document_id"])
    assert (code, replayed["meant"]) == (0, {"notes": 1})
    assert replayed["runs"][0]["counts"]["quarantined"] == 1
    move_clock(stack, 7200)
    code, listed = command("quarantine", "list", "--older-than-hours", "2")
    assert listed["documents"][0]["attempts"] == 2
    (tmp_path / "notes" / "blank.md").write_text(GOOD)
    code, replayed = command("quarantine", "replay", "--all")
    assert (code, replayed["runs"][0]["counts"]["committed"]) == (0, 1)
    assert command("quarantine", "list") == (0, {"total": 0, "documents": []})
    assert command("verify")[0] == 0
    assert command("quarantine", "replay", "--all") == (0, {"meant": {}, "runs": []})


def test_what_is_dismissed_is_not_listed_until_it_is_taken_back(command: Command) -> None:
    assert command("quarantine", "dismiss", "--source", "notes", "--note", "a scan") == (0, {"dismissed": 1})
    assert command("quarantine", "list")[1]["total"] == 0
    (row,) = command("quarantine", "list", "--dismissed")[1]["documents"]
    assert (row["note"], bool(row["dismissed_by"])) == ("a scan", True)
    assert command("quarantine", "replay", "--all")[1]["meant"] == {}
    assert command("quarantine", "dismiss", "--all", "--undo") == (0, {"taken_back": 1})
    assert command("quarantine", "list")[1]["total"] == 1


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (("replay",), "or --all"),
        (("dismiss",), "or --all"),
        (("replay", "--all", "--source", "notes"), "stands alone"),
        (("list", "--reason", "bad luck"), "--reason is 'bad luck'; allowed: unreadable, "),
        (("list", "--limit", "0"), "--limit is 0; allowed: 1 to 10,000"),
        (("list", "--older-than-hours", "-1"), "--older-than-hours is -1"),
        (("list", "--older-than-hours", "nan"), "--older-than-hours is nan"),
        (("dismiss", "--all", "--note", "x" * 501), "more than 500 characters"),
        (("show", "00000000-0000-0000-0000-000000000000"), "is not in quarantine"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_happens(command: Command, argv: tuple[str, ...], word: str) -> None:
    code, said = command("quarantine", *argv)
    assert (code, word in said) == (2, True), said
    assert command("quarantine", "list")[1]["documents"][0]["attempts"] == 1
