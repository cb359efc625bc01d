"""`python -m concordance.local.gateway --data DIR --port N`: serve a data folder on loopback until a signal ends it.

Exit status 2 with one sentence when the folder or the port cannot be had. Prints the address once requests are served.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from concordance.errors import ConcordanceError, Misconfigured
from concordance.local.gateway.catalog import Catalog
from concordance.local.gateway.limits import IDLE_CONNECTION_SECONDS, MAX_CONNECTIONS, SHUTDOWN_SECONDS
from concordance.local.gateway.optimiser import Upkeep
from concordance.local.gateway.server import Gateway
from concordance.operations.logs import configure_logs

LOOPBACK = "127.0.0.1"
API_KEY_VARIABLE = "CONCORDANCE_QDRANT_API_KEY"


class _Server(uvicorn.Server):
    """Says where it listens, for whoever started it on port 0."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"listening on {self._address}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m concordance.local.gateway", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data folder; one gateway owns it at a time")
    parser.add_argument("--port", type=int, required=True, help="port on loopback; 0 takes a free one")
    parser.add_argument("--log-level", default="WARNING", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    arguments = parser.parse_args()
    configure_logs(level=arguments.log_level, as_json=True)
    try:
        listener = _listen(arguments.port)
        catalog = Catalog(arguments.data)
    except ConcordanceError as error:
        print(error, file=sys.stderr)
        return 2
    upkeep = Upkeep(catalog)
    upkeep.start()
    # The server ends on these signals and raises them again when it has ended: the default would skip what follows.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        _serve(catalog, listener)
    finally:
        upkeep.stop()
        catalog.close()
    return 0


def _serve(catalog: Catalog, listener: socket.socket) -> None:
    config = uvicorn.Config(
        Gateway(catalog, api_key=os.environ.get(API_KEY_VARIABLE, "")).application(),
        # Its lines go the way of all others.
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_CONNECTION_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    host, port = listener.getsockname()
    _Server(config, f"http://{host}:{port}").run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise Misconfigured(
            f"port {port} on {LOOPBACK} cannot be had ({error}): stop what uses it, or give another --port"
        ) from None
    return listener


if __name__ == "__main__":
    sys.exit(main())
