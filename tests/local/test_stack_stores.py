"""The running stores: who may connect to what, and what everybody else can see of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import psycopg
import pytest

from concordance.local import processes
from concordance.local import stack as stacks
from concordance.local import state as states
from concordance.local.stack import Condition
from concordance.settings import Settings

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def _secrets(settings: Settings) -> dict[str, str]:
    stored: dict[str, str] = json.loads((settings.state_dir / "secrets.json").read_text())
    return stored


def test_every_store_answers_and_says_what_it_is(stack: Settings) -> None:
    status = stacks.status(stack)
    shown = {service.name: service for service in status.services if service.name in status.wanted}
    assert status.is_healthy
    assert {name: service.condition for name, service in shown.items()} == dict.fromkeys(
        ("postgres", "graph", "vectors"), Condition.RUNNING
    )
    for service in shown.values():
        assert service.pid
        assert psutil.pid_exists(service.pid)
        assert service.uptime_seconds is not None
        assert service.log_file.is_file()
        assert service.version
    assert shown["postgres"].address == f"127.0.0.1:{stack.postgres_port}"
    assert shown["postgres"].version.startswith("18.")


def test_a_second_up_changes_nothing(stack: Settings) -> None:
    before = {service.name: service.pid for service in stacks.status(stack).services}
    lines: list[str] = []
    after = stacks.up(stack, report=lines.append)
    assert {service.name: service.pid for service in after.services} == before
    assert lines == []


def test_the_stores_listen_on_loopback_only(stack: Settings) -> None:
    members = {process.pid for process in processes.members(states.locate(stack))}
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.net_connections("tcp")
        if connection.pid in members and connection.status == psutil.CONN_LISTEN and connection.laddr
    }
    ports = {stack.postgres_port, stack.bolt_port, stack.arcade_http_port, stack.qdrant_port}
    assert {port for _, port in listening} == ports
    assert {address for address, _ in listening} <= LOOPBACK


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as another user")
def test_postgresql_does_not_run_as_root(stack: Settings) -> None:
    postmaster = processes.find(states.locate(stack), "postgres")
    assert postmaster is not None
    assert postmaster.uids().effective != 0


def test_no_secret_stands_on_a_command_line_or_in_a_log(stack: Settings) -> None:
    secrets = _secrets(stack)
    words = [word for process in psutil.process_iter() for word in _command_line(process)]
    logs = [path.read_text(errors="replace") for path in stack.state_dir.rglob("*.log*") if path.is_file()]
    assert logs
    for name, secret in secrets.items():
        assert not any(secret in text for text in (*words, *logs)), name


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_only_the_owner_reads_the_files_with_secrets(stack: Settings) -> None:
    secrets = [secret.encode() for secret in _secrets(stack).values()]
    holders = {path for path in stack.state_dir.rglob("*") if path.is_file() and _holds(path, secrets)}
    assert stack.state_dir / "secrets.json" in holders
    assert {path.parent.name for path in holders} <= {stack.state_dir.name, "run"}
    assert {path.stat().st_mode & 0o777 for path in holders} == {0o600}
    # Group "search" may be there for the database's account; nobody can list the folder or look at others' names.
    assert stack.state_dir.stat().st_mode & 0o067 == 0


def _holds(path: Path, secrets: list[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False  # a file of the database that has gone meanwhile
    return any(secret in content for secret in secrets)


@pytest.mark.parametrize(("role", "secret"), [("concordance", "ledger_password"), ("airflow", "airflow_db_password")])
def test_a_role_owns_its_database_and_is_nothing_else(stack: Settings, role: str, secret: str) -> None:
    url = f"postgresql://{role}@127.0.0.1:{stack.postgres_port}/{role}"
    with psycopg.connect(url, password=_secrets(stack)[secret]) as connection:
        connection.execute("CREATE SCHEMA mine CREATE TABLE mine.rows (id int)")
        connection.rollback()
        flags = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles "
            "WHERE rolname = current_user"
        ).fetchone()
        assert flags == (False, False, False, False, False)


@pytest.mark.parametrize("database", ["airflow", "postgres"])
def test_the_ledgers_role_cannot_enter_another_database(stack: Settings, database: str) -> None:
    password = stack.ledger_password.get_secret_value()
    url = f"postgresql://concordance@127.0.0.1:{stack.postgres_port}/{database}"
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(url, password=password)


def test_without_the_password_nobody_enters_postgresql(stack: Settings) -> None:
    for role in ("concordance", "postgres"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(
                f"postgresql://{role}@127.0.0.1:{stack.postgres_port}/{role}", password="guessed", connect_timeout=5
            )


def test_the_graph_takes_the_driver_and_refuses_a_wrong_password(stack: Settings) -> None:
    from neo4j import GraphDatabase
    from neo4j.exceptions import AuthError

    user, password = stack.effective_neo4j_user, stack.neo4j_password.get_secret_value()
    with GraphDatabase.driver(stack.effective_neo4j_url, auth=(user, password)) as driver:
        found, _, _ = driver.execute_query("RETURN 1 AS one", database_=stack.effective_neo4j_database)
        assert found[0]["one"] == 1
    with (
        GraphDatabase.driver(stack.effective_neo4j_url, auth=(user, "guessed")) as driver,
        pytest.raises(AuthError),
    ):
        driver.verify_connectivity()


def test_the_supervisors_socket_is_for_its_owner_alone(stack: Settings) -> None:
    path = stack.state_dir / "run" / "control.sock"
    assert path.is_socket()
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
