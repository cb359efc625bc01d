"""Whether the ports of the programs that are to be started are free, said before anything is started."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

import psutil

from concordance.errors import Misconfigured
from concordance.local.program import Program
from concordance.settings import ENVIRONMENT_PREFIX


def check_ports(programs: Iterable[Program]) -> None:
    """Raises `Misconfigured` for a port that somebody listens on, or that two programs are given."""
    taken: dict[int, str] = {}
    for program in programs:
        for setting, port in program.ports.items():
            variable = ENVIRONMENT_PREFIX + setting.upper()
            if port in taken:
                raise Misconfigured(f"{variable} and {taken[port]} are both {port}: give each its own port")
            taken[port] = variable
            if not _is_free(port):
                raise Misconfigured(
                    f"port {port} on 127.0.0.1, which {program.name} needs, is in use{_holder(port)}: stop that "
                    f"program, or set {variable} to a free port"
                )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a connection that ended a moment ago does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.pid is None or not connection.laddr:
                continue
            if connection.laddr.port == port:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
