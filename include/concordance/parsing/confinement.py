"""One confined child process that answers frames: started, watched, killed, started again.

The parent trusts nothing that comes back: an answer has a size limit and a deadline, the child's resident memory is
watched while it works, and whatever goes wrong ends it. What it was doing then is told by the exception.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from concordance.errors import Misconfigured
from concordance.parsing import frames
from concordance.parsing.restrictions import Restriction
from concordance.settings import Settings

CHILD = Path(__file__).with_name("child.py")
_WATCH_SECONDS = 0.02
_START_SECONDS = 60.0
_END_SECONDS = 10.0
_PIPE_BYTES = 1 << 20


class ChildEnded(Exception):
    """The child ended or was ended; `reason` is the code for the document that it was reading."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class ConfinedChild:
    """A child process for many requests. `command` is another program that speaks the same frames; its arguments are
    the limits of memory in bytes, of processor time in seconds and of open files."""

    def __init__(self, settings: Settings, *, command: Sequence[str] | None = None) -> None:
        self._settings = settings
        # -I: no PYTHON* variables, no user packages, no working directory on the path.
        program = command or (sys.executable, "-I", "-X", "utf8", str(CHILD))
        limits = (settings.parser_memory_bytes, settings.parser_cpu_seconds, settings.parser_open_files)
        self._command = (*program, *map(str, limits))
        self._process: subprocess.Popen[bytes] | None = None
        self._watched: psutil.Process | None = None
        self.restrictions: tuple[Restriction, ...] = ()
        self.served = 0
        """Requests that the running child has answered."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the child if it does not run. Raises `Misconfigured` when it cannot be started."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise Misconfigured(
                f"the parser's process cannot be started ({type(error).__name__}): check {self._command[0]}"
            ) from None
        with contextlib.suppress(psutil.Error):
            self._watched = psutil.Process(self._process.pid)
        try:
            header, _ = self._exchange(b"", deadline=time.monotonic() + _START_SECONDS, max_body_bytes=0)
        except ChildEnded as ended:
            raise Misconfigured(
                f"the parser's process did not start ({ended.detail}): run this by hand to see why: "
                f"{' '.join(self._command)}"
            ) from None
        stated = header.get("restrictions", [])
        self.restrictions = (*self._own_restrictions(), *(Restriction(str(name), how) for name, how in stated))

    def _own_restrictions(self) -> list[Restriction]:
        """What needs nothing of the machine: the parent looks and ends the child, the readers count."""
        of = self._settings
        every = f"looked at every {_WATCH_SECONDS * 1000:g} ms"
        document = (
            f"{of.max_text_bytes} bytes of text, {of.max_pages} pages, {of.max_expanded_bytes} bytes unpacked, "
            f"{of.max_packed_files} packed files"
        )
        return [
            Restriction("resident memory", f"{of.parser_memory_bytes} bytes, {every} by its parent"),
            Restriction("wall time", f"{of.parser_timeout_seconds:g} s a document, by its parent"),
            Restriction("answer", f"{of.max_text_bytes} bytes, by its parent"),
            Restriction("document", f"{document}, by its readers"),
        ]

    def ask(self, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """The child's answer. Raises `ChildEnded`; the next call starts a new child."""
        self.start()
        # A second answer to an earlier question, still on its way, does not know this one's word.
        word = secrets.token_hex(16)
        answered, content = self._exchange(
            frames.pack({**header, "asked": word}, body),
            deadline=time.monotonic() + self._settings.parser_timeout_seconds,
            max_body_bytes=self._settings.max_text_bytes,
        )
        if answered.get("asked") != word:
            self.stop()
            raise ChildEnded("parser_failed", "it answered with something that is no answer")
        self.served += 1
        return answered, content

    def stop(self) -> None:
        """End the child, at once, and leave nothing behind."""
        process, self._process, self._watched = self._process, None, None
        self.served = 0
        if process is None:
            return
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait(timeout=_END_SECONDS)

    @property
    def resident_bytes(self) -> int:
        """What the running child holds now, 0 when there is none."""
        try:
            return int(self._watched.memory_info().rss) if self._watched else 0
        except psutil.Error:
            return 0

    def _exchange(self, request: bytes, *, deadline: float, max_body_bytes: int) -> tuple[dict[str, Any], bytes]:
        """Send a request and receive one frame, both at once: neither side may block the other with a full pipe."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = _Answer(max_body_bytes)
        pending = memoryview(request)
        with selectors.DefaultSelector() as selector:
            os.set_blocking(self._process.stdin.fileno(), False)
            os.set_blocking(self._process.stdout.fileno(), False)
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if pending:
                selector.register(self._process.stdin, selectors.EVENT_WRITE)
            while not answer.is_whole:
                self._watch(deadline)
                for key, _ in selector.select(_WATCH_SECONDS):
                    if key.fileobj is self._process.stdin:
                        pending = self._send(pending)
                        if not pending:
                            selector.unregister(self._process.stdin)
                    elif not self._receive(answer):
                        raise self._ended()
        return answer.header, answer.body

    def _send(self, pending: memoryview) -> memoryview:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            sent = os.write(self._process.stdin.fileno(), pending[:_PIPE_BYTES])
        except BlockingIOError:
            return pending
        except BrokenPipeError:
            raise self._ended() from None
        return pending[sent:]

    def _receive(self, answer: _Answer) -> bool:
        """Whether the pipe is still open."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            part = os.read(self._process.stdout.fileno(), _PIPE_BYTES)
        except BlockingIOError:
            return True
        try:
            answer.add(part)
        except frames.BadFrame:
            self.stop()
            raise ChildEnded("parser_failed", "it answered with something that is no answer") from None
        return bool(part)

    def _watch(self, deadline: float) -> None:
        if self.resident_bytes > self._settings.parser_memory_bytes:
            self.stop()
            raise ChildEnded(
                "parser_killed", f"it needed more than {self._settings.parser_memory_bytes} bytes of memory"
            )
        if time.monotonic() > deadline:
            self.stop()
            raise ChildEnded("parser_timeout", f"it was not done after {self._settings.parser_timeout_seconds:g} s")

    def _ended(self) -> ChildEnded:
        """What a closed pipe means: the child died by itself."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_END_SECONDS)
        code = self._process.returncode
        self.stop()
        if code == -signal.SIGXCPU:
            return ChildEnded("parser_timeout", "it used up its processor time")
        name = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
        return ChildEnded("parser_killed", f"it ended with {name}")


class _Answer:
    """A frame as it comes in, piece by piece."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._received = bytearray()
        self._header_bytes = self._whole_bytes = 0
        self.header: dict[str, Any] = {}
        self.body = b""
        self.is_whole = False

    def add(self, part: bytes) -> None:
        """Raises `frames.BadFrame` when it is none, or larger than allowed."""
        self._received += part
        if not self._whole_bytes:
            if len(self._received) < frames.LENGTHS.size:
                return
            prefix = bytes(self._received[: frames.LENGTHS.size])
            self._header_bytes, body_bytes = frames.lengths(prefix, max_body_bytes=self._max_body_bytes)
            self._whole_bytes = frames.LENGTHS.size + self._header_bytes + body_bytes
        if len(self._received) > self._whole_bytes:
            raise frames.BadFrame("more than one answer")
        if len(self._received) == self._whole_bytes:
            start = frames.LENGTHS.size + self._header_bytes
            self.header = frames.unpack_header(bytes(self._received[frames.LENGTHS.size : start]))
            self.body = bytes(self._received[start:])
            self.is_whole = True
