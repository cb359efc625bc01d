"""`verify`: whether ledger, graph and vectors agree, and putting right what does not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from concordance.commands.common import Add, adapters_of, add_json
from concordance.commands.output import print_json, print_lines, print_table

if TYPE_CHECKING:
    from concordance.consistency import RepairReport, VerifyReport
    from concordance.pipeline.adapters import Adapters
    from concordance.settings import Settings

_SAMPLED_RANGES = 20


def add_commands(add: Add) -> None:
    parser = add(
        "verify",
        verify,
        help="check that ledger, graph and vectors agree; --repair puts right what does not",
        description=(
            "Compare the ledger, the graph and the vectors of every index version that is kept: I1 equal sets and "
            "digests, I2 each once, constraints online, I3 every document's content, I4 no orphans, I8 no forbidden "
            "history. Reads only; also while runs go on. Exit code 0 only if sound."
        ),
    )
    parser.add_argument(
        "--sampled",
        type=int,
        nargs="?",
        const=_SAMPLED_RANGES,
        metavar="N",
        help=f"read only N random ranges of chunks and N random documents (default {_SAMPLED_RANGES}): seconds",
    )
    parser.add_argument(
        "--vectors", action="store_true", help="read every number of every vector too, not those of one random range"
    )
    does = parser.add_mutually_exclusive_group()
    does.add_argument(
        "--repair", action="store_true", help="put right what is found, from artefacts, the other store or the source"
    )
    does.add_argument(
        "--rebuild-ledger",
        action="store_true",
        help="make an empty ledger anew from the two stores; refuses one that is not empty",
    )
    parser.add_argument(
        "--no-reload", action="store_true", help="with --repair: leave reloads from the sources to the next ingest"
    )
    add_json(parser)


def verify(arguments: argparse.Namespace) -> int:
    from concordance.consistency import Scope, repair
    from concordance.consistency import verify as compare
    from concordance.errors import Misconfigured

    if arguments.sampled is not None and arguments.sampled < 1:
        raise Misconfigured(f"--sampled is {arguments.sampled}; allowed: at least 1")
    if arguments.sampled is not None and (arguments.repair or arguments.rebuild_ledger):
        raise Misconfigured("--sampled only reads: a repair needs to see everything. Leave one of the two out")
    with adapters_of(arguments) as (adapters, settings):
        if arguments.rebuild_ledger:
            _rebuild(arguments, adapters, settings)
        scope = Scope(
            sampled=arguments.sampled,
            read_vectors=arguments.vectors,
            stale_after_seconds=settings.stale_after_seconds,
        )
        if arguments.repair:
            repaired = repair(adapters=adapters, settings=settings, scope=scope, reloads=not arguments.no_reload)
            return _answer_repair(arguments, repaired)
        report = compare(
            ledger=adapters.ledger,
            graph=adapters.graph,
            vectors=adapters.vectors,
            scope=scope,
            staging=adapters.staging,
        )
    if arguments.json:
        print_json(report.as_json())
    else:
        _show_report(report)
    return 0 if report.is_sound else 1


def _rebuild(arguments: argparse.Namespace, adapters: Adapters, settings: Settings) -> None:
    from concordance.consistency.rebuild import rebuild_ledger

    report = rebuild_ledger(adapters=adapters, settings=settings)
    if not arguments.json:
        print_table(("what", "number #"), sorted(report.counts.items()), title="the ledger was made anew")
        print_lines(*((notice, "bold") for notice in report.notices))


def _answer_repair(arguments: argparse.Namespace, report: RepairReport) -> int:
    if arguments.json:
        print_json(report.as_json())
    else:
        if report.done or report.reloaded:
            rows = [
                *report.done.items(),
                *((f"documents of {source} loaded anew", count) for source, count in report.reloaded.items()),
            ]
            print_table(("repaired", "number #"), rows)
        for source, why in report.refused.items():
            print_lines((f"Documents of {source} were not loaded anew: {why}", "bold"))
        for source, count in report.waiting.items():
            print_lines((f"{count} documents of {source} wait for its next ingest", "bold"))
        _show_report(report.after)
    return 0 if report.is_sound else 1


def _show_report(report: VerifyReport) -> None:
    stores = ("ledger", "graph", "vectors")
    kinds = sorted({kind for rows in report.counts.values() for kind in rows})
    print_table(
        ("rows", *(f"{store} #" for store in stores)),
        [
            ("chunks read", *(report.rows[store] for store in stores)),
            ("of them in flight", None, report.recovered["graph"], report.recovered["vectors"]),
            *(
                (kind.replace("_", " "), *(report.counts.get(store, {}).get(kind) for store in stores))
                for kind in kinds
            ),
        ],
        title=f"index version {report.index_version}",
    )
    print_lines(*((line, "dim") for line in _coverage(report)))
    if report.is_sound:
        print_lines((_verdict(report), "bold"))
        return
    print_table(
        ("invariant", "kind", "store", "rows #", "what", "for example"),
        (
            (one.invariant, one.kind.value, one.store.value, one.count, one.what, "; ".join(one.examples[:3]))
            for one in report.findings
        ),
    )
    print_lines(("Unsound: the findings above say what differs; --repair puts it right.", "bold"))


def _verdict(report: VerifyReport) -> str:
    if report.is_sampled:
        return "Sound as far as it was read: the rest was not looked at."
    return "Sound: ledger, graph and vectors hold the same chunks with the same digests."


def _coverage(report: VerifyReport) -> list[str]:
    """What was read, and so what this report is about."""
    covered = report.covered
    lines = [f"read: {covered['documents']} documents, the vectors of {covered['vectors']} points"]
    if report.is_sampled:
        lines.append(
            f"sampled: {covered['ranges']} of {covered['of_ranges']} ranges of chunks; neither orphans nor entities"
        )
    others = [f"{each.version.version} ({each.version.state})" for each in report.versions]
    if len(others) > 1:
        lines.append(f"index versions: {', '.join(others)}")
    return lines
