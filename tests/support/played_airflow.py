"""A server on loopback that plays the part of Airflow's REST interface that lists runs and task instances.

It filters, orders and pages as Airflow does, knows one account, and lets its tokens run out on request.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOGIN = {"username": "watch", "password": "w-secret"}


@dataclass
class PlayedAirflow:
    """What it knows, what it was asked, and how it is. `status` other than 200 is what everybody gets."""

    port: int = 0
    runs: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    status: int = 200
    page: int = 100
    logins: int = 0
    # What it answers to a token that it does not know.
    refusal: int = 401
    token: str = ""
    # Called before each page.
    paged: Callable[[dict[str, Any]], None] = field(default=lambda body: None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, run_id: str, state: str, at: datetime, **given: Any) -> dict[str, Any]:
        """Let there be a run, queued and to be run at this time."""
        run = {
            "dag_id": "concordance_ingest",
            "dag_run_id": run_id,
            "state": state,
            "run_after": at.isoformat(),
            "queued_at": at.isoformat(),
            "end_date": None,
            "conf": {"source": "notes"},
            **given,
        }
        self.runs.append(run)
        return run

    def instance(self, run: dict[str, Any], task_id: str, state: str | None, **given: Any) -> dict[str, Any]:
        """Let there be a task instance of a run."""
        instance = {
            "id": len(self.instances),
            "dag_id": run["dag_id"],
            "dag_run_id": run["dag_run_id"],
            "task_id": task_id,
            "map_index": -1,
            "state": state,
            "try_number": 1,
            "start_date": None,
            **given,
        }
        self.instances.append(instance)
        return instance

    def answer(self, path: str, body: dict[str, Any], token: str) -> tuple[int, Any]:
        self.asked.append(path)
        if self.status != 200:
            return self.status, {"detail": "not now"}
        if path == "/auth/token":
            self.logins += 1
            self.token = f"token-{self.logins}"
            return (201, {"access_token": self.token}) if body == LOGIN else (401, {"detail": "Invalid credentials"})
        if token != f"Bearer {self.token}":
            return self.refusal, {"detail": "Invalid auth token"}
        if path.endswith("/dagRuns/list"):
            return 200, self._page("dag_runs", self._chosen_runs(body), body)
        return 200, self._page("task_instances", self._chosen_instances(body), body)

    def _chosen_runs(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        # No id is no filter, as Airflow has it.
        named = body["dag_ids"] or {run["dag_id"] for run in self.runs}
        chosen = [run for run in self.runs if run["dag_id"] in named and run["state"] in body["states"]]
        if "end_date_gte" in body:
            chosen = [run for run in chosen if run["end_date"] and run["end_date"] >= body["end_date_gte"]]
        if "run_after_gte" in body:
            chosen = [run for run in chosen if run["run_after"] >= body["run_after_gte"]]
        order = body["order_by"]
        return sorted(chosen, key=lambda run: str(run[order.lstrip("-")]), reverse=order.startswith("-"))

    def _chosen_instances(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            instance
            for instance in self.instances
            if instance["dag_id"] in body["dag_ids"]
            and instance["dag_run_id"] in body["dag_run_ids"]
            and instance["state"] in body["state"]
            and instance["task_id"] in body.get("task_ids", [instance["task_id"]])
        ]

    def _page(self, name: str, rows: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
        self.paged(body)
        first = body["page_offset"]
        return {name: rows[first : first + min(self.page, body["page_limit"])], "total_entries": len(rows)}


@contextmanager
def played_airflow() -> Iterator[PlayedAirflow]:
    played = PlayedAirflow()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = played.answer(self.path, body, self.headers.get("Authorization", ""))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    played.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield played
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
