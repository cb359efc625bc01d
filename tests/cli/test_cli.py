"""The command line from outside: help, settings, sources, and how errors end. No store is up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from concordance.__main__ import exit_code, main
from concordance.commands.parser import build_parser
from concordance.errors import (
    Conflict,
    GateFailed,
    Leased,
    Misconfigured,
    OutcomeUnknown,
    PoisonDocument,
    Unavailable,
)
from concordance.settings import ROOT, Settings
from support.stacks import free_ports

COMMANDS = (
    "demo",
    "ingest",
    "plan",
    "sources",
    "search",
    "verify",
    "quarantine",
    "erase",
    "index",
    "settings",
    "metrics",
    "model",
    "up",
    "status",
    "down",
    "watch",
    "alerts",
    "maintain",
)
HEAVY = ("airflow", "torch", "sentence_transformers", "great_expectations", "pandas", "numpy", "neo4j", "qdrant_client")

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A machine on which nothing is up: an empty state folder, free ports, one source."""
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "one.md").write_text("# One\n\nA lease carries a fencing token.\n")
    sources = tmp_path / "sources.toml"
    sources.write_text(f'[[source]]\nname = "notes"\nkind = "files"\ntenant = "acme"\nlocation = "{notes}"\n')
    ports = dict(zip(("POSTGRES_PORT", "BOLT_PORT", "QDRANT_PORT"), map(str, free_ports(3)), strict=True))
    given = {"STATE_DIR": str(tmp_path / "state"), "SOURCES_FILE": str(sources), "RETRY_ATTEMPTS": "1", **ports}
    given |= {
        "CALL_TIMEOUT_SECONDS": "2",
        "GRAPH_TIMEOUT_SECONDS": "2",
        "VECTORS_TIMEOUT_SECONDS": "2",
        "LEDGER_TIMEOUT_SECONDS": "2",
    }
    given |= {"EMBEDDING_BACKEND": "hash"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__CONCORDANCE__")}
    return {**kept, **{f"AIRFLOW__CONCORDANCE__{name}": value for name, value in given.items()}}


@pytest.fixture
def run(environment: dict[str, str]) -> Program:
    def program(*argv: str, change: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "concordance", *argv],
            env={**environment, **{f"AIRFLOW__CONCORDANCE__{name}": value for name, value in (change or {}).items()}},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return program


def test_every_command_has_help_and_says_what_its_arguments_mean(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: python -m concordance {command}")
        assert len(shown.splitlines()) > 5


def test_the_list_of_commands_is_whole_and_the_exit_codes_are_explained() -> None:
    shown = build_parser().format_help()
    (choices,) = (action.choices for action in build_parser()._actions if action.dest == "command")
    assert choices is not None
    assert set(choices) == set(COMMANDS)
    for line in ("exit codes:", *COMMANDS, "2  wrong input", "3  try again later"):
        assert line in shown


def test_every_command_is_documented_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [command for command in COMMANDS if f"python -m concordance {command}" not in readme] == []


def test_help_and_settings_import_nothing_heavy(environment: dict[str, str]) -> None:
    script = (
        "import sys\nfrom concordance.__main__ import main\nfrom concordance.commands.parser import build_parser\n"
        "build_parser().format_help()\nassert main(['settings', '--json']) == 0\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stderr.strip() == "[]"


def test_settings_show_value_and_origin_and_mask_secrets(run: Program) -> None:
    ended = run("settings", "--json", change={"LEDGER_PASSWORD": "hunter2", "SEARCH_LIMIT": "7"})
    assert ended.returncode == 0
    assert "hunter2" not in ended.stdout + ended.stderr
    shown = {one["name"]: one for one in json.loads(ended.stdout)["settings"]}
    assert set(shown) == set(Settings.model_fields)
    assert shown["search_limit"] == {"name": "search_limit", "value": "7", "origin": "environment"}
    assert shown["ledger_password"]["value"] == "********"
    assert shown["lease_seconds"]["origin"] == "default"


def test_settings_are_a_table_for_people(run: Program) -> None:
    ended = run("settings")
    assert ended.returncode == 0
    assert "search_limit" in ended.stdout
    assert "environment" in ended.stdout


def test_a_wrong_setting_is_one_line_that_names_the_variable_the_value_and_what_is_allowed(run: Program) -> None:
    ended = run("settings", change={"SEARCH_LIMIT": "0"})
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("concordance settings: AIRFLOW__CONCORDANCE__SEARCH_LIMIT = 0 (from environment)")
    assert "at least 1" in line


def test_an_unknown_setting_is_refused(run: Program) -> None:
    ended = run("sources", change={"SERCH_LIMIT": "1"})
    assert ended.returncode == 2
    assert "there is no setting 'serch_limit'" in ended.stderr


def test_sources_are_listed(run: Program) -> None:
    ended = run("sources", "--json")
    assert [one["name"] for one in json.loads(ended.stdout)["sources"]] == ["notes"]
    assert "notes" in run("sources").stdout


@pytest.mark.parametrize("argv", [("ingest", "nowhere"), ("plan", "nowhere")])
def test_a_source_that_is_not_declared_is_wrong_input(run: Program, argv: tuple[str, ...]) -> None:
    ended = run(*argv)
    assert ended.returncode == 2
    assert "no source 'nowhere'" in ended.stderr
    assert "notes" in ended.stderr


@pytest.mark.parametrize(
    "argv", [(), ("dance",), ("search",), ("search", "lease", "--limit", "many"), ("plan", "notes", "--ful")]
)
def test_wrong_arguments_are_wrong_input_with_the_usage(run: Program, argv: tuple[str, ...]) -> None:
    ended = run(*argv)
    assert ended.returncode == 2
    assert "usage: python -m concordance" in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("argv", [("verify", "--json"), ("search", "lease", "--json"), ("ingest", "notes")])
def test_a_stack_that_is_not_up_is_one_sentence_to_try_again_later(run: Program, argv: tuple[str, ...]) -> None:
    ended = run(*argv)
    assert ended.returncode == 3
    assert ended.stdout == ""
    *lines, sentence = ended.stderr.splitlines()
    assert "concordance status" in sentence
    # A stage that fails says so in its line as well, for programs.
    assert [json.loads(line)["event"] for line in lines] == ["a stage failed"] * (argv[0] == "ingest")


def test_debug_shows_the_traceback_and_the_same_line(run: Program) -> None:
    ended = run("verify", "--debug")
    assert ended.returncode == 3
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("concordance verify: ")


def test_an_empty_query_is_wrong_input_even_when_nothing_is_up(run: Program) -> None:
    ended = run("search", " ")
    assert ended.returncode == 2
    assert "query is empty" in ended.stderr


def test_a_reader_must_say_whose_documents_where_there_are_several_tenants(
    run: Program, environment: dict[str, str]
) -> None:
    with Path(environment["AIRFLOW__CONCORDANCE__SOURCES_FILE"]).open("a") as file:
        file.write('[[source]]\nname = "others"\nkind = "distributions"\ntenant = "other"\n')
    ended = run("search", "lease")
    assert ended.returncode == 2
    assert "--tenant: the declared sources belong to acme, other" in ended.stderr


def test_the_status_of_a_stack_that_was_never_started_is_not_healthy(run: Program) -> None:
    ended = run("status", "--json")
    assert ended.returncode == 1
    shown = json.loads(ended.stdout)
    assert shown["healthy"] is False
    assert {service["condition"] for service in shown["services"]} == {"stopped"}
    parser = {each["restriction"]: each["how"] for each in shown["parser"] if each["in_force"]}
    assert parser["wall time"] == "60 s a document, by its parent"
    assert parser["environment"] == "empty"
    assert shown["wrong_limits"] == ""


def test_the_status_says_whether_the_configured_model_is_prepared_and_what_would_run_it(
    run: Program, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["AIRFLOW__CONCORDANCE__EMBEDDING_BACKEND"] = "sentence-transformers"
    environment["AIRFLOW__CONCORDANCE__MODELS_DIR"] = str(tmp_path / "models")
    environment["AIRFLOW__CONCORDANCE__EMBEDDING_RUNTIME"] = "torch"
    shown = json.loads(run("status", "--json").stdout)["configured_model"]
    assert (shown["runs_with"], shown["prepared"], shown["fault"]) == ("torch on cpu", "", "")
    environment["AIRFLOW__CONCORDANCE__EMBEDDING_RUNTIME"] = "openvino"
    ended = run("status")
    assert ended.returncode == 1
    assert "nothing" in ended.stdout
    assert "is not prepared at fp32" in " ".join(ended.stdout.split())


def test_the_status_says_what_is_wrong_with_the_limits_of_lateness(
    run: Program, environment: dict[str, str], tmp_path: Path
) -> None:
    limits = tmp_path / "slas.toml"
    limits.write_text('[[sla]]\ndag = "concordance_ingest"\nrun_secnds = 5\n')
    environment["AIRFLOW__CONCORDANCE__SLAS_FILE"] = str(limits)
    ended = run("status")
    assert "What is late is not known" in ended.stdout
    assert "run_secnds" in ended.stdout


def test_down_with_nothing_to_stop_is_no_error(run: Program) -> None:
    assert run("down").returncode == 0


def test_a_reader_that_closes_the_pipe_is_no_error(environment: dict[str, str]) -> None:
    script = 'set -o pipefail; "$0" -m concordance settings --json | head -c 1'
    argv = ["bash", "-c", script, sys.executable]
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "{", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Misconfigured("x"), 2),
        (Unavailable("x"), 3),
        (OutcomeUnknown("x"), 3),
        (Leased("x", retry_after_seconds=1), 3),
        (GateFailed("x"), 1),
        (Conflict("x"), 1),
        (PoisonDocument("x", reason="empty"), 1),
        (LookupError("x"), 1),
    ],
)
def test_each_class_of_errors_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_a_defect_is_one_line_without_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise LookupError("private words")

    monkeypatch.setattr("concordance.settings.explain_settings", broken)
    assert main(["settings"]) == 1
    shown = capsys.readouterr()
    assert "private" not in shown.err + shown.out
    assert "this is a defect (LookupError)" in shown.err
