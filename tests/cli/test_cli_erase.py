"""`erase` on the real stores of the stack: refused, previewed, hidden, finished; and what it leaves untouched."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from concordance.settings import Settings
from support.commanding import Command, Commanding
from support.ledgers import move_clock

SECRET = "wolframite"
NOTES = {
    "people/ann.md": f"# Ann {SECRET}\n\nAnn digs {SECRET} by the river.\n",
    "people/bob.md": f"# Bob\n\nBob digs {SECRET} too, see [ann](ann.md).\n",
    "mine.md": "# The mine\n\nA mine is a hole by the river, see [ann](people/ann.md).\n",
}


@pytest.fixture
def command(commanding: Commanding) -> Command:
    """On two sources of two tenants with the same documents."""
    return commanding(NOTES, tenants={"notes": "acme", "copies": "other"}, max_delete_fraction=1)


def found(command: Command, tenant: str) -> set[str]:
    code, answer = command("search", SECRET, "--tenant", tenant)
    assert code == 0, answer
    return {hit["uri"] for hit in answer["hits"] if SECRET in hit["snippet"]}


def test_from_a_preview_to_a_receipt_and_a_source_that_still_has_it(
    command: Command, stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in ("notes", "copies"):
        assert command("ingest", source)[0] == 0
    assert found(command, "acme") == found(command, "other") == {"people/ann.md", "people/bob.md"}
    a_preview_hides_nothing(command)
    at_a_terminal_only_the_word_itself_is_a_yes(command, monkeypatch)
    erasure = a_document_is_hidden_at_once_and_erased_after_the_grace(command, stack)
    a_finished_one_is_only_told_again(command, erasure)
    what_the_source_still_has_does_not_come_back(command, tmp_path)
    a_pattern_and_a_tenant_leave_the_other_tenant_untouched(command, stack)


NAMED = ("--source", "notes", "--uri", "people/ann.md")


def a_preview_hides_nothing(command: Command) -> None:
    code, preview = command("erase", *NAMED, "--dry-run")
    assert (code, preview["counts"]["documents"], preview["counts"]["shown"]) == (0, 1, 1)
    assert command("erase", "--list")[1] == {"unfinished": []}


def at_a_terminal_only_the_word_itself_is_a_yes(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as terminal:
        terminal.setattr(sys.stdin, "isatty", lambda: True)
        terminal.setattr(builtins, "input", lambda: "y")
        assert command("erase", *NAMED)[0] == 1
        assert command("erase", "--list")[1] == {"unfinished": []}
        terminal.setattr(builtins, "input", lambda: "erase")
        code, hidden = command("erase", "--source", "notes", "--uri", "never/there.md")
        assert (code, hidden["counts"]["documents"], hidden["counts"]["shown"]) == (3, 1, 0)


def a_document_is_hidden_at_once_and_erased_after_the_grace(command: Command, stack: Settings) -> dict[str, Any]:
    code, hidden = command("erase", *NAMED, "--reason", "ticket 7", "--yes")
    assert (code, hidden["state"]) == (3, "hidden")
    assert hidden["seconds_left"] > 0
    assert hidden["artefacts_removed"] > 0
    assert found(command, "acme") == {"people/bob.md"}
    assert hidden["erasure_id"] in {one["erasure_id"] for one in command("erase", "--list")[1]["unfinished"]}
    assert command("erase", "--finish", hidden["erasure_id"])[0] == 3
    move_clock(stack, stack.lease_seconds + stack.sweep_grace_seconds + 1)
    code, erased = command("erase", "--finish", hidden["erasure_id"])
    assert (code, erased["state"], erased["receipt"]["reason"]) == (0, "erased", "ticket 7")
    assert SECRET not in json.dumps(erased)
    receipt: dict[str, Any] = erased["receipt"]
    return receipt


def a_finished_one_is_only_told_again(command: Command, receipt: dict[str, Any]) -> None:
    assert command("erase", "--finish", receipt["erasure_id"]) == (0, {"state": "erased", "receipt": receipt})


def what_the_source_still_has_does_not_come_back(command: Command, tmp_path: Path) -> None:
    (tmp_path / "notes" / "people" / "ann.md").write_text(f"# Ann is back\n\nWith more {SECRET} than before.\n")
    code, report = command("ingest", "notes", "--full")
    assert (code, report["counts"]["erased"], report["counts"]["unchanged"]) == (0, 1, 2)
    assert found(command, "acme") == {"people/bob.md"}


def a_pattern_and_a_tenant_leave_the_other_tenant_untouched(command: Command, stack: Settings) -> None:
    code, hidden = command("erase", "--source", "copies", "--uri-pattern", "people/*", "--yes")
    assert (code, hidden["counts"]["documents"]) == (3, 2)
    code, tenant = command("erase", "--tenant", "other", "--yes")
    assert (code, tenant["counts"]["documents"], tenant["counts"]["already_erased"]) == (3, 3, 2)
    assert found(command, "other") == set()
    move_clock(stack, stack.lease_seconds + stack.sweep_grace_seconds + 1)
    for erasure in (hidden, tenant):
        assert command("erase", "--finish", erasure["erasure_id"])[0] == 0
    assert found(command, "acme") == {"people/bob.md"}
    code, report = command("ingest", "copies")
    assert (code, report["state"], report["counts"]["erased"]) == (0, "nothing", 3)


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (("--tenant", "acme"), "--yes"),
        ((), "exactly|names one document"),
        (("--source", "notes", "--yes"), "names one document"),
        (("--source", "notes", "--uri", "a", "--tenant", "acme", "--yes"), "names one document"),
        (("--finish", "00000000-0000-0000-0000-000000000001", "--tenant", "acme"), "stand alone"),
        (("--finish", "00000000-0000-0000-0000-000000000001"), "no erasure"),
        (("--tenant", "nobody", "--yes"), "Nothing to erase"),
        (("--source", "nowhere", "--uri", "a", "--yes"), "Nothing to erase"),
        (("--tenant", "acme", "--reason", "x" * 501, "--yes"), "shorter"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    command: Command, argv: tuple[str, ...], word: str
) -> None:
    import re

    code, wrong = command("erase", *argv)
    assert code == 2
    assert re.search(word, wrong)
    assert command("erase", "--list")[1] == {"unfinished": []}
