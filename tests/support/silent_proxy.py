"""Ports of servers that are not there, and of servers that stop answering."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


def closed_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def silent_after(upstream: tuple[str, int], *, answers: threading.Event) -> Iterator[int]:
    """A port in front of a server that passes everything on until `answers` is cleared, then nothing more comes back.

    Yields its port number.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = [listener]

    def pump(source: socket.socket, target: socket.socket, *, may_stop: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                if may_stop:
                    answers.wait()
                target.sendall(content)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(upstream)
                opened.extend((client, server))
                for arguments, may_stop in (((client, server), False), ((server, client), True)):
                    threading.Thread(target=pump, args=arguments, kwargs={"may_stop": may_stop}, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        answers.set()
        for each in opened:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
