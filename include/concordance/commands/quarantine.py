"""`quarantine`: what no gate let through, trying it again, and leaving it at that."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from concordance.commands.common import Add, actions_of, adapters_of, id_of, new_run_id, who
from concordance.commands.output import print_json, print_lines, print_table, say
from concordance.errors import Misconfigured

if TYPE_CHECKING:
    from uuid import UUID

    from concordance.ledger.quarantine import Quarantined
    from concordance.model import QuarantineFilter
    from concordance.pipeline.adapters import Adapters

_MAX_NOTE_CHARACTERS = 500
_MAX_ROWS = 10_000


def add_commands(add: Add) -> None:
    parser = add(
        "quarantine",
        rows,
        help="documents that were not let through: list, show, replay, dismiss",
        description=(
            "The documents of the live index version whose newest state a stage or a gate rejected. What was current "
            "of them before stays current, and is marked stale."
        ),
    )
    action = actions_of(parser)
    listing = action("list", rows, "what is in quarantine, the last rejected first")
    _add_filter(listing)
    listing.add_argument("--dismissed", action="store_true", help="also what was dismissed")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help=f"rows to show (1 to {_MAX_ROWS:,}; 50)")
    showing = action("show", show, "one document: why, how often, since when, where to look")
    showing.add_argument(
        "document", type=id_of("a document"), metavar="DOCUMENT", help="its id, as `quarantine list` prints it"
    )
    replaying = action("replay", replay, "try documents again, through all stages and gates; nothing else is touched")
    _add_filter(replaying)
    dismissing = action("dismiss", dismiss, "leave documents at that: not tried again before they change")
    _add_filter(dismissing)
    dismissing.add_argument("--note", default="", metavar="TEXT", help="why, for others; no document text here")
    dismissing.add_argument("--undo", action="store_true", help="treat dismissed ones like the others again")


def rows(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.limit <= _MAX_ROWS:
        raise Misconfigured(f"--limit is {arguments.limit}; allowed: 1 to {_MAX_ROWS:,}")
    meant = _filter(arguments)
    with adapters_of(arguments) as (adapters, _):
        found = adapters.ledger.quarantine.rows(meant, limit=arguments.limit, with_dismissed=arguments.dismissed)
        total = sum(adapters.ledger.quarantine.count(meant, with_dismissed=arguments.dismissed).values())
    if arguments.json:
        print_json({"total": total, "documents": [row.as_json() for row in found]})
        return 0
    print_table(
        ("document", "source", "uri", "stage", "reason", "attempts #", "since", "shown"),
        (
            (
                row.document_id,
                row.source,
                row.uri,
                row.stage,
                row.reason if row.dismissed_at is None else f"{row.reason} (dismissed)",
                row.attempts,
                f"{row.first_at:%Y-%m-%d %H:%M}",
                "an older state" if row.is_stale else "nothing",
            )
            for row in found
        ),
        title=f"quarantine: {total} documents" + (f", the last {len(found)}" if total > len(found) else ""),
    )
    return 0


def show(arguments: argparse.Namespace) -> int:
    with adapters_of(arguments) as (adapters, _):
        row = _one(adapters, arguments.document)
    if arguments.json:
        print_json(row.as_json())
    else:
        print_table(("what", "value"), ((name.replace("_", " "), value) for name, value in row.as_json().items()))
    return 0


def replay(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from concordance.pipeline.references import RunRequest
    from concordance.pipeline.run import ingest

    meant = _filter(arguments, is_required=True)
    with adapters_of(arguments) as (adapters, settings):
        counts = adapters.ledger.quarantine.count(meant)
        reports = []
        for source in counts:
            if source not in adapters.declarations:
                say(f"Source {source!r} is not declared any more: what is in quarantine of it stays there")
                continue
            request = RunRequest(source, new_run_id("replay"), replay=replace(meant, source=source))
            reports.append(ingest(request, adapters=adapters, settings=settings))
    if arguments.json:
        print_json({"meant": counts, "runs": [report.as_json() for report in reports]})
    else:
        print_table(
            ("source", "run", "state", "tried again #", "committed #", "rejected again #"),
            (
                (
                    report.source,
                    report.run_id,
                    report.state,
                    counts[report.source],
                    report.counts.get("committed", 0),
                    report.counts.get("quarantined", 0),
                )
                for report in reports
            ),
            title=f"replay: {sum(counts.values())} documents",
        )
        print_lines(*((notice, "bold") for report in reports for notice in report.notices))
    return 1 if any(report.state in ("refused", "failed") for report in reports) else 0


def dismiss(arguments: argparse.Namespace) -> int:
    meant = _filter(arguments, is_required=True)
    if len(arguments.note) > _MAX_NOTE_CHARACTERS:
        raise Misconfigured(f"--note has more than {_MAX_NOTE_CHARACTERS} characters: say it shorter")
    with adapters_of(arguments) as (adapters, _):
        quarantine = adapters.ledger.quarantine
        if arguments.undo:
            marked = quarantine.take_back(meant)
        else:
            marked = quarantine.dismiss(meant, by=who(), note=arguments.note)
    word = "taken back" if arguments.undo else "dismissed"
    if arguments.json:
        print_json({word.replace(" ", "_"): marked})
    else:
        print_lines((f"{marked} documents {word}.", ""))
    return 0


def _add_filter(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_argument_group("which documents (all that is given must hold)")
    chosen.add_argument(
        "document", type=id_of("a document"), nargs="*", metavar="DOCUMENT", help="ids, as `quarantine list` prints"
    )
    chosen.add_argument("--source", help="of this source")
    chosen.add_argument("--stage", help="rejected by this stage or gate")
    chosen.add_argument("--reason", metavar="CODE", help="the reason code")
    chosen.add_argument(
        "--older-than-hours", type=float, metavar="HOURS", help="first rejected so many hours ago, or earlier"
    )
    chosen.add_argument("--all", action="store_true", help="all of them (to replay or dismiss: instead of a choice)")


def _filter(arguments: argparse.Namespace, *, is_required: bool = False) -> QuarantineFilter:
    from concordance.model import QuarantineFilter, Reason

    reasons = [reason.value for reason in Reason]
    if arguments.reason is not None and arguments.reason not in reasons:
        raise Misconfigured(f"--reason is {arguments.reason[:80]!r}; allowed: {', '.join(reasons)}")
    meant = QuarantineFilter(
        source=arguments.source,
        stage=arguments.stage,
        reason=None if arguments.reason is None else Reason(arguments.reason),
        older_than_hours=arguments.older_than_hours,
        document_ids=tuple(arguments.document),
    )
    if meant.older_than_hours is not None and not 0 <= meant.older_than_hours <= 1e6:
        raise Misconfigured(f"--older-than-hours is {meant.older_than_hours:g}; allowed: 0 to 1,000,000")
    if is_required and meant == QuarantineFilter() and not arguments.all:
        raise Misconfigured("Say which documents: ids, --source, --stage, --reason, --older-than-hours, or --all")
    if arguments.all and meant != QuarantineFilter():
        raise Misconfigured("--all stands alone: leave it out to choose by the other arguments")
    return meant


def _one(adapters: Adapters, document_id: UUID) -> Quarantined:
    from concordance.model import QuarantineFilter

    found = adapters.ledger.quarantine.rows(QuarantineFilter(document_ids=(document_id,)), limit=1)
    if not found:
        raise Misconfigured(f"Document {document_id} is not in quarantine: `quarantine list` shows what is")
    return found[0]
