"""What the DAGs share: the checked request, the retries by error class, the connections, the deadline's callback."""

from __future__ import annotations

import contextvars
import importlib
import json
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from concordance import errors
from concordance.operations import correlation, telemetry
from concordance.pipeline.conf import ReplayConf, checked_conf, run_conf
from concordance.pipeline.references import RunRequest
from concordance.settings import load_settings
from support.kept_metrics import kept_metrics

VALID = {"source": "handbook", "subpath": "", "mode": "incremental", "dry_run": False, "approved": False}


def refused(glue: ModuleType, conf: dict[str, Any]) -> str:
    with pytest.raises(errors.Misconfigured) as caught:
        run_conf(conf, {**VALID, "max_documents": None, **conf})
    return str(caught.value)


def test_the_form_as_it_is_filled_in_is_taken(glue: ModuleType) -> None:
    conf = run_conf({}, {**VALID, "max_documents": 7})
    assert (conf.source, conf.mode, conf.max_documents) == ("handbook", "incremental", 7)


def test_an_unknown_key_of_the_conf_is_refused_by_name(glue: ModuleType) -> None:
    assert "unknown keys: sauce" in refused(glue, {"sauce": "handbook"})


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ({"source": ""}, "source"),
        ({"source": 7}, "source"),
        ({"source": None}, "source"),
        ({"mode": "quick"}, "mode"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"approved": 1}, "approved"),
        ({"max_documents": 0}, "max_documents"),
        ({"max_documents": 1.5}, "max_documents"),
        ({"subpath": "guides/../../etc"}, "subpath"),
        ({"subpath": "a\0b"}, "subpath"),
        ({"subpath": "x" * 5000}, "subpath"),
        ({"only_quarantined": True, "reason": "bad luck"}, "reason"),
        ({"only_quarantined": True, "older_than_hours": -1}, "older_than_hours"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(glue: ModuleType, conf: dict[str, Any], word: str) -> None:
    assert f"{word}: " in refused(glue, conf)


def test_a_choice_from_the_quarantine_needs_the_word_that_it_is_meant(glue: ModuleType) -> None:
    assert "set only_quarantined" in refused(glue, {"reason": "no_text"})
    conf = run_conf({}, {**VALID, "only_quarantined": True, "reason": "no_text", "older_than_hours": 24})
    replay = conf.request("a-run").replay
    assert (replay.source, replay.reason, replay.older_than_hours) == ("handbook", "no_text", 24)
    assert run_conf({}, VALID).request("a-run").replay is None


def test_a_replay_of_all_sources_is_a_run_of_each_with_the_same_choice(glue: ModuleType) -> None:
    asked = checked_conf(ReplayConf, {}, {"source": None, "reason": "no_text", "older_than_hours": None})
    assert asked.meant(asked.source).source is None
    conf = asked.run_conf("handbook")
    assert run_conf(conf, conf).request("a-run").replay == asked.meant("handbook")


def test_a_run_without_a_source_is_refused(glue: ModuleType) -> None:
    with pytest.raises(errors.Misconfigured, match="source: Field required"):
        run_conf({}, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [("source", "elsewhere"), ("mode", "quick"), ("subpath", "../etc"), ("subpath", "/etc"), ("max_documents", 0)],
)
def test_the_form_itself_refuses_what_the_first_task_would(glue: ModuleType, name: str, value: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        importlib.import_module("concordance_forms").ingest_form(["handbook"])[name].resolve(value)


def decision(glue: ModuleType, error: BaseException) -> Any:
    return glue.RetryByError().evaluate(error, 1, 3)


def every(family: type[errors.ConcordanceError]) -> list[type[errors.ConcordanceError]]:
    return [family, *(one for child in family.__subclasses__() for one in every(child))]


def made(error: type[errors.ConcordanceError]) -> errors.ConcordanceError:
    extra: dict[type, dict[str, Any]] = {
        errors.Leased: {"retry_after_seconds": 40.0},
        errors.PoisonDocument: {"reason": "empty"},
    }
    return error("why", **extra.get(error, {}))


@pytest.mark.parametrize("error", every(errors.Terminal))
def test_what_would_fail_again_is_not_tried_again(glue: ModuleType, error: type[errors.ConcordanceError]) -> None:
    assert decision(glue, made(error)).action.value == "fail"


@pytest.mark.parametrize("error", every(errors.Transient))
def test_what_may_pass_is_tried_again(glue: ModuleType, error: type[errors.ConcordanceError]) -> None:
    assert decision(glue, made(error)).action.value == "retry"


def test_a_lease_is_waited_for_as_long_as_it_runs(glue: ModuleType) -> None:
    assert decision(glue, errors.Leased("held", retry_after_seconds=40)).retry_delay == timedelta(seconds=41)


def test_any_other_error_follows_the_tasks_own_retries(glue: ModuleType) -> None:
    assert decision(glue, KeyError("x")).action.value == "default"


CONNECTIONS = {
    "NEO4J_DEFAULT": {
        "conn_type": "neo4j",
        "host": "graph.internal",
        "port": 7688,
        "login": "writer",
        "password": "g-secret",
        "schema": "neo4j",
        "extra": {"neo4j_scheme": True, "certs_trusted_ca": True},
    },
    "QDRANT_DEFAULT": {"conn_type": "http", "schema": "https", "host": "::1", "port": 6333, "password": "v-secret"},
    "CONCORDANCE_LEDGER": {
        "conn_type": "postgres",
        "host": "db.internal",
        "login": "concordance",
        "password": "l-secret",
        "schema": "ledger",
    },
}


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, connection in CONNECTIONS.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
    return monkeypatch


def test_addresses_and_secrets_of_the_stores_come_from_the_connections(
    glue: ModuleType, connections: pytest.MonkeyPatch
) -> None:
    settings = importlib.import_module("concordance_connections").connected_settings()
    assert settings.effective_neo4j_url == "neo4j+s://graph.internal:7688"
    assert (settings.effective_neo4j_user, settings.effective_neo4j_database) == ("writer", "neo4j")
    assert settings.effective_qdrant_url == "https://[::1]:6333"
    assert settings.effective_ledger_url == "postgresql://concordance@db.internal:5432/ledger"
    secrets = (settings.neo4j_password, settings.qdrant_api_key, settings.ledger_password)
    assert [secret.get_secret_value() for secret in secrets] == ["g-secret", "v-secret", "l-secret"]


def test_a_connection_without_a_host_says_where_to_enter_it(glue: ModuleType, connections: pytest.MonkeyPatch) -> None:
    connections.setenv("AIRFLOW_CONN_NEO4J_DEFAULT", json.dumps({"conn_type": "neo4j", "password": "g-secret"}))
    with pytest.raises(errors.Misconfigured, match="neo4j_default has no host: enter it under Admin") as caught:
        importlib.import_module("concordance_connections").connected_settings()
    assert "g-secret" not in str(caught.value)


class RunningTask(SimpleNamespace):
    """A task instance as a listener is handed it."""

    def get_template_context(self) -> dict[str, Any]:
        return {"dag_run": SimpleNamespace(conf=self.conf)}


def running_task(**given: Any) -> RunningTask:
    usual = {"dag_id": "concordance_ingest", "task_id": "load", "run_id": "r1", "try_number": 2, "map_index": -1}
    return RunningTask(**{**usual, "conf": None, **given})


def test_a_task_carries_its_run_s_id_or_that_of_the_run_that_triggered_it(glue: ModuleType) -> None:
    lines = importlib.import_module("concordance_lines")
    own = {"correlation_id": correlation.of_run("r1"), "run": "r1", "stage": "load", "attempt": 2}
    assert lines.fields_of(running_task()) == own
    assert lines.fields_of(running_task(map_index=3)) == {**own, "shard": 3}
    night = {"correlation_id": "0123456789abcdef"}
    assert lines.fields_of(running_task(conf=night)) == {**own, **night}
    # The first task refuses such a conf; its lines are found by the run's own name.
    assert lines.fields_of(running_task(conf={"correlation_id": "'; DROP"})) == own


def test_other_people_s_tasks_carry_nothing_of_ours(glue: ModuleType) -> None:
    listener = importlib.import_module("concordance_lines").TaskLines()

    def carried_by(**given: Any) -> str:
        listener.on_task_instance_running(None, running_task(**given))
        return correlation.current_id()

    assert contextvars.copy_context().run(carried_by, dag_id="their_dag") == ""
    assert contextvars.copy_context().run(carried_by) == correlation.of_run("r1")


def test_a_second_attempt_of_a_stage_is_reported_as_a_retry(
    glue: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class SecondAttempt:
        try_number, max_tries = 2, 3

    with kept_metrics() as kept:
        monkeypatch.setattr("airflow.sdk.get_current_context", lambda: {"ti": SecondAttempt})
        monkeypatch.setattr(glue, "connected_settings", lambda: load_settings({"state_dir": tmp_path}, environment={}))
        monkeypatch.setattr(glue, "AirflowStats", lambda: kept)
        request = RunRequest(source="distributions", run_id="run-1")
        with pytest.raises(LookupError), glue.planning(request):
            raise LookupError
    stage = (("source", "distributions"), ("stage", "plan"))
    assert kept.of("stage.retried") == {stage: 1}
    assert kept.of("stage.failed") == {stage: 1}
    assert not kept.of("stage.finished")


def test_what_airflow_s_client_is_given_has_legal_tags_and_the_product_s_prefix(
    glue: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Any, ...]] = []

    class Client:
        def incr(self, name: str, *, count: int, tags: dict[str, str]) -> None:
            sent.append((name, count, tags))

        def gauge(self, name: str, value: float, *, tags: dict[str, str]) -> None:
            sent.append((name, value, tags))

        def timing(self, name: str, took: timedelta, *, tags: dict[str, str]) -> None:
            sent.append((name, took, tags))

    monkeypatch.setattr(glue, "stats", Client())
    previous = telemetry.use(glue.AirflowStats())
    try:
        telemetry.count("chunks.written", 3, source="two words: and/a slash")
        telemetry.gauge("disk.free_bytes", 5, place="state")
        telemetry.timing("store.write", 0.25, store="graph")
    finally:
        telemetry.use(previous)
    assert sent == [
        ("concordance.chunks.written", 3, {"source": "two_words_and_a_slash"}),
        ("concordance.disk.free_bytes", 5, {"place": "state"}),
        ("concordance.store.write", timedelta(seconds=0.25), {"store": "graph"}),
    ]
