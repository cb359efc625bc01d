"""What commands share: the settings, the adapters, and the names that they give."""

from __future__ import annotations

import argparse
import getpass
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from concordance.pipeline.adapters import Adapters
    from concordance.settings import Settings

Run = Callable[[argparse.Namespace], int]


class Add(Protocol):
    """Adds one command to the command line and gives its parser."""

    def __call__(self, name: str, run: Run, *, help: str, description: str) -> argparse.ArgumentParser: ...


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for programs instead of a table")


def actions_of(parser: argparse.ArgumentParser) -> Callable[[str, Run, str], argparse.ArgumentParser]:
    """A function that adds an action to a command: its name, what it does and its help."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def action(name: str, run: Run, help: str) -> argparse.ArgumentParser:
        command = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.", allow_abbrev=False)
        command.set_defaults(run=run)
        for option in ("--debug", "--verbose"):
            # Said before the action or after it; the help stands above.
            command.add_argument(option, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        add_json(command)
        return command

    return action


def id_of(what: str) -> Callable[[str], UUID]:
    """An argument's type: the id of something, as a listing of it prints it."""

    def parse(text: str) -> UUID:
        try:
            return UUID(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:80]!r} is no id of {what}") from None

    return parse


def new_run_id(kind: str) -> str:
    """A name for a run that was started by hand."""
    return f"{kind}_{datetime.now(UTC):%Y%m%dT%H%M%S}_{secrets.token_hex(3)}"


def who() -> str:
    """The account that gave the command, for the ledger's records."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings; logging is configured as they and the arguments say. Raises `Misconfigured`."""
    from concordance.operations.logs import configure_from
    from concordance.settings import load_settings

    settings = load_settings()
    # People at a terminal read answers; what happens on the way is shown when they ask for it.
    level = "DEBUG" if arguments.debug else settings.log_level if arguments.verbose else "WARNING"
    configure_from(settings, level=level)
    return settings


@contextmanager
def adapters_of(arguments: argparse.Namespace, *, encodes_at_once: bool = False) -> Iterator[tuple[Adapters, Settings]]:
    """Ledger, stores, embedder and sources as the settings name them, with metrics; all closed with the block."""
    from concordance.operations import correlation, telemetry
    from concordance.pipeline.adapters import open_adapters

    settings = read_settings(arguments)
    telemetry.configure(settings)
    # A run that is taken up again by its name goes on under its own id.
    trigger = getattr(arguments, "run_id", None) or new_run_id("cli")
    try:
        with (
            correlation.bound(correlation_id=correlation.of_run(trigger)),
            open_adapters(settings, encodes_at_once=encodes_at_once) as adapters,
        ):
            yield adapters, settings
    finally:
        telemetry.close()
