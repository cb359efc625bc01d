"""Stacks for tests: free ports, settings of a stack in a temporary folder, and a running one that leaves nothing."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from concordance.local import processes, stack, state
from concordance.local.programs import Selection
from concordance.settings import Settings, load_settings

PORTS = ("postgres_port", "bolt_port", "arcade_http_port", "qdrant_port", "airflow_port", "statsd_port")
# Short, so that a test need not wait long for a lease or a grace to end.
SHORT_TIMES = {
    "lease_seconds": 5,
    "call_timeout_seconds": 5,
    "vectors_timeout_seconds": 5,
    "reader_timeout_seconds": 5,
    "sweep_grace_seconds": 6,
}
# Below the range that outgoing connections draw theirs from: such a one could sit on the port of a killed server.
_FIRST, _LAST = 20_000, 32_000
_dice = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Different loopback ports that nobody listens on. They stay free for as long as nobody else takes them."""
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                probe.bind(("127.0.0.1", _dice.randrange(_FIRST, _LAST)))
            except OSError:
                probe.close()
            else:
                held.append(probe)
        return [probe.getsockname()[1] for probe in held]
    finally:
        for probe in held:
            probe.close()


def stack_settings(folder: Path, **overrides: Any) -> Settings:
    """Settings of a stack of its own in `folder`, on free ports, with short leases; the shell's do not matter."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    values = {"state_dir": folder, "graph_heap_bytes": 512 * 1024 * 1024, **ports, **SHORT_TIMES, **overrides}
    return load_settings(values, environment={})


def with_secrets(settings: Settings) -> Settings:
    """The same settings, with the secrets that `up` has generated meanwhile."""
    given = settings.model_dump(exclude={"ledger_password", "neo4j_password", "qdrant_api_key", "airflow_password"})
    return load_settings(given, environment={})


@contextmanager
def running(settings: Settings, *, programs: Selection = "stores") -> Iterator[Settings]:
    """Start a stack, hand out its settings with the secrets, stop it, and see that no process is left."""
    try:
        stack.up(settings, programs=programs)
        yield with_secrets(settings)
    finally:
        stack.down(settings)
        assert processes.members(state.locate(settings)) == []
