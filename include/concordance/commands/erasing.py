"""`erase`: take documents out of everything, so that they do not come back."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from concordance.commands.common import Add, adapters_of, add_json, id_of, who
from concordance.commands.output import print_json, print_lines, print_table, say
from concordance.errors import Conflict, Leased, Misconfigured

if TYPE_CHECKING:
    from concordance.ledger.erasing import Erasure
    from concordance.ledger.erasure_scope import Scope
    from concordance.pipeline.adapters import Adapters
    from concordance.settings import Settings

_HIDDEN_CODE = 3
_MAX_REASON_CHARACTERS = 500


def add_commands(add: Add) -> None:
    parser = add(
        "erase",
        erase,
        help="erase documents for good: one, a pattern of them, or a tenant's",
        description=(
            "Hide documents at once, delete them from both stores, every index version and the staging area, and bar "
            "them for ever. They are hidden until the last writer's time is over; --finish then reads both stores back "
            "and writes the receipt. Exit code 0: erased; 3: hidden, not yet erased."
        ),
    )
    what = parser.add_argument_group("what to erase (exactly one of the three)")
    what.add_argument("--source", help="a source, with --uri or --uri-pattern")
    what.add_argument("--uri", help="one document of the source, also one that was never ingested")
    what.add_argument(
        "--uri-pattern", metavar="GLOB", help="all that match now: * and ? inside a path component, ** over any number"
    )
    what.add_argument("--tenant", help="all documents that the tenant has now")
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept with the receipt; no personal data here")
    parser.add_argument("--dry-run", action="store_true", help="show what would be erased, as counts, and do nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask (needed where there is no terminal)")
    parser.add_argument("--finish", type=id_of("an erasure"), metavar="ID", help="go on with an erasure that is hidden")
    parser.add_argument("--list", action="store_true", help="the erasures that are hidden and not yet erased")
    add_json(parser)


def erase(arguments: argparse.Namespace) -> int:
    if arguments.list or arguments.finish is not None:
        _refuse_scope(arguments)
        with adapters_of(arguments) as (adapters, settings):
            if arguments.list:
                return _list(arguments, adapters)
            return _finish(arguments, adapters, settings)
    scope = _scope(arguments)
    if len(arguments.reason) > _MAX_REASON_CHARACTERS:
        raise Misconfigured(f"--reason has more than {_MAX_REASON_CHARACTERS} characters: say it shorter")
    is_attended = sys.stdin.isatty()
    if not (arguments.yes or arguments.dry_run or is_attended):
        raise Misconfigured("There is nobody to ask here: say --yes, or look first with --dry-run. Nothing was erased")
    with adapters_of(arguments) as (adapters, settings):
        return _begin(arguments, scope, adapters, settings)


def _begin(arguments: argparse.Namespace, scope: Scope, adapters: Adapters, settings: Settings) -> int:
    from concordance.consistency.erase import EraseRequest, erase, preview

    counts = preview(scope, adapters=adapters)
    if arguments.dry_run:
        _show({"dry_run": True, "counts": counts}, arguments, title="what an erase would hide")
        return 0
    if not arguments.yes:
        # On standard error: the answer on standard output may be read by a program.
        for name, number in _rows(counts):
            say(f"{name}: {number}")
        say("Erase this for good? It cannot be taken back. Type erase:")
        if input().strip() != "erase":
            raise Conflict("Nothing was erased")
    request = EraseRequest(uuid4(), scope, requested_by=who(), reason=arguments.reason)
    # Said before it begins: whatever happens from here on, this is the name to go on with.
    say(f"Erasure {request.erasure_id}")
    erasure = erase(request, adapters=adapters, settings=settings)
    return _show_hidden(erasure, arguments, adapters)


def _finish(arguments: argparse.Namespace, adapters: Adapters, settings: Settings) -> int:
    from concordance.consistency.erase import finish

    try:
        erasure = finish(arguments.finish, adapters=adapters, settings=settings)
    except Leased:
        return _show_hidden(adapters.ledger.erasing.get(arguments.finish), arguments, adapters)
    _show({"state": erasure.state, "receipt": dict(erasure.receipt or {})}, arguments, title="receipt")
    return 0


def _list(arguments: argparse.Namespace, adapters: Adapters) -> int:
    unfinished = adapters.ledger.erasing.unfinished()
    if arguments.json:
        print_json({"unfinished": [_hidden(one, adapters) for one in unfinished]})
        return 0
    print_table(
        ("erasure", "hidden at", "documents #", "by", "seconds to wait #"),
        (
            (one.erasure_id, f"{one.hidden_at:%Y-%m-%d %H:%M:%S}", one.counts["documents"], one.requested_by, left)
            for one, left in ((one, _seconds_left(one, adapters)) for one in unfinished)
        ),
    )
    return 0


def _show_hidden(erasure: Erasure, arguments: argparse.Namespace, adapters: Adapters) -> int:
    hidden = _hidden(erasure, adapters)
    if arguments.json:
        print_json(hidden)
    else:
        print_table(("what", "number #"), _rows(erasure.counts), title=f"erasure {erasure.erasure_id}: hidden")
        print_lines(
            ("Hidden, not yet erased: no reader sees these documents, and nothing ingests them.", "bold"),
            (f"In {hidden['seconds_left']} s or later: python -m concordance erase --finish {erasure.erasure_id}", ""),
        )
    return _HIDDEN_CODE


def _hidden(erasure: Erasure, adapters: Adapters) -> dict[str, Any]:
    return {
        "erasure_id": str(erasure.erasure_id),
        "state": erasure.state,
        "counts": dict(erasure.counts),
        "artefacts_removed": erasure.artefacts_removed,
        "hidden_at": erasure.hidden_at.isoformat(),
        "seconds_left": _seconds_left(erasure, adapters),
    }


def _seconds_left(erasure: Erasure, adapters: Adapters) -> int:
    left = adapters.ledger.erasing.seconds_left(erasure.erasure_id)
    return -int(-left // 1)


def _show(shown: dict[str, Any], arguments: argparse.Namespace, *, title: str) -> None:
    if arguments.json:
        print_json(shown)
    else:
        print_table(("what", "value"), _flat(shown.get("receipt") or shown["counts"]), title=title)


def _rows(counts: Any) -> list[tuple[str, object]]:
    return [(name.replace("_", " "), number) for name, number in counts.items()]


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    for name, value in values.items():
        label = f"{prefix}{name.replace('_', ' ')}"
        lines += _flat(value, f"{label}: ") if isinstance(value, dict) else [(label, value)]
    return lines


def _scope(arguments: argparse.Namespace) -> Scope:
    from concordance.ledger.erasure_scope import Scope

    return Scope(source=arguments.source, uri=arguments.uri, pattern=arguments.uri_pattern, tenant=arguments.tenant)


def _refuse_scope(arguments: argparse.Namespace) -> None:
    given = (arguments.source, arguments.uri, arguments.uri_pattern, arguments.tenant)
    if any(value is not None for value in given) or (arguments.list and arguments.finish is not None):
        raise Misconfigured("--finish and --list stand alone: what is erased was said when the erasure began")
