"""`up`, `status` and `down`: the local stack."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from concordance.commands import models
from concordance.commands.common import Add, add_json, read_settings
from concordance.commands.output import print_json, print_table, say
from concordance.errors import Misconfigured

if TYPE_CHECKING:
    from concordance.embedding.models import VersionModel
    from concordance.local.health import StackStatus
    from concordance.local.probes import Probe
    from concordance.parsing.restrictions import Restriction
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
        "that was started is healthy, every store answers and the model of every kept index version can be opened. A "
        "circuit belongs to one process: the one shown is that of this command's own attempt; a worker's is in "
        "its log and in the metric store.circuit. Last comes what confines the process that reads documents, and what "
        "this machine does not allow; it is no part of the health.",
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
    versions, opens = models.checked_models(settings) if probes and answers else ([], True)
    is_well = found.is_healthy and answers and opens
    restrictions = _restrictions(settings)
    return _show(found, arguments, is_well=is_well, probes=probes, versions=versions, restrictions=restrictions)


def _restrictions(settings: Settings) -> Sequence[Restriction]:
    from concordance.parsing.parser import Parser
    from concordance.parsing.restrictions import Restriction

    try:
        with Parser(settings) as parser:
            return parser.restrictions
    except Misconfigured as error:
        # The services are shown all the same.
        say(str(error))
        return [Restriction("process", None)]


def _probes(settings: Settings) -> list[Probe]:
    # The drivers take a second and a half to import: a stack that is down is shown without them.
    from concordance.local.probes import probe

    return probe(settings)


def down(arguments: argparse.Namespace) -> int:
    from concordance.local import stack

    found = stack.down(read_settings(arguments), report=say)
    return _show(found, arguments, is_well=found.is_stopped)


def _show(
    found: StackStatus,
    arguments: argparse.Namespace,
    *,
    is_well: bool,
    probes: Sequence[Probe] = (),
    versions: Sequence[VersionModel] = (),
    restrictions: Sequence[Restriction] = (),
) -> int:
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
                "models": models.as_json(versions),
                "parser": [
                    {"restriction": each.name, "in_force": each.how is not None, "how": each.how}
                    for each in restrictions
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
        models.show(versions)
        if restrictions:
            print_table(
                ("parser", "in force", "how"),
                (
                    (each.name, "yes" if each.how else "no", each.how or "not possible on this machine")
                    for each in restrictions
                ),
            )
    return 0 if is_well else 1
