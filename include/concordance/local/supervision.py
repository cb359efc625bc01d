"""supervisord, which keeps the programs up: its configuration, its start, and what is asked of it.

It runs in `run/` below the state folder and is asked through a Unix socket there. A socket's path is limited to about
100 bytes, so that both sides name it through /proc: a checkout may lie as deep as it likes. The configuration holds no
path and no secret: a program is started by name (see `launch.py`).
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from concordance.errors import Unavailable
from concordance.local import launch, processes
from concordance.local.program import Program, base_environment
from concordance.local.state import State, write_private
from concordance.settings import Settings

_ASK_SECONDS = 20
_START_SECONDS = 60
_SOCKET = "control.sock"
# A program that ends sooner than this after its start counts as one that could not be started.
_SETTLED_SECONDS = 5
_RETRIES = 3
_NO_ANSWER = (OSError, http.client.HTTPException, xmlrpc.client.Error)


@dataclass(frozen=True, slots=True)
class Supervised:
    """What the supervisor says about one program; `state` in its words (RUNNING, FATAL, ...), times in Unix seconds."""

    name: str
    state: str
    pid: int | None
    started: float
    exit_code: int

    @property
    def is_alive(self) -> bool:
        return self.state in ("STARTING", "RUNNING")

    @property
    def is_done(self) -> bool:
        """Whether it ended by itself, without an error."""
        return self.state == "EXITED" and self.exit_code == 0


def write_configuration(state: State, programs: Sequence[Program], *, settings: Settings) -> None:
    """Write the supervisor's configuration with these programs, and how each of them is started."""
    for program in programs:
        launch.write(state, program.name, program.launch(state))
    write_private(state.run / "supervisord.conf", _configuration(programs, settings))


def _configuration(programs: Sequence[Program], settings: Settings) -> str:
    # Every path is relative to the folder that the supervisor runs in.
    lines = [
        "[unix_http_server]",
        f"file = {_server_socket()}",
        "chmod = 0600",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        "[supervisord]",
        "pidfile = supervisord.pid",
        "logfile = ../logs/supervisord.log",
        f"logfile_maxbytes = {settings.stack_log_bytes}",
        f"logfile_backups = {settings.stack_log_backups}",
        "umask = 077",
        *(["user = root"] if os.geteuid() == 0 else []),
    ]
    for position, program in enumerate(programs):
        lines += [
            f"[program:{program.name}]",
            f'command = "%(ENV_CONCORDANCE_PYTHON)s" -m concordance.local.launch {program.name}',
            f"priority = {position}",
            "autostart = false",
            f"autorestart = {'false' if program.one_shot else 'true'}",
            f"startsecs = {0 if program.one_shot else _SETTLED_SECONDS}",
            f"startretries = {_RETRIES}",
            f"stopsignal = {program.stop_signal}",
            f"stopwaitsecs = {program.stop_seconds}",
            f"stopasgroup = {str(program.stop_children).lower()}",
            "killasgroup = true",
            f"stdout_logfile = ../logs/{program.name}.log",
            f"stdout_logfile_maxbytes = {settings.stack_log_bytes}",
            f"stdout_logfile_backups = {settings.stack_log_backups}",
            "redirect_stderr = true",
        ]
    return "\n".join(lines) + "\n"


def _server_socket() -> str:
    return f"/proc/self/cwd/{_SOCKET}" if Path("/proc/self/cwd").exists() else _SOCKET


def start(state: State) -> None:
    """Start the supervisor in the background, with no program running yet. Raises `Unavailable`."""
    log = state.log_file("supervisord-start")
    environment = {
        **base_environment(state),
        processes.PROGRAM: processes.SUPERVISOR,
        "CONCORDANCE_PYTHON": sys.executable,
    }
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"],
                cwd=state.run,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=_START_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"the supervisor did not start within {_START_SECONDS} s: see {log}") from None
    if done.returncode != 0:
        raise Unavailable(f"the supervisor could not be started: see {log}")


def find(state: State) -> psutil.Process | None:
    """The supervisor's process, or None."""
    return processes.find(state, processes.SUPERVISOR)


def ask(state: State) -> dict[str, Supervised] | None:
    """What runs, by program name; None when there is no supervisor.

    Raises `Unavailable` when there is one that does not answer.
    """
    try:
        with _connected(state) as supervisor:
            return {info["name"]: _supervised(info) for info in supervisor.getAllProcessInfo()}
    except _NO_ANSWER as error:
        found = find(state)
        if found is None:
            return None
        raise Unavailable(
            f"the supervisor (process {found.pid}) of {state.path} does not answer ({type(error).__name__}): "
            "run `python -m concordance down`, then `up`"
        ) from None


def _supervised(info: Any) -> Supervised:
    return Supervised(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"] or None,
        started=info["start"],
        exit_code=info["exitstatus"],
    )


def add(state: State, names: Iterable[str]) -> None:
    """Make the running supervisor take these programs from its configuration; those that it runs are not touched."""
    with _asking(state) as supervisor:
        supervisor.reloadConfig()
        for name in names:
            try:
                # One that is not running is taken out first: its configuration may have changed.
                supervisor.removeProcessGroup(name)
            except xmlrpc.client.Fault as fault:
                if "BAD_NAME" not in fault.faultString:
                    raise
            supervisor.addProcessGroup(name)


def start_program(state: State, name: str) -> None:
    """Start one program, without waiting for it to answer."""
    with _asking(state) as supervisor:
        supervisor.startProcess(name, False)


def stop_program(state: State, name: str) -> None:
    """Stop one program and wait for its end; one that does not run is left alone."""
    with _asking(state) as supervisor:
        try:
            supervisor.stopProcess(name, False)
        except xmlrpc.client.Fault as fault:
            if not any(word in fault.faultString for word in ("NOT_RUNNING", "BAD_NAME")):
                raise


def shut_down(state: State) -> bool:
    """Ask the supervisor to stop its programs and itself; returns at once, False when there is none to ask."""
    try:
        with _connected(state) as supervisor:
            return bool(supervisor.shutdown())
    except _NO_ANSWER:
        return False


@contextmanager
def _asking(state: State) -> Iterator[Any]:
    try:
        with _connected(state) as supervisor:
            yield supervisor
    except xmlrpc.client.Fault as fault:
        raise Unavailable(
            f"the supervisor refuses ({fault.faultString}): see {state.log_file('supervisord')}"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the supervisor does not answer ({type(error).__name__}): run `down`, then `up`") from None


@contextmanager
def _connected(state: State) -> Iterator[Any]:
    folder = os.open(state.run, os.O_RDONLY | os.O_DIRECTORY)
    try:
        path = f"/proc/self/fd/{folder}/{_SOCKET}"
        if not Path("/proc/self/fd").exists():
            path = str(state.run / _SOCKET)
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=_UnixTransport(path)) as proxy:
            yield proxy.supervisor
    finally:
        os.close(folder)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("127.0.0.1", timeout=_ASK_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._connection: tuple[Any, Any] = (None, None)

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        # `_connection` is where the base class keeps what it must close. The socket's file is the address here.
        connection: http.client.HTTPConnection = self._connection[1] or _UnixConnection(self._path)
        self._connection = (host, connection)
        return connection
