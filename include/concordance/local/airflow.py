"""Airflow's programs of the local stack: prepared once, then API server, scheduler, DAG processor and triggerer.

They run the repository's airflow.cfg, dags/ and plugins/ as docker-compose.yml does; what differs (folders, addresses,
secrets) comes by environment. One user, `admin`, with a generated password. Nothing here imports Airflow: importing it
takes seconds, which `status` and `down` need not wait for.
"""

from __future__ import annotations

import functools
import http.client
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from concordance.errors import Unavailable
from concordance.local import postgres
from concordance.local.program import Program
from concordance.local.state import State, write_private
from concordance.settings import ENVIRONMENT_PREFIX, ROOT, Settings

ADMIN = "admin"
# What an alert that a task or the triggerer raises is delivered with.
_ALERT_SECRETS = ("alert_webhook_url", "alert_webhook_secret", "smtp_password")
PREPARE, API_SERVER, SCHEDULER = "airflow-prepare", "airflow-api-server", "airflow-scheduler"
DAG_PROCESSOR, TRIGGERER = "airflow-dag-processor", "airflow-triggerer"
_PROBE_SECONDS = 5
# The component's name in the answer of /api/v2/monitor/health.
_HEALTH = {SCHEDULER: "scheduler", DAG_PROCESSOR: "dag_processor", TRIGGERER: "triggerer"}


def programs(settings: Settings, state: State, secrets: Mapping[str, str]) -> tuple[Program, ...]:
    """Airflow's programs, in the order of their start. Pure: nothing is made or started."""
    folder = state.path / "airflow"
    common: dict[str, Any] = {"directory": folder, "version": functools.partial(version, "apache-airflow")}
    environment = _environment(settings, folder, secrets)
    command = (sys.executable, "-m", "airflow")
    port = str(settings.airflow_port)
    serving = {
        SCHEDULER: (*command, "scheduler", "--skip-serve-logs"),
        DAG_PROCESSOR: (*command, "dag-processor"),
        TRIGGERER: (*command, "triggerer", "--skip-serve-logs"),
    }
    return (
        Program(
            name=PREPARE,
            argv=(sys.executable, str(ROOT / "deploy" / "prepare.py")),
            environment={**environment, **secret_settings(settings, secrets)},
            needs=(postgres.NAME,),
            one_shot=True,
            prepare=functools.partial(
                _set_up,
                folder,
                {ADMIN: secrets["airflow_admin_password"], settings.airflow_user: secrets["airflow_password"]},
            ),
            **common,
        ),
        Program(
            name=API_SERVER,
            argv=(*command, "api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1"),
            environment=environment,
            needs=(PREPARE,),
            ports={"airflow_port": settings.airflow_port},
            ready=functools.partial(check_server, settings.airflow_port),
            stop_children=True,
            **common,
        ),
        *(
            Program(
                name=name,
                argv=argv,
                environment=environment,
                needs=(PREPARE,),
                ready=functools.partial(check_component, settings.airflow_port, _HEALTH[name]),
                # A running task is stopped with its worker; its next attempt finds what was finished.
                stop_children=True,
                **common,
            )
            for name, argv in serving.items()
        ),
    )


def address(settings: Settings) -> str:
    """Where a browser finds Airflow."""
    return f"http://127.0.0.1:{settings.airflow_port}"


def _environment(settings: Settings, folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
    database = f"airflow:{secrets['airflow_db_password']}@127.0.0.1:{settings.postgres_port}/airflow"
    environment = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW_CONFIG": str(ROOT / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__FERNET_KEY": secrets["airflow_fernet_key"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin,{settings.airflow_user}:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file(folder.parent)),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
        "AIRFLOW__API__BASE_URL": address(settings),
        "AIRFLOW__API__SECRET_KEY": secrets["airflow_api_secret_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets["airflow_jwt_secret"],
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        **product_settings(settings),
        **{
            name: value
            for name, value in secret_settings(settings, secrets).items()
            if name.removeprefix(ENVIRONMENT_PREFIX).lower() in _ALERT_SECRETS
        },
    }
    if settings.statsd_host:
        environment |= {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": settings.statsd_host,
            "AIRFLOW__METRICS__STATSD_PORT": str(settings.statsd_port),
        }
    return environment


def product_settings(settings: Settings) -> dict[str, str]:
    """The settings that are not defaults: the programs do not inherit the shell in which somebody typed `up`."""
    return {
        ENVIRONMENT_PREFIX + name.upper(): str(getattr(settings, name))
        for name, declared in Settings.model_fields.items()
        if declared.annotation is not SecretStr
        and (name == "state_dir" or getattr(settings, name) != declared.get_default())
    }


def secret_settings(settings: Settings, secrets: Mapping[str, str]) -> dict[str, str]:
    """The secrets of stores that are not the stack's, for the programs that read them by environment.

    The stack's own they read from the state folder; the tasks read the stores' from the connections.
    """
    given = {
        name: getattr(settings, name).get_secret_value()
        for name, declared in Settings.model_fields.items()
        if declared.annotation is SecretStr
    }
    return {
        ENVIRONMENT_PREFIX + name.upper(): value
        for name, value in given.items()
        if value not in ("", secrets.get(name))
    }


def password_file(state_dir: Path) -> Path:
    """Where the passwords of the admin and of the watch stand, readable by their owner alone."""
    return state_dir / "airflow" / "passwords.json"


def _set_up(folder: Path, passwords: Mapping[str, str]) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    write_private(password_file(folder.parent), json.dumps(dict(passwords)) + "\n")


def check_server(port: int) -> None:
    """Returns when the API server answers. Raises `Unavailable` otherwise."""
    _ask(port, "/api/v2/version")


def check_component(port: int, component: str) -> None:
    """Returns when a component has shown its heartbeat lately. Raises `Unavailable` otherwise."""
    health = _ask(port, "/api/v2/monitor/health")
    status = (health.get(component) or {}).get("status")
    if status != "healthy":
        raise Unavailable(f"Airflow's {component.replace('_', ' ')} shows no heartbeat yet ({status or 'unknown'})")


def _ask(port: int, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"Airflow on 127.0.0.1:{port} does not answer ({type(error).__name__})") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise Unavailable(f"Airflow on 127.0.0.1:{port} answers {answer.status}")
    answered: dict[str, Any] = json.loads(body)
    return answered
