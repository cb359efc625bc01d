"""The little of Airflow's REST interface that the watch, the demo and the end-to-end tests need, over the standard
library.

Every call ends within the given time an answer. Errors: `Unavailable` when Airflow does not answer or answers 5xx,
`Misconfigured` when it refuses the login or what is asked.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from concordance.errors import Misconfigured, Unavailable
from concordance.settings import Settings

_REQUEST_SECONDS = 30
_POLL_SECONDS = 0.5
_DONE = ("success", "failed")
_MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task instance; `map_index` is -1 for one that is not mapped, `state` empty before it is scheduled."""

    task_id: str
    map_index: int
    state: str
    try_number: int
    seconds: float | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class RunState:
    """A run with its tasks as they are now."""

    run_id: str
    state: str
    tasks: tuple[TaskState, ...]

    @property
    def is_done(self) -> bool:
        return self.state in _DONE

    def states(self) -> dict[str, set[str]]:
        """The states of each task's instances, by task."""
        found: dict[str, set[str]] = {}
        for task in self.tasks:
            found.setdefault(task.task_id, set()).add(task.state)
        return found


class AirflowApi:
    """One user's session with one Airflow. Thread-safe; it logs in with the first call, and again when that is over."""

    def __init__(self, url: str, *, user: str, password: str, timeout_seconds: float = _REQUEST_SECONDS) -> None:
        self._url = urlsplit(url.rstrip("/"))
        self._login = {"username": user, "password": password}
        self._timeout_seconds = timeout_seconds
        self._token = ""
        self._lock = threading.Lock()

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run; returns its run id. Raises `Misconfigured` when the form refuses a value."""
        run = self.call("POST", f"/api/v2/dags/{quote(dag_id)}/dagRuns", {"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def await_dag(self, dag_id: str, *, wait_seconds: float) -> None:
        """Wait until the DAG processor has read a DAG. Raises `Misconfigured` with its first import error."""
        for _ in _until(wait_seconds):
            found = self.call("GET", f"/api/v2/dags?dag_id_pattern={quote(dag_id)}")["dags"]
            if any(one["dag_id"] == dag_id and not one["is_stale"] for one in found):
                return
            errors = self.call("GET", "/api/v2/importErrors")["import_errors"]
            if errors:
                raise Misconfigured(f"Airflow cannot read {errors[0]['filename']}: {errors[0]['stack_trace'][-2000:]}")
        raise Unavailable(
            f"Airflow has not read the DAG {dag_id} within {wait_seconds:g} s: see its dag-processor's log"
        )

    def run(self, dag_id: str, run_id: str) -> RunState:
        """How a run is now."""
        path = f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
        state = str(self.call("GET", path)["state"])
        instances = self.call("GET", f"{path}/taskInstances?limit=1000")["task_instances"]
        return RunState(
            run_id,
            state,
            tuple(
                TaskState(
                    task_id=one["task_id"],
                    map_index=one["map_index"],
                    state=one["state"] or "",
                    try_number=one["try_number"],
                    seconds=one["duration"],
                    pid=one["pid"],
                )
                for one in instances
            ),
        )

    def follow(self, dag_id: str, run_id: str, *, wait_seconds: float) -> Iterator[RunState]:
        """The run's states as they pass, the last one done. Raises `Unavailable` when it is not done in time."""
        for _ in _until(wait_seconds):
            seen = self.run(dag_id, run_id)
            yield seen
            if seen.is_done:
                return
        raise Unavailable(f"run {run_id} of {dag_id} was not done within {wait_seconds:g} s")

    def end(self, dag_id: str, run_id: str) -> None:
        """End a run that waits: its open tasks are skipped or stopped, and it counts as failed."""
        self.call("PATCH", f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}", {"state": "failed"})

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned."""
        path = f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}/taskInstances/{quote(task_id)}"
        return self.call("GET", f"{path}/xcomEntries/return_value?deserialize=true")["value"]

    def error_of(self, dag_id: str, run_id: str, task: TaskState) -> str:
        """The error that ended a task's last attempt, as its log has it; empty when there is none."""
        path = f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}/taskInstances/{quote(task.task_id)}"
        log = self.call("GET", f"{path}/logs/{max(1, task.try_number)}?map_index={task.map_index}&full_content=true")
        details = [
            line["error_detail"] for line in log["content"] if isinstance(line, dict) and line.get("error_detail")
        ]
        return f"{details[-1][0]['exc_type']}: {details[-1][0]['exc_value']}" if details else ""

    def health(self) -> dict[str, Any]:
        """What Airflow says of itself to whoever asks: its components with their last heartbeats. No login."""
        return self._open("/api/v2/monitor/health")

    def version(self) -> str:
        """Airflow's version. No login."""
        return str(self._open("/api/v2/version")["version"])

    def _open(self, path: str) -> dict[str, Any]:
        status, content = self._ask("GET", path, None, "")
        found = self._answer("GET", path, status, content)
        if not isinstance(found, dict):
            raise Unavailable(f"what answers on {self._url.netloc} is not Airflow: check airflow_url")
        return found

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request; its answer from JSON."""
        with self._lock:
            self._token = token = self._token or self._log_in()
        status, content = self._ask(method, path, body, token)
        if status in (401, 403):
            with self._lock:
                # The token's time is over, or Airflow has another key (it says 403 then): whoever comes first logs in
                # for all. What is refused after that is refused.
                self._token = token = self._log_in() if self._token == token else self._token
            status, content = self._ask(method, path, body, token)
        return self._answer(method, path, status, content)

    def _log_in(self) -> str:
        status, content = self._ask("POST", "/auth/token", dict(self._login), "")
        return str(self._answer("POST", "/auth/token", status, content)["access_token"])

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, token: str) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection = self._connection()
        try:
            connection.request(method, self._url.path + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read(_MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"Airflow on {self._url.netloc} does not answer ({type(error).__name__})") from None
        finally:
            connection.close()
        return answer.status, content

    def _answer(self, method: str, path: str, status: int, content: bytes) -> Any:
        if status >= 500:
            raise Unavailable(f"Airflow on {self._url.netloc} answers {status} to {method} {path}")
        if status >= 400:
            raise Misconfigured(f"Airflow refuses {method} {path} with {status}: {_detail(content)}")
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise Unavailable(f"what answers on {self._url.netloc} is not Airflow: check airflow_url") from None

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(
                host, port, timeout=self._timeout_seconds, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(host, port, timeout=self._timeout_seconds)


def open_airflow(settings: Settings) -> AirflowApi:
    """The session of the account that may read runs, as the settings name it. Nothing is asked yet."""
    return AirflowApi(
        settings.effective_airflow_url,
        user=settings.airflow_user,
        password=settings.airflow_password.get_secret_value(),
        timeout_seconds=settings.airflow_timeout_seconds,
    )


def _detail(content: bytes) -> str:
    try:
        return str(json.loads(content)["detail"])[:1000]
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def _until(wait_seconds: float) -> Iterator[None]:
    """Once at once, then again and again until the time is over."""
    deadline = time.monotonic() + wait_seconds
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        time.sleep(_POLL_SECONDS)
