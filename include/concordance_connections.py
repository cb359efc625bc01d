"""Airflow's Connections as the product's settings: where the stores and the ledger are, and their secrets.

Imported at DAG parse: nothing heavy is imported here, and no connection is opened.
"""

from __future__ import annotations

from typing import Any, cast

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

from concordance.errors import Misconfigured, Unavailable
from concordance.settings import Settings, load_settings

NEO4J_CONNECTION = "neo4j_default"
QDRANT_CONNECTION = "qdrant_default"
LEDGER_CONNECTION = "concordance_ledger"


def connected_settings() -> Settings:
    """The settings with the stores' addresses and secrets from Airflow's Connections; only inside a task.

    Raises `Misconfigured` when a connection is missing or has no host.
    """
    neo4j, qdrant = (_connection(name) for name in (NEO4J_CONNECTION, QDRANT_CONNECTION))
    return load_settings(
        {
            "neo4j_url": _bolt_url(neo4j),
            "neo4j_user": neo4j.login or "neo4j",
            "neo4j_password": neo4j.password or "",
            "neo4j_database": neo4j.schema or "",
            "qdrant_url": f"{qdrant.schema or 'http'}://{_address(qdrant, 6333)}",
            "qdrant_api_key": qdrant.password or "",
            **_ledger(),
        }
    )


def ledger_settings() -> Settings:
    """The settings with the ledger's address and secret alone, for the pages: they ask no store, and the rules for the
    graph's address would bring its driver into the API server. Raises as `connected_settings`.
    """
    return load_settings(_ledger())


def _ledger() -> dict[str, str]:
    ledger = _connection(LEDGER_CONNECTION)
    return {
        "ledger_url": f"postgresql://{ledger.login}@{_address(ledger, 5432)}/{ledger.schema}",
        "ledger_password": ledger.password or "",
    }


def _connection(name: str) -> Connection:
    try:
        connection: Connection = Connection.get(name)
    except AirflowNotFoundException:
        raise Misconfigured(
            f"there is no connection {name}: create it under Admin > Connections, or prepare the deployment again"
        ) from None
    except AirflowRuntimeError as error:
        raise Unavailable(f"Airflow does not give the connection {name} ({error.error.error.value})") from None
    if not connection.host:
        raise Misconfigured(f"the connection {name} has no host: enter it under Admin > Connections")
    return connection


def _address(connection: Connection, default_port: int) -> str:
    host = connection.host or ""
    return f"{f'[{host}]' if ':' in host else host}:{connection.port or default_port}"


def _bolt_url(connection: Connection) -> str:
    # The provider's own rule for scheme and encryption, so that its connection form means here what it says there.
    from airflow.providers.neo4j.hooks.neo4j import Neo4jHook

    return str(Neo4jHook().get_uri(cast("Any", connection)))
