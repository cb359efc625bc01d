"""`ingest`, `plan` and `sources`: what can be run, what a run would do, and running it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from concordance.commands.common import Add, adapters_of, add_json, id_of, new_run_id, read_settings
from concordance.commands.output import print_json, print_lines, print_table
from concordance.errors import Misconfigured

if TYPE_CHECKING:
    from concordance.pipeline.adapters import Adapters
    from concordance.pipeline.references import PlanReference, RunReport, RunRequest

_SHOWN_DOCUMENTS = 20


def add_commands(add: Add) -> None:
    ingest_parser = add(
        "ingest",
        ingest,
        help="bring the index up to date with a source",
        description="Run a source from plan to publish, in this process. What is unchanged costs nothing.",
    )
    plan_parser = add(
        "plan",
        plan,
        help="what an ingest would do; writes nothing",
        description="List a source and compare it with the index: what would be added, changed and deleted.",
    )
    for parser in (ingest_parser, plan_parser):
        parser.add_argument(
            "source",
            metavar="SOURCE",
            nargs="?" if parser is ingest_parser else None,
            help="a declared source (see `sources`)",
        )
        parser.add_argument("--subpath", default="", metavar="PATH", help="only what is below PATH; deletes only there")
        parser.add_argument(
            "--full", action="store_true", help="read every document, whatever the listing's stamps say"
        )
        parser.add_argument("--max-documents", type=int, metavar="N", help="take at most N added or changed documents")
        add_json(parser)
    plan_parser.add_argument(
        "--exact",
        action="store_true",
        help="extract and cut everything: exact numbers; `ingest --plan` does not do that work again",
    )
    ingest_parser.add_argument("--dry-run", action="store_true", help="the same as `plan`: write nothing")
    ingest_parser.add_argument(
        "--approve",
        action="store_true",
        help="go on although the plan is unusual: many deletions or changes, much to read",
    )
    ingest_parser.add_argument(
        "--plan",
        type=id_of("a plan"),
        metavar="ID",
        help="do exactly what this plan says, or nothing if anything has moved",
    )
    ingest_parser.add_argument("--run-id", metavar="ID", help="resume the run of this name (default: a new one)")
    sources_parser = add(
        "sources",
        sources,
        help="the declared sources",
        description="List the sources that are declared in the sources file, and check the file.",
    )
    add_json(sources_parser)


def ingest(arguments: argparse.Namespace) -> int:
    if (arguments.source is None) == (arguments.plan is None):
        raise Misconfigured("Say what to ingest: a SOURCE, or --plan ID")
    if arguments.dry_run and arguments.plan is None:
        return plan(arguments)
    from concordance.pipeline.run import ingest as run

    with adapters_of(arguments) as (adapters, settings):
        if arguments.plan is None:
            adapters.source(arguments.source)  # a misspelt source is said even when no store is up
            request = _request(arguments, dry_run=False)
        else:
            request = _planned(arguments, adapters)
        report = run(request, adapters=adapters, settings=settings)
    if arguments.json:
        print_json(report.as_json())
    else:
        _show_run(report)
    return 1 if report.state in ("refused", "failed") else 0


def plan(arguments: argparse.Namespace) -> int:
    from concordance.pipeline.plan import make_plan
    from concordance.pipeline.rehearse import rehearse
    from concordance.pipeline.report import report
    from concordance.pipeline.run import ending
    from concordance.pipeline.tables import from_parquet

    with adapters_of(arguments) as (adapters, settings):
        adapters.source(arguments.source)
        request = _request(arguments, dry_run=True)
        with ending(request, adapters=adapters):
            made = make_plan(request, adapters=adapters, settings=settings)
            if getattr(arguments, "exact", False):
                made = rehearse(made, adapters=adapters, settings=settings)
            documents = from_parquet(
                adapters.staging.read(made.entries), columns=["uri", "action", "size_bytes"]
            ).to_pylist()
            ended = report(made, adapters=adapters)
    if arguments.json:
        print_json(
            {
                **ended.as_json(),
                "plan_id": str(made.plan_id),
                "estimates": made.estimates,
                "estimated_from": made.estimated_from,
                "impact": made.impact,
                "unusual": made.unusual,
                "shards": made.shards,
                "documents": documents,
            }
        )
    else:
        _show_plan(made, ended, documents)
    return 1 if made.unusual else 0


def sources(arguments: argparse.Namespace) -> int:
    from concordance.sources.declaration import load_declarations

    declared = load_declarations(read_settings(arguments)).values()
    if arguments.json:
        print_json({"sources": [declaration.model_dump(mode="json") for declaration in declared]})
        return 0
    print_table(
        ("source", "kind", "tenant", "location", "access", "trust", "scheduled"),
        (
            (one.name, one.kind, one.tenant, one.location, ", ".join(one.access), one.trust.value, one.schedule)
            for one in declared
        ),
    )
    return 0


def _request(arguments: argparse.Namespace, *, dry_run: bool) -> RunRequest:
    from concordance.pipeline.references import RunRequest

    return RunRequest(
        source=arguments.source,
        run_id=getattr(arguments, "run_id", None) or new_run_id("cli"),
        subpath=arguments.subpath,
        mode="full" if arguments.full else "incremental",
        dry_run=dry_run,
        approved=getattr(arguments, "approve", False),
        max_documents=arguments.max_documents,
    )


def _planned(arguments: argparse.Namespace, adapters: Adapters) -> RunRequest:
    from concordance.pipeline.plan import run_of

    given = (arguments.subpath, arguments.full, arguments.max_documents, arguments.dry_run)
    if any(given):
        raise Misconfigured(
            "--plan stands alone, but for --approve and --run-id: the plan brings its own scope, mode and limits"
        )
    request = run_of(arguments.plan, run_id=arguments.run_id or new_run_id("cli"), adapters=adapters)
    return replace(request, approved=arguments.approve)


def _show_run(report: RunReport) -> None:
    _show_counts(report.counts, title=f"run {report.run_id} of {report.source}: {report.state}")
    print_lines(*((notice, "bold") for notice in report.notices))


def _show_plan(made: PlanReference, report: RunReport, documents: list[dict[str, Any]]) -> None:
    _show_counts(made.counts, title=f"plan of {report.source}, in {made.shards} shards")
    _show_counts(made.estimates, title=f"what it would read and make: {made.estimated_from}")
    _show_counts(made.impact, title="what readers would notice")
    if documents:
        shown = documents[:_SHOWN_DOCUMENTS]
        more = f", first {len(shown)} of {len(documents)}" if len(documents) > len(shown) else ""
        print_table(
            ("action", "document", "bytes #"),
            ((one["action"], one["uri"], one["size_bytes"]) for one in shown),
            title=f"what an ingest would do{more}",
        )
    print_lines(*((notice, "bold") for notice in report.notices))
    if documents and not made.unusual:
        print_lines((f"To do exactly this: python -m concordance ingest --plan {made.plan_id}", ""))


def _show_counts(counts: dict[str, Any], *, title: str) -> None:
    rows = (
        (name.replace("_", " "), number if isinstance(number, int) else f"{number:,.1f}")
        for name, number in counts.items()
    )
    print_table(("what", "number #"), rows, title=title)
