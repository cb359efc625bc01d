"""What a whole run writes, anywhere: everything about the run by its id, nothing of what documents say, no secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from concordance.local import state
from concordance.operations import correlation
from concordance.settings import ROOT, Settings
from support import failing_command, marks
from support.ledgers import connect, empty_ledger, skip_versions
from support.stacks import PORTS, SHORT_TIMES
from support.waiting import wait_for

RUN = "a-run-with-marks"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def stores(stack: Settings) -> Settings:
    """The session's stores, with a ledger that knows nothing of what other tests wrote there."""
    empty_ledger(stack).close()
    skip_versions(stack)
    return stack


@pytest.fixture
def command(stores: Settings, tmp_path: Path) -> Command:
    """A command in a process of its own, at the level DEBUG, over two sources."""
    tables = []
    for name, kind in (("notes", "files"), ("packages", "distributions")):
        place = f"location = {str(tmp_path / name)!r}" if kind == "files" else ""
        options = f"options = {{path = [{str(tmp_path / name)!r}]}}" if kind == "distributions" else ""
        tables.append(f'[[source]]\nname = "{name}"\nkind = "{kind}"\ntenant = "acme"\n{place}\n{options}\n')
        (tmp_path / name).mkdir()
    (tmp_path / "sources.toml").write_text("\n".join(tables))
    given = {
        "sources_file": tmp_path / "sources.toml",
        "embedding_backend": "hash",
        "log_file": tmp_path / "lines.log",
        "tolerated_quarantined_documents": 10,
        **{name: getattr(stores, name) for name in ("state_dir", "graph_heap_bytes", *PORTS, *SHORT_TIMES)},
    }
    environment = {f"AIRFLOW__CONCORDANCE__{name.upper()}": str(value) for name, value in given.items()}

    def run(*argv: str, program: tuple[str, ...] = ("-m", "concordance"), **more: str) -> Any:
        done = subprocess.run(
            [sys.executable, *program, *argv, "--debug"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "include"), **environment, **more},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        (tmp_path / f"{len(list(tmp_path.glob('*.stderr')))}.stderr").write_text(done.stderr)
        return done

    return run


def written(settings: Settings, folder: Path) -> list[Path]:
    """Everything but the stores' data and the artefacts: logs of the programs, lines of the commands."""
    place = state.locate(settings)
    logs = [*place.logs.iterdir(), *(place.path / "graph").rglob("*.log*")]
    return [*logs, *folder.glob("*.stderr"), *folder.glob("lines.log*")]


def lines(told: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told.splitlines() if line.startswith("{")]


def test_one_id_leads_through_a_run_and_nothing_that_a_document_says_gets_out(
    command: Command, stores: Settings, tmp_path: Path
) -> None:
    for number in range(3):
        (tmp_path / "notes" / f"{number}.md").write_text(marks.markdown(number))
    marks.poison(tmp_path / "notes")
    marks.install(tmp_path / "packages", "sample")

    whole = command("ingest", "notes", "--run-id", RUN)
    assert whole.returncode == 0, whole.stderr
    told = lines(whole.stderr)
    assert [line["event"] for line in lines((tmp_path / "lines.log").read_text())] == [line["event"] for line in told]
    each_stage_and_each_rejected_document_is_told(told)
    one_id_leads_from_the_run_through_every_program(told, stores)

    a_library_that_quotes_what_it_was_given_is_told_by_its_class_alone(command)
    a_password_in_a_setting_is_not_repeated(command)
    the_ledger_s_server_does_not_repeat_the_row_that_it_refuses(stores)

    assert marks.found(written(stores, tmp_path), marks=marks.MARKS.values()) == []
    secrets = state.read_secrets(state.locate(stores))
    assert marks.found(written(stores, tmp_path), marks=secrets.values()) == []


def each_stage_and_each_rejected_document_is_told(told: list[dict[str, Any]]) -> None:
    ended = [line["stage"] for line in told if line["event"] == "a stage is done"]
    gates = ["check_documents", "check_chunks", "check_stores"]
    assert ended == ["plan", "extract", gates[0], "embed", gates[1], "load", gates[2], "publish"]
    rejected = [line for line in told if line["event"] == "a document is quarantined"]
    assert len(rejected) == 3
    assert all(line["document_id"] and line["reason"] and line["stage"] == "extract" for line in rejected)
    read = [line for line in told if line["event"] == "the parser's process read a document"]
    # The plan of a first run samples documents for what is frozen with the version; it rejects none.
    read = [line for line in read if line["stage"] == "extract"]
    assert len({line["document_id"] for line in read}) == 6
    assert {line["shard"] for line in read} == {0}


def one_id_leads_from_the_run_through_every_program(told: list[dict[str, Any]], stores: Settings) -> None:
    with connect(stores) as connection:
        (request,) = connection.execute("SELECT request FROM runs WHERE run_id = %s", [RUN]).fetchone() or ({},)
    assert isinstance(request, dict)
    wanted = request["correlation_id"]
    assert wanted == correlation.of_run(RUN)
    assert {line["correlation_id"] for line in told} == {wanted}
    assert {line["run"] for line in told if "stage" in line} == {RUN}
    place = state.locate(stores)
    answered = [line for line in lines(place.log_file("vectors").read_text()) if line.get("correlation_id") == wanted]
    assert {line["method"] for line in answered} >= {"PUT", "POST"}
    assert {line["status"] for line in answered} <= {200, 404}


def a_library_that_quotes_what_it_was_given_is_told_by_its_class_alone(command: Command) -> None:
    program = (str(failing_command.__file__), "vectors.upsert.before", marks.MARKS["text"])
    failed = command("ingest", "packages", program=program, PYTHONPATH=f"{ROOT / 'include'}:{ROOT / 'tests'}")
    assert failed.returncode == 1
    (line,) = [line for line in lines(failed.stderr) if line["event"] == "a stage failed"]
    assert (line["stage"], line["source"], line["error"]) == ("load", "packages", "ValueError")
    assert correlation.is_id(line["correlation_id"])
    # The traceback that was asked for leads to the place.
    assert "in fail" in failed.stderr
    assert "this is a defect (ValueError)" in failed.stderr


def a_password_in_a_setting_is_not_repeated(command: Command) -> None:
    url = f"bolt://neo4j:{marks.MARKS['keyword']}@127.0.0.1:7687"
    refused = command("verify", AIRFLOW__CONCORDANCE__NEO4J_URL=url)
    assert refused.returncode == 2
    assert "must not carry a password" in refused.stderr


def the_ledger_s_server_does_not_repeat_the_row_that_it_refuses(stores: Settings) -> None:
    insert = "INSERT INTO runs (run_id, source, state, request) VALUES ('r', %s, 'planning', '{}')"
    with connect(stores) as connection:
        connection.execute("SET application_name = 'concordance 0123456789abcdef load'")
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match=marks.MARKS["title"]):
            connection.execute(insert, [marks.MARKS["title"]])
    # What is left of it names who asked.
    log = state.locate(stores).log_file("postgres")
    # The server's lines reach their file through a pipe, in their own time.
    wait_for(lambda: "concordance 0123456789abcdef load: ERROR:" in log.read_text(), what="the server's line")
