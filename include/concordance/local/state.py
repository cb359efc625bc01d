"""The state folder of the local stack: who may use it, its generated secrets, and the lock of `up` and `down`.

The folder belongs to the user who runs the stack and is closed to everybody else (0700); the files with secrets are
0600 and appear whole or not at all. Nothing is read from a folder that somebody else owns or could have prepared.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import pwd
import secrets as random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concordance.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    # Every program passes through here when it is started, and validation is dear to import.
    from concordance.settings import Settings

_MAKERS: Mapping[str, Callable[[], str]] = {
    "postgres_password": lambda: random.token_urlsafe(32),
    "ledger_password": lambda: random.token_urlsafe(32),
    "neo4j_password": lambda: random.token_urlsafe(32),
    "qdrant_api_key": lambda: random.token_urlsafe(32),
    "airflow_db_password": lambda: random.token_urlsafe(32),
    "airflow_admin_password": lambda: random.token_urlsafe(18),
    # The setting's own name: what the watch logs in with is found by everybody who reads the settings.
    "airflow_password": lambda: random.token_urlsafe(32),
    "airflow_jwt_secret": lambda: random.token_urlsafe(64),
    "airflow_api_secret_key": lambda: random.token_urlsafe(32),
    "airflow_fernet_key": lambda: base64.urlsafe_b64encode(random.token_bytes(32)).decode(),
}
SECRET_NAMES = tuple(_MAKERS)
# A server that was set up with one of these does not forget it: where its data is there, the secret must be there too.
_HELD_BY = {"postgres_password": Path("postgres", "data"), "neo4j_password": Path("graph", "data", "config")}


@dataclass(frozen=True, slots=True)
class State:
    """The folders of one stack. `path` is absolute and free of symbolic links: processes are recognised by it."""

    path: Path

    @property
    def run(self) -> Path:
        """The supervisor's configuration, its control socket, and how each program is started."""
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def home(self) -> Path:
        """The programs' home folder: what they scatter stays here, and an empty HOME does not matter."""
        return self.path / "home"

    @property
    def secrets_file(self) -> Path:
        return self.path / "secrets.json"

    def log_file(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def locate(settings: Settings) -> State:
    """The state of these settings, whether it exists or not; nothing is created."""
    return State(Path(settings.state_dir).expanduser().resolve())


def create(settings: Settings) -> State:
    """Make the state folder with its subfolders, or take the one that is there.

    Raises `Misconfigured` for a folder that another user owns, that is not a folder or cannot be made, and for a disk
    that is full.
    """
    state = locate(settings)
    try:
        state.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(state.path)
        # Group "search" stays where it was given: it lets the database's account through (see `account.py`).
        state.path.chmod(0o700 | (state.path.stat().st_mode & 0o010))
        for folder in (state.run, state.logs, state.home):
            folder.mkdir(mode=0o700, exist_ok=True)
            _check_owner(folder)
    except OSError as error:
        raise Misconfigured(
            f"the state folder {state.path} cannot be made ({error.strerror}): "
            f"set AIRFLOW__CONCORDANCE__STATE_DIR to a folder of your own on a disk with space"
        ) from None
    check_space(state, settings)
    return state


def check_space(state: State, settings: Settings) -> None:
    """Raises `Misconfigured` when the disk of the state folder has less than `stack_min_free_bytes` left."""
    free = shutil.disk_usage(state.path).free
    if free < settings.stack_min_free_bytes:
        raise Misconfigured(
            f"the disk of {state.path} is full: {free // 1_000_000} MB are free, the stores need "
            f"{settings.stack_min_free_bytes // 1_000_000} MB to start. Free some space, set "
            "AIRFLOW__CONCORDANCE__STATE_DIR to a folder on another disk, or lower "
            "AIRFLOW__CONCORDANCE__STACK_MIN_FREE_BYTES"
        )


def check_readable(state: State) -> None:
    """Raises `Misconfigured` when the state folder exists and belongs to another user."""
    if state.path.exists():
        _check_owner(state.path)


def _check_owner(folder: Path) -> None:
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise Misconfigured(
            f"the folder {folder} belongs to {_user(owner)}, and you are {_user(os.geteuid())}: run as that user, or "
            "set AIRFLOW__CONCORDANCE__STATE_DIR to a folder of your own"
        )


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user number {uid}"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads (0600); it appears whole, or not at all, also over a crash."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def ensure_secrets(state: State) -> dict[str, str]:
    """The generated secrets; missing ones are made now. A second call returns the same.

    Raises `Misconfigured` for a file that cannot be read, and for a secret that is gone while the data that was set up
    with it is still there.
    """
    stored = read_secrets(state)
    missing = [name for name in _MAKERS if not stored.get(name)]
    for name in missing:
        if name in _HELD_BY and (held_by := state.path / _HELD_BY[name]).exists():
            raise Misconfigured(
                f"{state.secrets_file} lacks {name}, which the data in {held_by} was set up with: put the file back, "
                f"or remove the data with `rm -r {held_by.parent}` (what was loaded is lost) and run "
                "`python -m concordance up` again"
            )
    if missing:
        stored |= {name: _MAKERS[name]() for name in missing}
        write_private(state.secrets_file, json.dumps(stored, indent=1) + "\n")
    state.secrets_file.chmod(0o600)
    return {name: stored[name] for name in _MAKERS}


def read_secrets(state: State) -> dict[str, str]:
    """What the secrets file holds; nothing when there is none. Raises `Misconfigured` for a broken file."""
    try:
        stored = json.loads(state.secrets_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unreadable(state, type(error).__name__) from None
    if not isinstance(stored, dict) or not all(isinstance(value, str) for value in stored.values()):
        raise _unreadable(state, "not an object of strings")
    return stored


def _unreadable(state: State, why: str) -> Misconfigured:
    return Misconfigured(
        f"{state.secrets_file} cannot be read ({why}): put the file back as it was; or remove the whole folder with "
        f"`rm -r {state.path}` (what was loaded is lost) and run `python -m concordance up` again"
    )


@contextmanager
def locked(state: State, *, wait_seconds: float) -> Iterator[None]:
    """Only one `up` or `down` works on a state folder at a time; others wait.

    The kernel ends the lock with its holder, so that no stale lock can be left. Raises `Unavailable` when another one
    still holds it after `wait_seconds`.
    """
    path = state.path / "stack.lock"
    with path.open("a+", encoding="utf-8") as file:
        path.chmod(0o600)
        deadline = time.monotonic() + wait_seconds
        while not _try_lock(file.fileno()):
            if time.monotonic() >= deadline:
                file.seek(0)
                raise Unavailable(
                    f"another `up` or `down` (process {file.read().strip() or 'unknown'}) works on {state.path}: "
                    "wait until it ends, then try again"
                )
            time.sleep(0.05)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _try_lock(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
