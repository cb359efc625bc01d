"""The product's pages in Airflow: mounted in the API server, and linked from the tasks that they are about.

Lazy: the application, and with it the web framework, is imported where Airflow asks for it, which is the API server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PREFIX = "/concordance"
DAG = "concordance_ingest"
# By DAG: what its run is to the product, and the gate of each of its tasks that has one.
GATES = {
    DAG: ("runs", {"check_documents": "documents", "check_chunks": "chunks", "check_stores": "stores"}),
    "concordance_nightly_reindex": ("builds", {"check_parity": "parity", "check_relevance": "relevance"}),
    "concordance_index": ("builds", {"act": "relevance"}),
}


class GateResultLink(BaseOperatorLink):
    """From a gate's task to what the gate said. Made when it is asked for, so that a task that was killed has it too.

    Airflow knows links for all operators or for a class of them; a task without an address shows none.
    """

    name = "Gate result"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        kind, gates = GATES.get(ti_key.dag_id, ("", {}))
        gate = gates.get(ti_key.task_id)
        if gate is None:
            return ""
        # Without the host: the page is where the user found the task, whatever name the deployment has there.
        root = urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/")
        return f"{root}{PREFIX}/{kind}/{quote(ti_key.run_id, safe='')}/gates/{gate}"


class ConcordancePages(AirflowPlugin):
    name = "concordance_pages"
    global_operator_extra_links = [GateResultLink()]  # noqa: RUF012 - Airflow's base class declares it as an instance's

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """One application. Who may see the task instances of the ingest runs may see what their gates said."""
        from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
        from airflow.api_fastapi.core_api.security import requires_access_dag

        from concordance.serving.app import create_app
        from concordance_connections import ledger_settings

        guard = requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE, param_dag_id=DAG)
        app = create_app(guard=guard, settings_of=ledger_settings)
        return [{"app": app, "url_prefix": PREFIX, "name": "Concordance"}]
