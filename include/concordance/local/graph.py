"""`python -m concordance.local.graph`: the Bolt graph of the local stack, ArcadeDB in this process.

Speaks the Neo4j driver's protocol; user `root`, database `graph`. Both listeners are bound to the loopback address.
The password comes in the environment variable CONCORDANCE_NEO4J_PASSWORD.
"""

from __future__ import annotations

import argparse
import functools
import http.client
import os
import signal
import socket
import sys
import threading
from base64 import b64encode
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from concordance.errors import Unavailable
from concordance.local.program import Program
from concordance.local.state import State
from concordance.settings import Settings

NAME = "graph"
DATABASE = "graph"
PASSWORD = "CONCORDANCE_NEO4J_PASSWORD"  # noqa: S105  the variable's name
_PROBE_SECONDS = 3
# Without this, ArcadeDB keeps up to 1 GB of logs of its own beside what the supervisor keeps of its output.
_LOGGING = """\
handlers = java.util.logging.ConsoleHandler
java.util.logging.ConsoleHandler.formatter = com.arcadedb.log.LogFormatter
.level = INFO
io.undertow.level = WARNING
org.xnio.level = WARNING
org.jboss.level = WARNING
"""
# Bolt's magic number, then four versions that the client offers; the server answers with the one it takes.
_BOLT_HELLO = bytes.fromhex("6060b017 00000405 00000004 00000000 00000000")


def program(settings: Settings, state: State, secrets: Mapping[str, str]) -> Program:
    """The graph as a program of the stack."""
    folder = state.path / NAME
    arguments = {
        "--data": folder / "data",
        "--bolt-port": settings.bolt_port,
        "--http-port": settings.arcade_http_port,
        "--heap-bytes": settings.graph_heap_bytes,
    }
    words = (str(word) for pair in arguments.items() for word in pair)
    return Program(
        name=NAME,
        argv=(sys.executable, "-m", "concordance.local.graph", *words),
        directory=folder,
        environment={PASSWORD: secrets["neo4j_password"]},
        ports={"bolt_port": settings.bolt_port, "arcade_http_port": settings.arcade_http_port},
        prepare=functools.partial(folder.mkdir, mode=0o700, exist_ok=True),
        ready=functools.partial(
            check, settings.bolt_port, http_port=settings.arcade_http_port, password=secrets["neo4j_password"]
        ),
        version=functools.partial(version, "arcadedb-embedded"),
        stop_seconds=30,
    )


def check(bolt_port: int, *, http_port: int, password: str) -> None:
    """Returns when Bolt answers, the password is taken and the database is there. Raises `Unavailable` otherwise."""
    try:
        with socket.create_connection(("127.0.0.1", bolt_port), timeout=_PROBE_SECONDS) as connection:
            connection.sendall(_BOLT_HELLO)
            taken = connection.recv(4)
        connection_http = http.client.HTTPConnection("127.0.0.1", http_port, timeout=_PROBE_SECONDS)
        try:
            credentials = b64encode(f"root:{password}".encode()).decode()
            headers = {"Authorization": f"Basic {credentials}"}
            connection_http.request("GET", f"/api/v1/exists/{DATABASE}", headers=headers)
            answer = connection_http.getresponse()
            body = answer.read(4096)
        finally:
            connection_http.close()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the graph on 127.0.0.1:{bolt_port} does not answer ({type(error).__name__})") from None
    if not any(taken):
        raise Unavailable(f"127.0.0.1:{bolt_port} does not speak Bolt")
    if answer.status in (401, 403):
        raise Unavailable(f"the graph on 127.0.0.1:{bolt_port} refuses the password of root")
    if answer.status != 200 or b"true" not in body:
        raise Unavailable(f"the graph on 127.0.0.1:{bolt_port} does not show the database {DATABASE!r}")


def serve(data: Path, *, bolt_port: int, http_port: int, heap_bytes: int) -> None:
    """Run the server in this process until SIGTERM or SIGINT, then close the database cleanly."""
    from arcadedb_embedded.server import ArcadeDBServer  # starts a JVM

    data.mkdir(mode=0o700, exist_ok=True)
    logging = data / "logging.properties"
    logging.write_text(_LOGGING)
    os.environ["ARCADEDB_JVM_ERROR_FILE"] = str(data / "crash-%p.log")
    server = ArcadeDBServer(
        root_path=str(data),
        root_password=os.environ.pop(PASSWORD),
        config={
            "host": "127.0.0.1",
            "mode": "production",
            "http_port": http_port,
            "server_plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
            "bolt_port": bolt_port,
            # An acknowledged transaction is on the disk, as in the ledger: else a power cut leaves the two apart.
            "txWalFlush": 1,
        },
        jvm_kwargs={
            "heap_size": f"{heap_bytes // 1024}k",
            "jvm_args": [
                f"-Djava.util.logging.config.file={logging}",
                "-Djava.net.preferIPv4Stack=true",
                "-XX:-UsePerfData",
                "-XX:+ExitOnOutOfMemoryError",
                # The optimising compiler would take a core of few for longer than a local index is written.
                "-XX:TieredStopAtLevel=1",
            ],
        },
    )
    asked = threading.Event()
    # After the JVM has set its own handlers, which would end the process without closing the database.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    server.start()
    server.create_database(DATABASE)
    asked.wait()
    server.stop()


def main(arguments: list[str]) -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m concordance.local.graph", description="the local Bolt graph")
    parser.add_argument("--data", type=Path, required=True, help="folder of the database")
    parser.add_argument("--bolt-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--heap-bytes", type=int, required=True, help="limit of the JVM's heap")
    given = parser.parse_args(arguments)
    serve(given.data, bolt_port=given.bolt_port, http_port=given.http_port, heap_bytes=given.heap_bytes)


if __name__ == "__main__":
    main(sys.argv[1:])
