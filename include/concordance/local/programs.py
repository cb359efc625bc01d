"""The programs of the local stack, in the order in which they are listed.

A further service is one `Program` made in its own module and entered here, in `everything`. The three stores are what
`up(programs="stores")` starts; "all" is every program.
"""

from __future__ import annotations

import functools
import http.client
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Literal

from concordance.errors import Unavailable
from concordance.local import airflow, graph, postgres, watch
from concordance.local.account import Account
from concordance.local.program import Program
from concordance.local.state import State
from concordance.settings import Settings

Selection = Literal["stores", "all"]
_PROBE_SECONDS = 3


def stores(
    settings: Settings, state: State, *, secrets: Mapping[str, str], database_account: Account | None
) -> tuple[Program, ...]:
    """The three stores. Pure: nothing is made or started.

    `secrets` are those of `state.ensure_secrets`; `database_account` is that of `postgres.choose_account`.
    """
    return (
        postgres.program(settings, state, secrets=secrets, run_as=database_account),
        graph.program(settings, state, secrets),
        vectors(settings, state, secrets),
    )


def everything(
    settings: Settings, state: State, *, secrets: Mapping[str, str], database_account: Account | None
) -> tuple[Program, ...]:
    """Every program of the stack, the stores first; the arguments are those of `stores`."""
    return (
        *stores(settings, state, secrets=secrets, database_account=database_account),
        *airflow.programs(settings, state, secrets),
        watch.program(settings, state, secrets),
    )


def vectors(settings: Settings, state: State, secrets: Mapping[str, str]) -> Program:
    """The Qdrant gateway as a program of the stack."""
    folder = state.path / "vectors"
    port, key = settings.qdrant_port, secrets["qdrant_api_key"]
    command = (sys.executable, "-m", "concordance.local.gateway", "--log-level", settings.log_level)
    return Program(
        name="vectors",
        argv=(*command, "--data", str(folder / "data"), "--port", str(port)),
        directory=folder,
        environment={"CONCORDANCE_QDRANT_API_KEY": key},
        ports={"qdrant_port": port},
        prepare=functools.partial(folder.mkdir, mode=0o700, exist_ok=True),
        ready=functools.partial(check_vectors, port, key),
        version=functools.partial(version, "qdrant-edge-py"),
        stop_seconds=30,
    )


def check_vectors(port: int, key: str) -> None:
    """Returns when the gateway lists its collections for the key. Raises `Unavailable` otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/collections", headers={"api-key": key})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the vector store on 127.0.0.1:{port} does not answer ({type(error).__name__})") from None
    finally:
        connection.close()
    if status in (401, 403):
        raise Unavailable(f"the vector store on 127.0.0.1:{port} refuses the key")
    if status != 200:
        raise Unavailable(f"the vector store on 127.0.0.1:{port} answers {status}")
