"""The commands, their arguments and their help."""

from __future__ import annotations

import argparse

from concordance.commands import (
    demo,
    erasing,
    indexing,
    maintaining,
    metrics,
    models,
    quarantine,
    reading,
    runs,
    settings,
    stack,
    verifying,
    watching,
)
from concordance.commands.common import Run

_EPILOG = """\
exit codes:
  0  done; for verify: sound; for status: everything that was started is healthy
  1  failed: the run was refused or failed, the index is unsound, a service is not healthy, or a defect
  2  wrong input: an argument, a setting, a secret, a declaration, or nothing was ingested yet
  3  try again later: a store or a source does not answer, or another run holds the source;
     for erase: the documents are hidden, and not yet erased
  130  interrupted

settings come from AIRFLOW__CONCORDANCE__<NAME>, then the [concordance] section of airflow.cfg, then the defaults;
`settings` shows them. Every command answers --help.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; a parsed command carries its function as `run`."""
    parser = argparse.ArgumentParser(
        prog="python -m concordance",
        description="Documents into a Neo4j graph and Qdrant vectors that provably agree.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")

    def add(name: str, run: Run, *, help: str, description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error, and log everything")
        command.add_argument("--verbose", action="store_true", help="log what happens, on standard error")
        command.set_defaults(run=run)
        return command

    runs.add_commands(add)
    reading.add_commands(add)
    verifying.add_commands(add)
    quarantine.add_commands(add)
    indexing.add_commands(add)
    maintaining.add_commands(add)
    erasing.add_commands(add)
    settings.add_commands(add)
    metrics.add_commands(add)
    models.add_commands(add)
    stack.add_commands(add)
    demo.add_commands(add)
    watching.add_commands(add)
    return parser
