"""Servers that answer nothing good, and count how often they were really asked.

Each is a real listener on loopback. It reads enough of a connection to know that it is one attempt of a driver, then
does what it is there for: closes, stays silent, or says that it cannot now.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# PostgreSQL clients ask for encryption first; these are the numbers of that question.
_ENCRYPTION_REQUESTS = (80877103, 80877104)
_BOLT_HANDSHAKE_BYTES = 20
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

_LITTLE_BYTES = 65_536
_UPDATED = b'{"result":{"operation_id":1,"status":"completed"},"status":"ok","time":0}'
_TAKEN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_UPDATED),
    _UPDATED,
)


@dataclass
class Asked:
    """How often a server was asked, and where it listens."""

    port: int
    attempts: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self) -> None:
        with self._lock:
            self.attempts += 1


Speak = Callable[[socket.socket, Asked, threading.Event], None]


def bolt_that_hangs_up(client: socket.socket, asked: Asked, ended: threading.Event) -> None:
    """Reads the handshake of the graph's protocol, and closes."""
    if _read(client, _BOLT_HANDSHAKE_BYTES):
        asked.count()


def bolt_that_is_silent(client: socket.socket, asked: Asked, ended: threading.Event) -> None:
    """Reads the handshake of the graph's protocol, and says nothing until the end."""
    bolt_that_hangs_up(client, asked, ended)
    ended.wait()


def postgresql_that_hangs_up(client: socket.socket, asked: Asked, ended: threading.Event) -> None:
    """Declines encryption, reads who wants to log in, and closes."""
    while header := _read(client, 8):
        length, number = struct.unpack("!II", header)
        if number not in _ENCRYPTION_REQUESTS:
            _read(client, length - 8)
            asked.count()
            return
        client.sendall(b"N")


def postgresql_that_is_silent(client: socket.socket, asked: Asked, ended: threading.Event) -> None:
    """Reads who wants to log in, and says nothing until the end."""
    postgresql_that_hangs_up(client, asked, ended)
    ended.wait()


def http_that_is_unavailable(client: socket.socket, asked: Asked, ended: threading.Event) -> None:
    """Answers each request with 503."""
    while _read_request(client):
        asked.count()
        client.sendall(_UNAVAILABLE)


def http_that_is_silent(client: socket.socket, asked: Asked, ended: threading.Event) -> None:
    """Reads a request, and says nothing until the end."""
    if _read_request(client):
        asked.count()
        ended.wait()


def http_that_hangs_up(client: socket.socket, asked: Asked, ended: threading.Event) -> None:
    """Reads a request, and closes."""
    if _read_request(client):
        asked.count()


def http_that_takes_little(client: socket.socket, asked: Asked, ended: threading.Event) -> None:
    """Takes a request of up to 64 kB at once, and is silent until the end when it gets a larger one."""
    while body := _read_body(client):
        asked.count()
        if len(body) > _LITTLE_BYTES:
            ended.wait()
        client.sendall(_TAKEN)


@contextlib.contextmanager
def serving(speak: Speak) -> Iterator[Asked]:
    """A server on a free loopback port that speaks so to each of its clients."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked, ended = Asked(listener.getsockname()[1]), threading.Event()
    clients: list[socket.socket] = []

    def talk(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            speak(client, asked, ended)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                threading.Thread(target=talk, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield asked
    finally:
        ended.set()
        for each in (listener, *clients):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _read(client: socket.socket, count: int) -> bytes:
    """So many bytes, or none when the other side closed before."""
    content = b""
    while len(content) < count:
        more = client.recv(count - len(content))
        if not more:
            return b""
        content += more
    return content


def _read_request(client: socket.socket) -> bool:
    """One whole HTTP request; False when there is none any more."""
    return _read_body(client) is not None


def _read_body(client: socket.socket) -> bytes | None:
    """The body of one whole HTTP request; None when there is none any more."""
    content = b""
    while b"\r\n\r\n" not in content:
        more = client.recv(65_536)
        if not more:
            return None
        content += more
    head, _, body = content.partition(b"\r\n\r\n")
    length = next(
        (int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")),
        0,
    )
    if len(body) < length:
        rest = _read(client, length - len(body))
        return body + rest if rest else None
    return body
