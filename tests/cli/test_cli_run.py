"""The command line on a stack of its own: from the first ingest to a damage that verify finds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from concordance.__main__ import main
from concordance.settings import Settings
from support.ledgers import connect, empty_ledger
from support.stacks import PORTS, SHORT_TIMES, running, stack_settings

NOTES = {
    "leases.md": "# Leases\n\nA lease carries a fencing token.\n\n## End\n\nA lease ends by the ledger's clock.\n",
    "tokens.md": "# Tokens\n\nA tokeniser cuts words into tokens. See [leases](leases.md).\n",
    "deep/sweep.md": "# Sweep\n\nA sweep deletes what no current generation names, after a grace.\n",
}
Command = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Stores that no other test writes into: what is in them is what the command line put there."""
    with running(stack_settings(tmp_path_factory.mktemp("cli"))) as settings:
        empty_ledger(settings).close()
        yield settings


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    for name, content in NOTES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def command(
    stores: Settings,
    notes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run a command with `--json`; returns its exit code and what it printed."""
    sources = tmp_path / "sources.toml"
    sources.write_text(f'[[source]]\nname = "notes"\nkind = "files"\ntenant = "acme"\nlocation = "{notes}"\n')
    given = {"sources_file": sources, "embedding_backend": "hash", "max_delete_fraction": 0.5}
    for name in ("state_dir", "graph_heap_bytes", *PORTS, *SHORT_TIMES):
        given[name] = getattr(stores, name)
    for name, value in given.items():
        monkeypatch.setenv(f"AIRFLOW__CONCORDANCE__{name.upper()}", str(value))

    def run(*argv: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*argv, "--json"])
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else shown.err

    return run


def test_from_the_first_plan_to_a_damage_that_verify_finds_and_repairs(
    command: Command, notes: Path, stores: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing_is_there_yet(command)
    plan_id = a_plan_says_what_an_ingest_would_do(command)
    an_ingest_of_just_that_makes_it_searchable(command, plan_id)
    a_second_one_changes_nothing(command)
    edits_and_deletes_arrive(command, notes)
    another_model_may_be_configured_for_the_next_version(command)
    tables_for_people_say_the_same(capsys)
    what_was_changed_by_hand_is_found(command, stores)
    what_was_found_is_put_right(command, stores)


def nothing_is_there_yet(command: Command) -> None:
    code, wrong = command("verify")
    assert code == 2
    assert "python -m concordance ingest" in wrong


def a_plan_says_what_an_ingest_would_do(command: Command) -> str:
    code, plan = command("plan", "notes")
    assert code == 0
    assert plan["counts"]["added"] == 3
    assert {document["uri"] for document in plan["documents"]} == set(NOTES)
    return str(plan["plan_id"])


def an_ingest_of_just_that_makes_it_searchable(command: Command, plan_id: str) -> None:
    assert command("ingest", "notes", "--plan", plan_id)[0] == 2
    assert command("ingest", "--plan", plan_id, "--full")[0] == 2
    code, run = command("ingest", "--plan", plan_id)
    assert (code, run["state"]) == (0, "published")
    # The index has moved since, by this very run.
    assert command("ingest", "--plan", plan_id)[0] == 1

    code, answer = command("search", "fencing token")
    assert code == 0
    hit = answer["hits"][0]
    assert hit["uri"] == "leases.md"
    assert "fencing token" in hit["snippet"]
    assert hit.keys() >= {"document_id", "uri", "title", "heading_path", "score", "snippet", "entities", "linked"}
    assert command("search", "fencing token", "--access", "nobody")[1]["hits"] == []
    assert command("search", "fencing token", "--tenant", "other")[1]["hits"] == []

    code, report = command("verify")
    assert (code, report["sound"]) == (0, True)
    assert report["counts"]["graph"]["documents"] == 3


def a_second_one_changes_nothing(command: Command) -> None:
    code, again = command("ingest", "notes")
    assert (code, again["state"]) == (0, "nothing")


def edits_and_deletes_arrive(command: Command, notes: Path) -> None:
    (notes / "tokens.md").write_text("# Tokens\n\nA fencing token only grows.\n")
    (notes / "deep" / "sweep.md").unlink()
    code, changed = command("ingest", "notes")
    assert (code, changed["state"]) == (0, "published")
    assert (changed["counts"]["changed"], changed["counts"]["deleted"]) == (1, 1)
    found = command("search", "tokeniser sweep fencing")[1]["hits"]
    assert {hit["uri"] for hit in found} == {"leases.md", "tokens.md"}
    assert "tokeniser" not in json.dumps(found)
    assert command("verify")[1]["sound"]


def another_model_may_be_configured_for_the_next_version(command: Command) -> None:
    assert [each["is_configured"] for each in command("status")[1]["models"]] == [True]
    before = command("search", "fencing token")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW__CONCORDANCE__HASH_DIMENSION", "16")
        code, found = command("status")
        assert (code, [each["opens"] for each in found["models"]]) == (1, [False])
        code, message = command("search", "fencing token")
        assert code == 2
        assert "add hash=384 to AIRFLOW__CONCORDANCE__KEPT_MODELS" in message
        environment.setenv("AIRFLOW__CONCORDANCE__KEPT_MODELS", "hash=384")
        code, found = command("status")
        (live,) = found["models"]
        assert (code, live["opens"], live["is_configured"], live["state"]) == (0, True, False, "live")
        assert command("search", "fencing token") == before
        assert command("ingest", "notes")[1]["state"] == "nothing"


def tables_for_people_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["search", "fencing token"]) == 0
    assert "leases.md in notes" in capsys.readouterr().out
    assert main(["plan", "notes"]) == 0
    assert "plan of notes" in capsys.readouterr().out
    main(["verify"])
    assert "chunks read" in capsys.readouterr().out
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert "running" in shown
    assert "hash (hash, fp32, revision 1, 384 dimensions" in " ".join(shown.split())


def what_was_changed_by_hand_is_found(command: Command, stores: Settings) -> None:
    with connect(stores) as connection:
        row = connection.execute(
            "SELECT c.document_id, c.generation, c.ordinal FROM chunks c "
            "JOIN generations g USING (index_version, document_id, generation) WHERE g.state = 'current' LIMIT 1"
        ).fetchone()
        assert row is not None
        connection.execute(
            "UPDATE chunks SET text_digest = sha256('edited') WHERE (document_id, generation, ordinal) = (%s, %s, %s)",
            row,
        )
    code, report = command("verify")
    assert code == 1
    found = {(one["invariant"], one["kind"], one["store"], one["count"]) for one in report["findings"]}
    assert ("I1", "altered", "ledger", 1) in found
    assert any(str(row[0]) in example for one in report["findings"] for example in one["examples"])


def what_was_found_is_put_right(command: Command, stores: Settings) -> None:
    code, repaired = command("verify", "--repair")
    assert (code, repaired["sound"]) == (0, True), repaired
    assert repaired["repaired"]["reloaded"] == {"notes": 1}
    assert command("verify", "--vectors")[1]["sound"]
    code, sampled = command("verify", "--sampled", "3")
    assert (code, sampled["sampled"]) == (0, True)
    assert sampled["covered"]["documents"] >= 1
    assert command("ingest", "notes")[1]["state"] == "nothing"
    assert main(["verify", "--rebuild-ledger"]) == 1
    assert main(["verify", "--sampled", "--repair"]) == 2
