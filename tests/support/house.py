"""A whole deployment as its users see it: Airflow's interface, the two stores, and folders of documents."""

from __future__ import annotations

import http.client
import secrets
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import neo4j
from qdrant_client import QdrantClient, models

from concordance.consistency import VerifyReport, verify
from concordance.ledger import open_ledger
from concordance.local import airflow as airflow_programs
from concordance.local import state
from concordance.operations.alerts import Alert, AlertKind
from concordance.pipeline.adapters import open_adapters
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings
from concordance.watching.airflow import AirflowApi, RunState
from support.ledgers import connect
from support.receivers import Receiver
from support.waiting import wait_for

DAG = "concordance_ingest"
_RUN_SECONDS = 900
Live = set[tuple[str, int, str]]


@dataclass(frozen=True, slots=True)
class House:
    """A running deployment as its users see it: Airflow's interface, the two stores, and folders of documents."""

    settings: Settings
    api: AirflowApi
    folder: Path
    hook: Receiver
    # (kind, run id) of the alerts that a test has made fire.
    expected: set[tuple[str, str]] = field(default_factory=set)

    def run(self, source: str, **conf: Any) -> RunState:
        """Trigger a run and wait until it is done."""
        run_id = self.api.trigger(DAG, {"source": source, **conf})
        return self.finished(run_id)

    def ingested(self, source: str) -> RunReport:
        """A run without Airflow, which takes seconds: for what is only there to be built upon."""
        with open_adapters(self.settings) as adapters:
            request = RunRequest(source, f"{source}_{secrets.token_hex(4)}", approved=True)
            return ingest(request, adapters=adapters, settings=self.settings)

    def finished(self, run_id: str, *, dag_id: str = DAG) -> RunState:
        *_, ended = self.api.follow(dag_id, run_id, wait_seconds=_RUN_SECONDS)
        return ended

    def reached(self, run_id: str, task_id: str, state: str, *, dag_id: str = DAG) -> None:
        """Wait until the task is in this state; a task that fails meanwhile ends the waiting with its error."""

        def is_there() -> bool:
            tasks = {task.task_id: task for task in self.api.run(dag_id, run_id).tasks}
            for task in tasks.values():
                assert task.state not in ("failed", "up_for_retry"), self.api.error_of(dag_id, run_id, task)
            return tasks[task_id].state == state

        wait_for(is_there, seconds=300, what=f"{task_id} {state}")

    def answer(self, run_id: str, option: str, *, dag_id: str = DAG) -> None:
        """What a person clicks under Required Actions, once the run's task `approve` asks."""
        self.reached(run_id, "approve", "awaiting_input", dag_id=dag_id)

        def is_parked() -> bool:
            # No person is as quick as a test: answered before the scheduler has heard that the task's process ended,
            # Airflow takes that end for a failure and asks again.
            heard = (line for line in self.log("airflow-scheduler").splitlines() if "Received executor event" in line)
            return any(run_id in line and "task_id='approve'" in line for line in heard)

        wait_for(is_parked, seconds=60, what="the end of the process that asks")
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/approve/-1/hitlDetails"
        self.api.call("PATCH", path, {"chosen_options": [option], "params_input": {}})

    def why(self, ended: RunState, *, dag_id: str = DAG) -> list[str]:
        """The errors of a run's failed tasks."""
        return [self.api.error_of(dag_id, ended.run_id, task) for task in ended.tasks if task.state == "failed"]

    def report(self, ended: RunState) -> dict[str, Any]:
        report: dict[str, Any] = self.api.result(DAG, ended.run_id, "report")
        return report

    @contextmanager
    def held(self, source: str) -> Iterator[None]:
        """Somebody else's run holds the source: others wait for the end of its lease."""
        with connect(self.settings) as connection:
            connection.execute(
                "INSERT INTO sources (source, tenant, lease_holder, lease_until) "
                "VALUES (%s, 'acme', 'somebody', now() + interval '1 hour') "
                "ON CONFLICT (source) DO UPDATE SET lease_holder = 'somebody', lease_until = excluded.lease_until",
                [source],
            )
            try:
                yield
            finally:
                # A swap would wait for it.
                connection.execute(
                    "UPDATE sources SET lease_holder = NULL, lease_until = NULL WHERE source = %s", [source]
                )

    def alerts(self, run_id: str | None = None) -> list[Alert]:
        """The alerts that ever fired, of one run or of all, as the ledger has them."""
        ledger = open_ledger(self.settings)
        try:
            found = ledger.alerting.recent(limit=10_000)
        finally:
            ledger.close()
        return [each for each in found if run_id is None or each.breach.subject.get("run") == run_id]

    def alert(self, kind: str, run_id: str, *, seconds: float = 90) -> Alert:
        """The alert of this kind that fires of this run, once it is there; it is one that a test expects."""
        self.expected.add((kind, run_id))

        def fired() -> list[Alert]:
            return [each for each in self.alerts(run_id) if each.breach.kind == kind]

        (alert,) = wait_for(fired, seconds=seconds, what=f"{kind} of {run_id}")
        return alert

    def recovered(self, alert: Alert, *, seconds: float = 90) -> Alert:
        """The same alert once it is over."""

        def over() -> list[Alert]:
            return [each for each in self.alerts() if each.alert_id == alert.alert_id and each.recovered_at is not None]

        return wait_for(over, seconds=seconds, what=f"the end of {alert.breach.key}")[0]

    def false_alarms(self) -> list[str]:
        """Alerts that no test made fire; that of a run which did fail is none."""
        alarms = []
        for alert in self.alerts():
            kind, subject = alert.breach.kind, alert.breach.subject
            if (str(kind), subject.get("run", "")) in self.expected:
                continue
            if kind is AlertKind.RUN_FAILED and self.api.run(subject["dag"], subject["run"]).state == "failed":
                continue
            alarms.append(f"{alert.breach.key}: {alert.breach.actual}")
        return alarms

    def link(self, run_id: str, task_id: str, name: str, *, dag_id: str = DAG) -> str | None:
        """Where a task's link of this name leads to; None where the task shows none."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/links"
        address: str | None = self.api.call("GET", path)["extra_links"].get(name)
        return address

    def visit(self, path: str, *, token: str | None = None) -> tuple[int, str]:
        """Status and content of a page, as a browser gets it that carries Airflow's cookie with this token."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.settings.airflow_port, timeout=60)) as connection:
            connection.request("GET", path, headers={"Cookie": f"_token={token}"} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def token(self, **claims: Any) -> str:
        """The admin's token, or one that says something else of its bearer."""
        kept = state.read_secrets(state.locate(self.settings))
        login = {"username": airflow_programs.ADMIN, "password": kept["airflow_admin_password"]}
        token = str(self.api.call("POST", "/auth/token", login)["access_token"])
        header, said = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
        return jwt.encode({**said, **claims}, kept["airflow_jwt_secret"], algorithm=header["alg"], headers=header)

    def log(self, program: str) -> str:
        """The log of one of the deployment's programs."""
        return state.locate(self.settings).log_file(program).read_text(encoding="utf-8", errors="replace")

    def live_in_graph(self, source: str) -> Live:
        """What a raw Cypher reader sees of a source: (uri, index, text) of the live chunks of the version that the
        pointer node names."""
        settings = self.settings
        secret = settings.neo4j_password.get_secret_value()
        address = (settings.effective_neo4j_url, settings.effective_neo4j_user)
        with (
            neo4j.GraphDatabase.driver(address[0], auth=(address[1], secret)) as driver,
            driver.session(database=settings.effective_neo4j_database) as session,
        ):
            rows = session.run(
                "MATCH (i:Index {name: 'concordance'}) "
                "MATCH (c:Chunk {live: true, index_version: i.version})-[:FROM_DOCUMENT]->"
                "(d:Document {source: $source}) "
                "RETURN d.uri AS uri, c.index AS index, c.text AS text",
                source=source,
            )
            return {(row["uri"], row["index"], row["text"]) for row in rows}

    def live_in_vectors(self, source: str) -> Live:
        """What a raw reader of the alias sees of a source: (uri, index, text) of the live points."""
        secret = self.settings.qdrant_api_key.get_secret_value()
        with warnings.catch_warnings():
            # The key goes over plain HTTP, on the loopback address.
            warnings.simplefilter("ignore")
            client = QdrantClient(url=self.settings.effective_qdrant_url, api_key=secret, check_compatibility=False)
        try:
            wanted = models.Filter(
                must=[
                    models.FieldCondition(key="live", match=models.MatchValue(value=True)),
                    models.FieldCondition(key="source", match=models.MatchValue(value=source)),
                ]
            )
            points, after = client.scroll("concordance", scroll_filter=wanted, limit=10_000, with_payload=True)
            assert after is None
            payloads = [point.payload or {} for point in points]
            return {(payload["uri"], payload["index"], payload["text"]) for payload in payloads}
        finally:
            client.close()

    def verify(self) -> VerifyReport:
        with open_adapters(self.settings) as adapters:
            return verify(ledger=adapters.ledger, graph=adapters.graph, vectors=adapters.vectors)
