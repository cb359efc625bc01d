"""`search`: reading what was published."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from concordance.commands.common import Add, adapters_of, add_json
from concordance.commands.output import print_json, print_lines, printable, say

if TYPE_CHECKING:
    from concordance.retrieval import Hit, SearchAnswer
    from concordance.sources.declaration import SourceDeclaration


def add_commands(add: Add) -> None:
    parser = add(
        "search",
        search,
        help="search the live index",
        description="Search the live index: hybrid (meaning and words), committed documents of one tenant only.",
    )
    parser.add_argument("query", metavar="QUERY", help="a question, words or a name")
    parser.add_argument("--tenant", help="whose documents (needed when the declared sources have more than one tenant)")
    parser.add_argument(
        "--access",
        action="append",
        metavar="LABEL",
        help="a label that the reader carries, may be repeated (default: public)",
    )
    parser.add_argument("--source", help="documents of this source only")
    parser.add_argument("--limit", type=int, metavar="N", help="number of hits (default: the setting search_limit)")
    add_json(parser)


def search(arguments: argparse.Namespace) -> int:
    from concordance.retrieval import SearchQuery
    from concordance.retrieval.search import search as answer_to

    with adapters_of(arguments, encodes_at_once=True) as (adapters, settings):
        query = SearchQuery(
            text=arguments.query,
            tenant=arguments.tenant or _only_tenant(adapters.declarations),
            access=tuple(arguments.access or ("public",)),
            limit=arguments.limit,
            source=arguments.source,
        )
        answer = answer_to(
            query,
            ledger=adapters.ledger,
            graph=adapters.graph,
            vectors=adapters.vectors,
            embedder_of=adapters.embedder_of,
            settings=settings,
        )
    if arguments.json:
        print_json(answer.as_json())
    else:
        _show_answer(answer)
    return 0


def _only_tenant(declarations: Mapping[str, SourceDeclaration]) -> str:
    from concordance.errors import Misconfigured

    tenants = sorted({declaration.tenant for declaration in declarations.values()})
    if len(tenants) == 1:
        return tenants[0]
    known = f"the declared sources belong to {', '.join(tenants)}" if tenants else "no source is declared"
    raise Misconfigured(f"Say whose documents to search with --tenant: {known}")


def _show_answer(answer: SearchAnswer) -> None:
    if not answer.hits:
        print_lines(("Nothing was found.", ""))
    for rank, hit in enumerate(answer.hits, start=1):
        _show_hit(rank, hit)
    if not answer.is_exhaustive:
        say("There may be more: the limit on candidates (search_max_candidates) was reached first.")
    if answer.missing_in_graph:
        say(f"{answer.missing_in_graph} hits were left out, because the graph lacks their chunk: run verify.")


def _show_hit(rank: int, hit: Hit) -> None:
    where = " > ".join(filter(None, map(printable, hit.heading_path)))
    named = ", ".join(f"{printable(entity.name)} ({entity.type})" for entity in hit.entities)
    linked = ", ".join(printable(other.title or other.uri) for other in hit.linked)
    lines = [
        (f"{rank}. {printable(hit.title or hit.uri)}  {hit.score:.3f}", "bold"),
        (f"   {printable(hit.uri)} in {hit.source}{f' · {where}' if where else ''}", "dim"),
        (f"   {printable(hit.snippet)}", ""),
    ]
    if hit.is_stale:
        lines.append(("   an older state of the document: the newer one is in quarantine", "bold"))
    if named:
        lines.append((f"   mentions {named}", "dim"))
    if linked:
        lines.append((f"   links to {linked}", "dim"))
    print_lines(*lines, ("", ""))
