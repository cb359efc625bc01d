"""A TCP proxy in front of a store: it cuts the connection around a commit, or refuses everybody for a while.

A commit is recognised by its bytes on the wire: Bolt's message COMMIT, PostgreSQL's query COMMIT (simple, or prepared
by its driver, which then sends a name), and the request lines of the vector store's writes. None of them is encrypted
on the loopback address.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum

_BOLT = re.compile(rb"\x00\x02\xb0\x12\x00\x00")
_POSTGRES = re.compile(rb"Q\x00\x00\x00\x0bCOMMIT\x00")
_POSTGRES_PREPARES = re.compile(rb"P....(\w+)\x00COMMIT\x00", re.DOTALL)
_QDRANT = re.compile(rb"^(PUT /collections/\S+/points\?|POST /collections/\S+/points/(payload|delete)\?)")

# One for each connection: says of what a client sent whether a commit is in it.
IsCommit = Callable[[bytes], bool]


def bolt_commits() -> IsCommit:
    return lambda content: _BOLT.search(content) is not None


def qdrant_writes() -> IsCommit:
    return lambda content: _QDRANT.search(content) is not None


def postgres_commits() -> IsCommit:
    prepared: set[bytes] = set()

    def is_commit(content: bytes) -> bool:
        prepared.update(found[1] for found in _POSTGRES_PREPARES.finditer(content))
        bound = any(b"\x00" + name + b"\x00" in content for name in prepared)
        return bound or _POSTGRES.search(content) is not None

    return is_commit


class Cut(StrEnum):
    """What becomes of the next commit."""

    REQUEST_LOST = "the connection ends before the server sees it"
    ANSWER_LOST = "the server's answer is taken in, and the connection ends instead"


class CuttingProxy:
    """Passes everything on, unless it was told otherwise. `cuts` and `refused` count what it did."""

    def __init__(self, upstream: tuple[str, int], commits: Callable[[], IsCommit]) -> None:
        self._upstream = upstream
        self._recogniser = commits
        self._lock = threading.Lock()
        self._cut: Cut | None = None
        self._commits_before_cut = 0
        self._refuse_next = 0
        self._is_down = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.port = int(self._listener.getsockname()[1])
        self.cuts = 0
        self.commits = 0
        self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, how: Cut, *, after_commits: int = 0) -> None:
        """Cut the commit that follows `after_commits` others. Once."""
        with self._lock:
            self._cut, self._commits_before_cut = how, after_commits

    def disarm(self) -> None:
        with self._lock:
            self._cut = None

    def refuse(self, connections: int) -> None:
        """An outage for so many attempts to connect: what is connected is cut, and the next ones are sent away."""
        with self._lock:
            self._refuse_next = connections
        self._cut_all()

    def go_down(self) -> None:
        """An outage until `come_back`."""
        with self._lock:
            self._is_down = True
        self._cut_all()

    def come_back(self) -> None:
        with self._lock:
            self._is_down = False

    def close(self) -> None:
        _shut(self._listener)
        self._cut_all()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_refused():
                    _shut(client)
                    continue
                try:
                    server = socket.create_connection(self._upstream)
                except OSError:
                    _shut(client)
                    continue
                for each in (client, server):
                    # Small messages go to and fro: held back for each other's sake they would take 40 ms each.
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {client, server}
                link = _Link(client, server)
                threading.Thread(target=self._pump_requests, args=(link,), daemon=True).start()
                threading.Thread(target=self._pump_answers, args=(link,), daemon=True).start()

    def _is_refused(self) -> bool:
        with self._lock:
            refused = self._is_down or self._refuse_next > 0
            if refused:
                self.refused += 1
                self._refuse_next = max(0, self._refuse_next - 1)
            return refused

    def _pump_requests(self, link: _Link) -> None:
        is_commit = self._recogniser()
        with contextlib.suppress(OSError):
            while content := link.client.recv(1 << 18):
                how = self._decide() if is_commit(content) else None
                if how is Cut.REQUEST_LOST:
                    break
                # A request may come in several parts: what was decided at its first one stays.
                link.swallows = link.swallows or how is Cut.ANSWER_LOST
                link.server.sendall(content)
        if not link.swallows:
            self._end(link)

    def _pump_answers(self, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while content := link.server.recv(1 << 18):
                if link.swallows:
                    break
                link.client.sendall(content)
        self._end(link)

    def _decide(self) -> Cut | None:
        with self._lock:
            self.commits += 1
            if self._cut is None:
                return None
            if self._commits_before_cut > 0:
                self._commits_before_cut -= 1
                return None
            how, self._cut = self._cut, None
            self.cuts += 1
            return how

    def _end(self, link: _Link) -> None:
        with self._lock:
            self._open -= {link.client, link.server}
        _shut(link.client)
        _shut(link.server)

    def _cut_all(self) -> None:
        with self._lock:
            ended, self._open = self._open, set()
        for each in ended:
            _shut(each)


class _Link:
    """One client's connection. `swallows`: the next answer ends it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.swallows = False


def _shut(each: socket.socket) -> None:
    # A socket that a thread still reads from is woken by this, not by its closing.
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextlib.contextmanager
def cutting(upstream: tuple[str, int], commits: Callable[[], IsCommit]) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(upstream, commits)
    try:
        yield proxy
    finally:
        proxy.close()
