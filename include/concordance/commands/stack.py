"""`up`, `status` and `down`: the local stack."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from concordance.commands.common import Add, add_json, read_settings
from concordance.commands.output import print_json, print_table, say

if TYPE_CHECKING:
    from concordance.local.health import StackStatus


def add_commands(add: Add) -> None:
    parser = add(
        "up",
        up,
        help="start the local stack: ledger, graph, vectors and Airflow",
        description="Start what is not running yet, and wait until all of it answers. A second call changes nothing.",
    )
    parser.add_argument("--stores", action="store_true", help="the three stores alone, without Airflow")
    add_json(parser)
    parser = add(
        "status",
        status,
        help="what of the local stack runs, and whether it is healthy",
        description="Ask every service how it is. Exit code 1 unless all that was started is healthy.",
    )
    add_json(parser)
    parser = add(
        "down",
        down,
        help="stop the local stack; the data stays",
        description="Stop every process of the local stack. Nothing to stop is no error. The data stays.",
    )
    add_json(parser)


def up(arguments: argparse.Namespace) -> int:
    from concordance.local import stack

    settings = read_settings(arguments)
    found = stack.up(settings, programs="stores" if arguments.stores else "all", report=say)
    return _show(found, arguments, is_well=found.is_healthy)


def status(arguments: argparse.Namespace) -> int:
    from concordance.local import stack

    found = stack.status(read_settings(arguments))
    return _show(found, arguments, is_well=found.is_healthy)


def down(arguments: argparse.Namespace) -> int:
    from concordance.local import stack

    found = stack.down(read_settings(arguments), report=say)
    return _show(found, arguments, is_well=found.is_stopped)


def _show(found: StackStatus, arguments: argparse.Namespace, *, is_well: bool) -> int:
    if arguments.json:
        print_json(
            {
                "healthy": found.is_healthy,
                "state_dir": str(found.state_dir),
                "services": [
                    {
                        "name": service.name,
                        "condition": service.condition.value,
                        "address": service.address,
                        "version": service.version,
                        "pid": service.pid,
                        "uptime_seconds": service.uptime_seconds,
                        "log_file": str(service.log_file),
                        "detail": service.detail,
                    }
                    for service in found.services
                ],
            }
        )
    else:
        print_table(
            ("service", "condition", "address", "version", "detail"),
            (
                (service.name, service.condition.value, service.address, service.version, service.detail)
                for service in found.services
            ),
        )
    return 0 if is_well else 1
