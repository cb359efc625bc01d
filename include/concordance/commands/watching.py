"""`watch` and `alerts`: what is wrong now, and what was told of it."""

from __future__ import annotations

import argparse
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from concordance.commands.common import Add, add_json, read_settings
from concordance.commands.output import print_json, print_lines, print_table
from concordance.errors import ConcordanceError, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concordance.operations.alerts import Alert, Breach
    from concordance.settings import Settings

_MAX_ROWS = 10_000


def add_commands(add: Add) -> None:
    parser = add(
        "watch",
        watch,
        help="look from outside at runs, stores and Airflow, and raise alerts, until it is ended",
        description="Look again and again at what is late, what has failed and what does not answer; fire an alert for "
        "each breach once, deliver it by the channels of alert_channels, and say when it is over. `up` and "
        "docker-compose keep it running. SIGTERM ends it at once; nothing is lost by that.",
    )
    parser.add_argument("--once", action="store_true", help="look once, show what is wrong now, fire nothing")
    parser.add_argument(
        "--check", action="store_true", help="whether the watch that runs here is alive; exit code 0 or 2"
    )
    add_json(parser)
    parser = add(
        "alerts",
        alerts,
        help="the alerts that are open, and the last ones that are over",
        description="The alerts of the ledger, the open ones first: what was expected and what was, when it fired and "
        "when it was over, and what could not be delivered.",
    )
    parser.add_argument("--limit", type=int, default=50, metavar="N", help=f"alerts to show (1 to {_MAX_ROWS:,}; 50)")
    parser.add_argument("--open", action="store_true", help="the open ones alone")
    add_json(parser)


def watch(arguments: argparse.Namespace) -> int:
    from concordance.operations.logs import configure_from

    settings = read_settings(arguments)
    if arguments.check:
        return _check(settings, arguments)
    if arguments.once:
        return _once(settings, arguments)
    # Who starts it reads its log: what it does is its answer.
    configure_from(settings, level="DEBUG" if arguments.debug else None)
    from concordance.operations import telemetry
    from concordance.watching.watch import opened_watch

    telemetry.configure(settings)
    with opened_watch(settings) as process:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: process.stopped.set())
        process.run()
    telemetry.close()
    return 0


def _check(settings: Settings, arguments: argparse.Namespace) -> int:
    from concordance.watching.watch import check

    age = check(settings)
    if arguments.json:
        print_json({"seconds_since_last_round": round(age, 1)})
    else:
        print_lines((f"the watch ended a round {age:.0f} s ago", ""))
    return 0


def _once(settings: Settings, arguments: argparse.Namespace) -> int:
    from concordance.watching.watch import close, look_once, watchers_of

    watchers = watchers_of(settings)
    try:
        breaches, silent = look_once(watchers, datetime.now(UTC))
    finally:
        close(watchers)
    try:
        alerts = _recorded(settings, only_open=True, limit=_MAX_ROWS)[0]
    except ConcordanceError as error:
        alerts, silent["alerts"] = [], str(error)
    if arguments.json:
        print_json(
            {
                "breaches": [_breach_json(breach) for breach in breaches],
                "open": [alert.as_json() for alert in alerts],
                "cannot_tell": silent,
            }
        )
    else:
        print_table(
            ("kind", "about", "expected", "actual", "since"),
            (
                (each.kind, _about(each), each.expected, each.actual, f"{each.since:%Y-%m-%d %H:%M:%S}")
                for each in breaches
            ),
            title=f"wrong now: {len(breaches)}; open alerts: {len(alerts)}",
        )
        print_lines(*((f"{name} cannot tell: {why}", "bold") for name, why in silent.items()))
    return 3 if silent else 0


def alerts(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.limit <= _MAX_ROWS:
        raise Misconfigured(f"--limit is {arguments.limit}; allowed: 1 to {_MAX_ROWS:,}")
    found, undelivered = _recorded(read_settings(arguments), only_open=arguments.open, limit=arguments.limit)
    if arguments.json:
        print_json(
            {"alerts": [{**each.as_json(), "undelivered": undelivered.get(str(each.alert_id), [])} for each in found]}
        )
        return 0
    print_table(
        ("fired", "kind", "about", "expected", "actual", "over", "not delivered"),
        (
            (
                f"{each.fired_at:%Y-%m-%d %H:%M:%S}",
                each.breach.kind,
                _about(each.breach),
                each.breach.expected,
                each.breach.actual,
                "open" if each.recovered_at is None else f"{each.recovered_at:%Y-%m-%d %H:%M:%S}",
                "; ".join(undelivered.get(str(each.alert_id), [])),
            )
            for each in found
        ),
        title=f"alerts: {sum(each.recovered_at is None for each in found)} open",
    )
    return 0


def _recorded(settings: Settings, *, only_open: bool, limit: int) -> tuple[Sequence[Alert], dict[str, list[str]]]:
    """The alerts of the ledger, and by id what of each was not delivered."""
    from concordance.ledger import open_ledger

    ledger = open_ledger(settings)
    try:
        found = list(ledger.alerting.open().alerts)[:limit] if only_open else ledger.alerting.recent(limit=limit)
        undelivered = ledger.alerting.undelivered([each.alert_id for each in found])
    finally:
        ledger.close()
    return found, {str(alert_id): lines for alert_id, lines in undelivered.items()}


def _about(breach: Breach) -> str:
    return ", ".join(f"{name} {value}" for name, value in breach.subject.items())


def _breach_json(breach: Breach) -> dict[str, object]:
    return {
        "kind": str(breach.kind),
        **breach.subject,
        "expected": breach.expected,
        "actual": breach.actual,
        "since": breach.since.isoformat(),
        "link": breach.link,
    }
