"""`up`, `status` and `down`: the local stack."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from concordance.commands.common import Add, add_json, read_settings
from concordance.commands.output import print_json, print_table, say

if TYPE_CHECKING:
    from concordance.local.health import StackStatus
    from concordance.local.probes import Probe
    from concordance.settings import Settings


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
        description="Ask every service how it is, and every store for an answer to its driver. Exit code 1 unless all "
        "that was started is healthy and every store answers. A circuit belongs to one process: the one shown is that "
        "of this command's own attempt; a worker's is in its log and in the metric store.circuit.",
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

    settings = read_settings(arguments)
    found = stack.status(settings)
    # Where nothing runs here and no address leads elsewhere there is nobody to ask.
    elsewhere = (settings.ledger_url, settings.neo4j_url, settings.qdrant_url)
    probes = _probes(settings) if any(elsewhere) or not found.is_stopped else []
    answers = all(each.answers for each in probes)
    return _show(found, arguments, is_well=found.is_healthy and answers, probes=probes)


def _probes(settings: Settings) -> list[Probe]:
    # The drivers take a second and a half to import: a stack that is down is shown without them.
    from concordance.local.probes import probe

    return probe(settings)


def down(arguments: argparse.Namespace) -> int:
    from concordance.local import stack

    found = stack.down(read_settings(arguments), report=say)
    return _show(found, arguments, is_well=found.is_stopped)


def _show(found: StackStatus, arguments: argparse.Namespace, *, is_well: bool, probes: Sequence[Probe] = ()) -> int:
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
                "stores": [
                    {
                        "name": each.store.value,
                        "answers": each.answers,
                        "server": each.server,
                        "circuit": each.circuit,
                        "detail": each.detail,
                    }
                    for each in probes
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
        if probes:
            print_table(
                ("store", "answers", "server", "circuit", "detail"),
                (
                    (each.store.value, "yes" if each.answers else "no", each.server, each.circuit, each.detail)
                    for each in probes
                ),
            )
    return 0 if is_well else 1
