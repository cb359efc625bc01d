"""`python -m concordance.local.launch NAME`: turns into a program of the stack. Run by the supervisor.

What to run is read from `run/NAME.json` in the state folder (0600), so that neither a command line nor the
supervisor's configuration holds a secret, and no character of a path needs quoting. The program gets exactly the
environment that stands there, nothing of the shell in which somebody typed `up`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from concordance.local import processes
from concordance.local.account import Account, become
from concordance.local.state import State, write_private


@dataclass(frozen=True, slots=True)
class Launch:
    """How one program is started: its arguments, its whole environment, its folder, and whom it runs as.

    `pid_file` is one that the program itself keeps, and that would stop it when it names another program's process.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    account: Account | None = None
    pid_file: str | None = None


def launch_file(state: State, name: str) -> Path:
    return state.run / f"{name}.json"


def write(state: State, name: str, launch: Launch) -> None:
    """Write how `name` is started, readable by its owner alone."""
    write_private(launch_file(state, name), to_text(launch))


def to_text(launch: Launch) -> str:
    return json.dumps(asdict(launch), indent=1, sort_keys=True) + "\n"


def read(state: State, name: str) -> Launch:
    """How `name` is started. Raises `OSError` or `ValueError` when that is not written there."""
    stored = json.loads(launch_file(state, name).read_text(encoding="utf-8"))
    account = Account(**stored["account"]) if stored["account"] else None
    return Launch(tuple(stored["argv"]), stored["environment"], stored["directory"], account, stored["pid_file"])


def main(arguments: list[str]) -> None:
    """Replace this process by the program."""
    (name,) = arguments
    state = State(Path(os.environ[processes.MARKER]))
    launch = read(state, name)
    if launch.pid_file is not None:
        remove_stale(Path(launch.pid_file), state)
    os.umask(0o077)
    os.chdir(launch.directory)
    if launch.account is not None:
        become(launch.account)
    os.execve(launch.argv[0], list(launch.argv), dict(launch.environment))  # noqa: S606  the supervisor's child


def remove_stale(pid_file: Path, state: State) -> None:
    """Remove a pid file whose number now is another program's: PostgreSQL would take that one for itself.

    A number that is nobody's is left to the program, which knows how to clean up after itself.
    """
    try:
        number = int(pid_file.read_text().split("\n", 1)[0])
        other = psutil.Process(number)
    except (OSError, ValueError, psutil.NoSuchProcess):
        return
    if not processes.is_member(other, state) and processes.find(state, "postgres") is None:
        pid_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])
