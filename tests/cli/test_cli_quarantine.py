"""`quarantine` on the real stores of the stack: listed, shown, replayed, dismissed; and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from concordance.settings import Settings
from support.commanding import Command, Commanding
from support.ledgers import move_clock

GOOD = "# Good\n\nA stone in the river.\n"


@pytest.fixture
def command(commanding: Commanding) -> Command:
    """On a source of two documents, one of them without text."""
    documents = {"good.md": GOOD, "blank.md": "\n\n"}
    run = commanding(documents, tenants={"notes": "acme"}, max_quarantined_fraction=0.6)
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
