"""Bring both databases to what the product needs: the ledger's schema; Airflow's schema, pools and connections. And
prepare the model, where that is not done.

Run once before Airflow's processes start, by the local stack and by docker-compose.yml's init service alike. Running it
again changes nothing. The connections follow the settings (environment, airflow.cfg, the local stack's secrets): they
are written anew each time, so that an address or a secret is changed in one place.
"""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.models import Connection, Pool
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from pydantic import SecretStr
from sqlalchemy import select

import concordance_airflow as glue
import concordance_connections
from concordance.embedding.preparing import prepare
from concordance.errors import ConcordanceError
from concordance.ledger.migrate import migrate
from concordance.settings import Settings, load_settings

MIN_PASSWORD_CHARACTERS = 12


def main() -> int:
    """Exit code 0 when everything is in place, 2 with one sentence when it cannot be."""
    try:
        settings = load_settings()
        connections = connections_of(settings)
        migrate(settings.effective_ledger_url, settings.ledger_password.get_secret_value())
        prepare_model(settings)
    except ConcordanceError as error:
        print(error, file=sys.stderr)
        return 2
    initdb()
    for pool in glue.POOLS:
        Pool.create_or_update_pool(pool.name, pool.slots, pool.description, include_deferred=False)
    with create_session() as session:
        for wanted in connections:
            stored = session.scalar(select(Connection).where(Connection.conn_id == wanted.conn_id))
            if stored is not None:
                session.delete(stored)
                session.flush()
            session.add(wanted)
    if _is_deployment():
        _ensure_accounts(
            admin=os.environ.get("AIRFLOW_ADMIN_PASSWORD", ""), watch=os.environ.get("AIRFLOW_WATCH_PASSWORD", "")
        )
    print(f"Prepared: the ledger, and Airflow with {len(glue.POOLS)} pools and {len(connections)} connections")
    return 0


def prepare_model(settings: Settings) -> None:
    """A model of the deployment is prepared here once, for all its services. At fp32 torch can do without it; the local
    stack's is prepared by its set-up, which its start does not wait for."""
    if settings.embedding_backend == "hash" or settings.embedding_runtime == "torch" or not _is_deployment():
        return
    try:
        prepare(settings)
    except ConcordanceError as error:
        if settings.embedding_precision == "int8" or settings.embedding_runtime == "openvino":
            raise
        print(f"The model was not prepared, torch encodes: {error}", file=sys.stderr)


def _is_deployment() -> bool:
    return "FabAuthManager" in conf.get("core", "auth_manager")


def _ensure_accounts(*, admin: str, watch: str) -> None:
    """The first account, which keeps the password that it may have changed, and the one of the watch, which may only
    read and whose password follows the environment."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    for variable, password in (("AIRFLOW_ADMIN_PASSWORD", admin), ("AIRFLOW_WATCH_PASSWORD", watch)):
        if len(password) < MIN_PASSWORD_CHARACTERS:
            raise SystemExit(f"{variable} needs at least {MIN_PASSWORD_CHARACTERS} characters")
    with get_application_builder() as builder:
        manager = builder.sm
        if not manager.find_user(username="admin"):
            manager.add_user("admin", "Admin", "Admin", "admin@localhost", manager.find_role("Admin"), admin)
        if (user := manager.find_user(username="watch")) is not None:
            manager.reset_password(user.id, watch)
        else:
            manager.add_user("watch", "Watch", "Watch", "watch@localhost", manager.find_role("Viewer"), watch)


def connections_of(settings: Settings) -> list[Connection]:
    """The three connections that the tasks read (`concordance_connections.connected_settings`)."""
    neo4j, qdrant, ledger = (
        urlsplit(url)
        for url in (settings.effective_neo4j_url, settings.effective_qdrant_url, settings.effective_ledger_url)
    )
    return [
        Connection(
            conn_id=concordance_connections.NEO4J_CONNECTION,
            conn_type="neo4j",
            description="the knowledge graph",
            host=neo4j.hostname,
            port=neo4j.port or 7687,
            schema=settings.effective_neo4j_database or "",
            login=settings.effective_neo4j_user,
            password=_plain(settings.neo4j_password),
            extra={
                "neo4j_scheme": neo4j.scheme.startswith("neo4j"),
                "certs_self_signed": neo4j.scheme.endswith("+ssc"),
                "certs_trusted_ca": neo4j.scheme.endswith("+s"),
            },
        ),
        Connection(
            conn_id=concordance_connections.QDRANT_CONNECTION,
            conn_type="http",
            description="the vector index",
            host=qdrant.hostname,
            port=qdrant.port or 6333,
            schema=qdrant.scheme,
            password=_plain(settings.qdrant_api_key),
        ),
        Connection(
            conn_id=concordance_connections.LEDGER_CONNECTION,
            conn_type="postgres",
            description="the ledger: the truth about every document, generation and run",
            host=ledger.hostname,
            port=ledger.port or 5432,
            schema=ledger.path.lstrip("/"),
            login=ledger.username,
            password=_plain(settings.ledger_password),
        ),
    ]


def _plain(secret: SecretStr) -> str | None:
    return secret.get_secret_value() or None


if __name__ == "__main__":
    raise SystemExit(main())
