"""The pages in Airflow: the link from a gate's task, and Airflow's own guard before every route."""

from __future__ import annotations

import importlib
import re
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from concordance import errors

RUN = "manual__2026-11-22T04:05:06+00:00"


@pytest.fixture(scope="module")
def plugin(glue: ModuleType) -> ModuleType:
    return importlib.import_module("concordance_pages")


def link(plugin: ModuleType, *, task_id: str, dag_id: str = "concordance_ingest") -> str:
    key = SimpleNamespace(dag_id=dag_id, task_id=task_id, run_id=RUN)
    return str(plugin.GateResultLink().get_link(None, ti_key=key))


def test_the_tasks_of_the_three_gates_lead_to_their_results(plugin: ModuleType, dags: dict[str, Any]) -> None:
    tasks = dags["dags"][plugin.DAG]["tasks"]
    found = {task_id: link(plugin, task_id=task_id) for task_id in tasks}
    run = "/concordance/runs/manual__2026-11-22T04%3A05%3A06%2B00%3A00/gates"
    assert {task_id: address for task_id, address in found.items() if address} == {
        "check_documents": f"{run}/documents",
        "check_chunks": f"{run}/chunks",
        "check_stores": f"{run}/stores",
    }
    assert link(plugin, task_id="check_documents", dag_id="somebody_elses") == ""


def test_the_gates_before_a_swap_lead_to_their_results(plugin: ModuleType, dags: dict[str, Any]) -> None:
    build = "/concordance/builds/manual__2026-11-22T04%3A05%3A06%2B00%3A00/gates"
    found = {
        (dag_id, task_id): link(plugin, task_id=task_id, dag_id=dag_id)
        for dag_id in ("concordance_nightly_reindex", "concordance_index")
        for task_id in dags["dags"][dag_id]["tasks"]
    }
    assert {where: address for where, address in found.items() if address} == {
        ("concordance_nightly_reindex", "check_parity"): f"{build}/parity",
        ("concordance_nightly_reindex", "check_relevance"): f"{build}/relevance",
        ("concordance_index", "act"): f"{build}/relevance",
    }


def test_the_link_follows_a_deployment_below_a_path(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://data.example/airflow/")
    assert link(plugin, task_id="check_stores").startswith("/airflow/concordance/runs/")


def test_every_route_asks_for_a_token(plugin: ModuleType) -> None:
    (mounted,) = plugin.ConcordancePages().fastapi_apps
    assert mounted["url_prefix"] == "/concordance"
    assert mounted["app"].routes
    for route in mounted["app"].routes:
        answer = TestClient(mounted["app"]).get(re.sub(r"\{\w+\}", "x", route.path))
        assert answer.status_code == 401


def test_the_pages_know_the_ledger_by_its_connection_alone(glue: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger_settings = importlib.import_module("concordance_connections").ledger_settings
    address = '{"conn_type": "postgres", "host": "db", "login": "c", "password": "l-secret", "schema": "ledger"}'
    monkeypatch.setenv("AIRFLOW_CONN_CONCORDANCE_LEDGER", address)
    settings = ledger_settings()
    assert settings.effective_ledger_url == "postgresql://c@db:5432/ledger"
    assert settings.ledger_password.get_secret_value() == "l-secret"
    monkeypatch.setenv("AIRFLOW_CONN_CONCORDANCE_LEDGER", '{"conn_type": "postgres"}')
    with pytest.raises(errors.Misconfigured, match="concordance_ledger has no host"):
        ledger_settings()
