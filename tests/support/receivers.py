"""Real receivers of alerts on loopback: a webhook and a mail server, whose mood a test changes while they run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any


class Mood(Enum):
    """How a receiver takes what comes."""

    WELL = "takes it and says so"
    BROKEN = "says that it cannot now"
    REFUSING = "says that it never will"
    SILENT = "takes it and says nothing"
    CURT = "takes it, says so, and is gone without a farewell"
    DRIPPING = "says something without an end, a byte now and then"


@dataclass
class Receiver:
    """What came, in its order, and where to send it."""

    port: int = 0
    mood: Mood = Mood.WELL
    asked: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alerts?token=t-secret"

    @property
    def notices(self) -> list[dict[str, Any]]:
        """What a webhook took, from JSON."""
        return [json.loads(body) for body in self.bodies]


@contextmanager
def webhook() -> Iterator[Receiver]:
    """An HTTP server that keeps what is posted to it."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.asked += 1
            if receiver.mood is Mood.SILENT:
                receiver.ended.wait()
                self.close_connection = True
                return
            if receiver.mood is Mood.DRIPPING:
                self._drip()
                return
            if receiver.mood is Mood.WELL:
                receiver.bodies.append(body)
                receiver.headers.append(dict(self.headers))
            self.send_response({Mood.WELL: 200, Mood.BROKEN: 500, Mood.REFUSING: 404}[receiver.mood])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _drip(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while not receiver.ended.wait(0.05):
                    self.wfile.write(b"x")

        def log_message(self, format: str, *arguments: Any) -> None:
            return None

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler), receiver):
        yield receiver


@contextmanager
def mail_server() -> Iterator[Receiver]:
    """As much of an SMTP server as a client needs that neither encrypts nor logs in."""
    receiver = Receiver()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            receiver.asked += 1
            if receiver.mood is Mood.SILENT:
                receiver.ended.wait()
                return
            if receiver.mood is Mood.BROKEN:
                self._say("421 not now")
                return
            self._say("220 here")
            word = ""
            while word != "QUIT" and (line := self.rfile.readline().decode().strip()):
                word = line.partition(" ")[0].upper()
                self._answer(word)

        def _answer(self, word: str) -> None:
            if word == "DATA":
                self._say("354 go on")
                receiver.bodies.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            refuses = word == "RCPT" and receiver.mood is Mood.REFUSING
            if word == "QUIT" and receiver.mood is Mood.CURT:
                return
            self._say("550 nobody of that name" if refuses else "221 bye" if word == "QUIT" else "250 fine")

        def _say(self, line: str) -> None:
            with suppress(OSError):
                self.wfile.write(f"{line}\r\n".encode())

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with _serving(Server(("127.0.0.1", 0), Handler), receiver):
        yield receiver


@contextmanager
def _serving(server: Any, receiver: Receiver) -> Iterator[None]:
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        receiver.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
