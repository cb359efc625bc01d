"""What a program of the local stack is: the one thing to write for a further service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from concordance.local.account import Account
from concordance.local.launch import Launch
from concordance.local.processes import MARKER, PROGRAM
from concordance.local.state import State
from concordance.settings import ROOT


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Program:
    """One program that the supervisor keeps up, or runs once (`one_shot`) before those that need it.

    `name`: letters, digits and dashes; also the name of its log.
    `argv`: the full path of what is run, and its arguments. Never a secret: everybody can read a command line.
    `environment`: what it needs beyond `base_environment`; secrets may stand here (it is kept in a 0600 file).
    `ports`: by the setting that changes each, the loopback ports that it listens on.
    `prepare`: called before it is started, when it does not run (make folders, set up a database). Idempotent.
    `ready`: returns when it serves; raises `Unavailable` saying what is missing. Called often, within seconds. Without
    it, a program counts as ready when it has stayed up for some seconds.
    `establish`: called each time it became ready after a start (accounts, schemas). Idempotent.
    `version`: for people; called by `status`.
    `stop_signal` asks it to stop, with its children when `stop_children`; after `stop_seconds` it is killed.
    """

    name: str
    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    one_shot: bool = False
    account: Account | None = None
    pid_file: Path | None = None
    prepare: Callable[[], None] = _nothing
    ready: Callable[[], None] | None = None
    establish: Callable[[], None] = _nothing
    version: Callable[[], str] = str
    stop_signal: str = "TERM"
    stop_children: bool = False
    stop_seconds: int = 20

    @property
    def address(self) -> str:
        """Where it listens, for people; empty for a program without a port."""
        return ", ".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def launch(self, state: State) -> Launch:
        """How it is started: a function of the program and the state folder alone, compared by a second `up`."""
        environment = {**base_environment(state), PROGRAM: self.name, **self.environment}
        pid_file = str(self.pid_file) if self.pid_file else None
        return Launch(self.argv, environment, str(self.directory), self.account, pid_file)


def base_environment(state: State) -> dict[str, str]:
    """What every program of the stack gets. Nothing is inherited: a second `up` from another shell changes nothing."""
    return {
        MARKER: str(state.path),
        "HOME": str(state.home),
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": str(ROOT / "include"),
        "PYTHONUNBUFFERED": "1",
        # Python programs that show a title keep their environment, by which they are recognised.
        "SPT_NOENV": "1",
    }
