"""`up`, `status` and `down`: the local stack."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from concordance.commands import models
from concordance.commands.common import Add, add_json, read_settings
from concordance.commands.output import print_json, print_lines, print_table, say
from concordance.errors import ConcordanceError, Misconfigured
from concordance.local import airflow

if TYPE_CHECKING:
    from concordance.embedding.models import NamedModel, VersionModel
    from concordance.local.health import StackStatus
    from concordance.operations.alerts import Alert
    from concordance.parsing.restrictions import Restriction
    from concordance.settings import Settings
    from concordance.watching.health import Probe


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
        "that was started is healthy, every store answers, Airflow's components show their heartbeats and the model of "
        "every kept index version can be opened. A circuit belongs to one process: the one shown is that of this "
        "command's own attempt; a worker's is in its log and in the metric store.circuit. The watch, the open alerts, "
        "what would run the configured model, what is wrong in slas_file and what confines the process that reads "
        "documents are shown, and are no part of the health. --live and --ready are for health checks: they ask for "
        "less, and print only what is wrong.",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--live", action="store_true", help="only whether work can go on here: disk, threads, the watch")
    kind.add_argument("--ready", action="store_true", help="only whether ledger, graph, vectors and Airflow answer")
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
    settings = read_settings(arguments)
    if arguments.live:
        return _verdict("live", _not_live(settings), arguments)
    if arguments.ready:
        return _verdict("ready", [fault for each in _probes(settings) for fault in each.faults], arguments)
    from concordance.local import stack

    found = stack.status(settings)
    # Where nothing runs here and no address leads elsewhere there is nobody to ask.
    elsewhere = (settings.ledger_url, settings.neo4j_url, settings.qdrant_url)
    has_airflow = bool(settings.airflow_url) or airflow.API_SERVER in found.wanted
    probes = _probes(settings, has_airflow=has_airflow) if any(elsewhere) or not found.is_stopped else []
    answers = not any(each.faults for each in probes)
    versions, opens = models.checked_models(settings) if probes and answers else ([], True)
    alerts = _open_alerts(settings, probes)
    seen = _Seen(
        probes,
        versions,
        _restrictions(settings),
        alerts,
        _last_round(settings),
        _wrong_limits(settings),
        models.configured_model(settings),
    )
    is_well = (found.is_healthy or (any(elsewhere) and not found.wanted)) and answers and opens
    return _show(found, arguments, is_well=is_well, seen=seen)


def _verdict(what: str, faults: Sequence[str], arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json({what: not faults, "faults": list(faults)})
    else:
        for fault in faults:
            say(fault)
    return 1 if faults else 0


def _not_live(settings: Settings) -> Sequence[str]:
    from concordance.watching.liveness import live
    from concordance.watching.watch import beat_file, check

    # Where the watch works, its last round says more than a probe.
    return live(settings, heartbeat=check if beat_file(settings).exists() else None)


def _last_round(settings: Settings) -> str:
    from concordance.watching.watch import check

    try:
        return f"the last round of the watch ended {check(settings):.0f} s ago"
    except Misconfigured as error:
        return str(error)


def _wrong_limits(settings: Settings) -> str:
    from concordance.operations.slas import load_slas

    try:
        load_slas(settings)
    except Misconfigured as error:
        # The watch goes on by the last good ones, but does not start with these.
        return str(error)
    return ""


def _open_alerts(settings: Settings, probes: Sequence[Probe]) -> Sequence[Alert]:
    if not any(each.dependency == "ledger" and each.answers for each in probes):
        return ()
    from concordance.ledger import open_ledger

    with closing(open_ledger(settings.model_copy(update={"retry_attempts": 1}))) as ledger:
        try:
            return ledger.alerting.open().alerts
        except ConcordanceError as error:
            say(str(error))
            return ()


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


def _probes(settings: Settings, *, has_airflow: bool = True) -> Sequence[Probe]:
    # The drivers take a second and a half to import: a stack that is down is shown without them.
    from concordance.watching.health import STORES, Dependency, ready

    return ready(settings, tuple(Dependency) if has_airflow else STORES)


def down(arguments: argparse.Namespace) -> int:
    from concordance.local import stack

    found = stack.down(read_settings(arguments), report=say)
    return _show(found, arguments, is_well=found.is_stopped)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What `status` shows besides the services."""

    probes: Sequence[Probe] = ()
    versions: Sequence[VersionModel] = ()
    restrictions: Sequence[Restriction] = ()
    alerts: Sequence[Alert] = ()
    watch: str = ""
    wrong_limits: str = ""
    configured: NamedModel | None = None


_NOTHING = _Seen()


def _show(found: StackStatus, arguments: argparse.Namespace, *, is_well: bool, seen: _Seen = _NOTHING) -> int:
    if arguments.json:
        print_json(_as_json(found, seen, is_well=is_well))
        return 0 if is_well else 1
    print_table(
        ("service", "condition", "address", "version", "detail"),
        (
            (service.name, service.condition.value, service.address, service.version, service.detail)
            for service in found.services
        ),
    )
    _show_probes(seen.probes)
    models.show(seen.versions)
    if seen.configured:
        models.show_named([seen.configured])
    if seen.restrictions:
        print_table(
            ("parser", "in force", "how"),
            (
                (each.name, "yes" if each.how else "no", each.how or "not possible on this machine")
                for each in seen.restrictions
            ),
        )
    if seen.alerts:
        print_table(
            ("open alert", "since", "expected", "actual"),
            (
                (each.breach.key, f"{each.fired_at:%Y-%m-%d %H:%M}", each.breach.expected, each.breach.actual)
                for each in seen.alerts
            ),
        )
    if seen.watch:
        print_lines((seen.watch, ""))
    if seen.wrong_limits:
        print_lines((f"What is late is not known: {seen.wrong_limits}", ""))
    return 0 if is_well else 1


def _show_probes(probes: Sequence[Probe]) -> None:
    if not probes:
        return
    rows = [
        (
            str(each.dependency),
            "yes" if each.answers else "no",
            f"{each.latency_seconds * 1000:.0f} ms",
            each.server,
            "" if each.breaker is None else str(each.breaker),
            each.detail,
        )
        for each in probes
    ]
    print_table(("dependency", "answers", "latency", "server", "circuit", "detail"), rows)
    components = [component for each in probes for component in each.components]
    if components:
        print_table(
            ("airflow", "last heartbeat", "detail"),
            (
                (each.name, "never" if each.age_seconds is None else f"{each.age_seconds:.0f} s ago", each.fault)
                for each in components
            ),
        )


def _as_json(found: StackStatus, seen: _Seen, *, is_well: bool) -> dict[str, Any]:
    return {
        "healthy": is_well,
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
        "stores": [each.as_json() for each in seen.probes if each.dependency != "airflow"],
        "airflow": next((each.as_json() for each in seen.probes if each.dependency == "airflow"), None),
        "models": models.as_json(seen.versions),
        "configured_model": seen.configured.as_json() if seen.configured else None,
        "alerts": [each.as_json() for each in seen.alerts],
        "watch": seen.watch,
        "wrong_limits": seen.wrong_limits,
        "parser": [
            {"restriction": each.name, "in_force": each.how is not None, "how": each.how} for each in seen.restrictions
        ],
    }
