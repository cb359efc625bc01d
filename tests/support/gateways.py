"""A Qdrant gateway as a process of its own, to be stopped or killed by the test that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient

from concordance.local.gateway.__main__ import API_KEY_VARIABLE

KEY = "a-key-for-tests"
ROOT = Path(__file__).resolve().parents[2]


class RunningGateway:
    """A gateway over `data`, on a free port."""

    def __init__(self, data: Path, *, key: str = KEY) -> None:
        self.data = data
        self.key = key
        self.process = start(data, key=key)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the gateway did not start: {self.process.communicate()[1]}")
        self.url = line.split()[-1]

    def client(self) -> QdrantClient:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
            return QdrantClient(url=self.url, api_key=self.key, timeout=60, check_compatibility=False)

    def request(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON of a bare request; `body` as bytes is sent as it is."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"api-key": self.key, "content-type": "application/json"} if headers is None else dict(headers)
        request = urllib.request.Request(self.url + path, data=content, method=method, headers=given)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read())

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is closed."""
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


def start(data: Path, *, key: str = KEY, port: int = 0) -> subprocess.Popen[str]:
    """The process alone, which may not come up."""
    return subprocess.Popen(
        [sys.executable, "-m", "concordance.local.gateway", "--data", str(data), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, API_KEY_VARIABLE: key},
    )


@contextmanager
def gateway(data: Path, *, key: str = KEY) -> Iterator[RunningGateway]:
    """A gateway for the length of a block; it ends in order."""
    running = RunningGateway(data, key=key)
    try:
        yield running
    finally:
        running.stop()


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode()
