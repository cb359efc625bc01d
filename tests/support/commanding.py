"""The command line as tests call it: a command with `--json` to its exit code and what it printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Command = Callable[..., tuple[int, Any]]
# Sources, documents and settings to a `Command` on them: the fixture `commanding`.
Commanding = Callable[..., Command]
