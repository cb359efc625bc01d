"""`settings`: the effective values, where each came from, secrets masked."""

from __future__ import annotations

import argparse

from concordance.commands.common import Add, add_json
from concordance.commands.output import print_json, print_table


def add_commands(add: Add) -> None:
    parser = add(
        "settings",
        show,
        help="show the effective settings and where each came from",
        description="Show every setting with its effective value and its origin. Secrets are masked.",
    )
    add_json(parser)


def show(arguments: argparse.Namespace) -> int:
    from concordance.settings import explain_settings

    origins = explain_settings()
    if arguments.json:
        print_json({"settings": [{"name": one.name, "value": one.value, "origin": one.origin} for one in origins]})
    else:
        print_table(("setting", "value", "origin"), ((one.name, one.value, one.origin) for one in origins))
    return 0
