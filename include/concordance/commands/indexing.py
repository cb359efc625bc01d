"""`index`: versions of the index: building the next one, publishing it, going back, dropping."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from concordance.commands.common import Add, actions_of, adapters_of, new_run_id, who
from concordance.commands.output import print_json, print_lines, print_table, say
from concordance.errors import Conflict, Misconfigured

if TYPE_CHECKING:
    from concordance.reindex.listing import ListedVersion

_SHOWN_DOCUMENTS = 20
_NUMBERS = {"chunk_min_tokens": int, "chunk_max_tokens": int, "header_max_tokens": int}


def add_commands(add: Add) -> None:
    parser = add(
        "index",
        listed,
        help="index versions: build, list, publish, rollback, drop, diff",
        description="Build the next index version beside the live one, look at it, publish it, go back, drop.",
    )
    action = actions_of(parser)
    building = action("build", build, "build the next version, check it and publish it; readers and ingests go on")
    building.add_argument(
        "--auto", action="store_true", help="only if what is frozen with the live version has changed"
    )
    building.add_argument("--hold", action="store_true", help="do not publish it: `index publish` does")
    building.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the new version, such as chunk_max_tokens=150; may be repeated",
    )
    building.add_argument("--build-id", metavar="ID", help="go on with the build of this name (default: a new one)")
    action("list", listed, "the versions that there are, and how many documents each is behind the live one")
    for name, does, text in (
        ("publish", publish, "make a version live that was held, or whose relevance gate failed"),
        ("rollback", rollback, "make a version live again; the next ingests catch it up"),
        ("drop", drop, "take a version away: said once, carried out when it is said again after the readers' grace"),
    ):
        version = action(name, does, text)
        version.add_argument("version", type=int, metavar="VERSION")
        version.add_argument("--yes", action="store_true", help="do not ask (needed where there is no terminal)")
        if name == "publish":
            version.add_argument(
                "--accept",
                default="",
                metavar="WHY",
                help="publish although it finds worse than the live one; the reason is kept",
            )
    differing = action("diff", diff, "what differs between two versions: settings, and documents by source")
    differing.add_argument("first", type=int, metavar="VERSION")
    differing.add_argument("second", type=int, metavar="VERSION")


def build(arguments: argparse.Namespace) -> int:
    from concordance.reindex.references import BuildRequest
    from concordance.reindex.run import build as run

    with adapters_of(arguments) as (adapters, settings):
        request = BuildRequest(
            arguments.build_id or new_run_id("build"),
            mode="auto" if arguments.auto else "rebuild",
            overrides=_overrides(arguments.set),
            publish=not arguments.hold,
            requested_by=who(),
        )
        # Said before it begins: whatever happens from here on, this is the name to go on with.
        say(f"Build {request.build_id}")
        ended = run(request, adapters=adapters, settings=settings)
    return _answer(arguments, ended.as_json())


def listed(arguments: argparse.Namespace) -> int:
    from concordance.reindex.listing import list_versions

    with adapters_of(arguments) as (adapters, _):
        versions = list_versions(adapters=adapters)
    if arguments.json:
        print_json({"versions": [each.as_json() for each in versions]})
    else:
        print_table(("version #", "state", "documents #", "chunks #", "behind #", "model"), map(_row, versions))
    return 0


def publish(arguments: argparse.Namespace) -> int:
    return _act(arguments, "publish", accepts=arguments.accept)


def rollback(arguments: argparse.Namespace) -> int:
    return _act(arguments, "rollback")


def drop(arguments: argparse.Namespace) -> int:
    return _act(arguments, "drop")


def diff(arguments: argparse.Namespace) -> int:
    from concordance.reindex.listing import diff as compare

    with adapters_of(arguments) as (adapters, _):
        first, second = (adapters.ledger.versions.get(each) for each in (arguments.first, arguments.second))
        found = compare(first, second, adapters=adapters, limit=_SHOWN_DOCUMENTS)
    if arguments.json:
        print_json(found.as_json())
        return 0
    names = (f"version {first.version}", f"version {second.version}")
    if found.settings:
        print_table(("setting", *names), ((name, *map(str, pair)) for name, pair in found.settings.items()))
    else:
        print_lines(("Both are made of the same settings.", ""))
    sides = (*(f"only in {name}" for name in names), "another state")
    groups = zip(sides, (found.only_in_first, found.only_in_second, found.changed), strict=True)
    rows = [(side, source, len(uris), ", ".join(uris)) for side, named in groups for source, uris in named.items()]
    if rows:
        title = f"{found.documents:,} documents differ; at most {_SHOWN_DOCUMENTS} of each source and kind are shown"
        print_table(("documents", "source", "shown #", "uris"), rows, title=title)
    else:
        print_lines(("Both hold the same documents.", ""))
    return 0


def _act(arguments: argparse.Namespace, action: str, *, accepts: str = "") -> int:
    from concordance.reindex.listing import require_possible
    from concordance.reindex.run import act

    if not (arguments.yes or sys.stdin.isatty()):
        raise Misconfigured("There is nobody to ask here: say --yes. `index list` shows what there is")
    with adapters_of(arguments) as (adapters, settings):
        _ask(arguments, action, *require_possible(action, arguments.version, adapters=adapters))
        done = act(
            action,
            arguments.version,
            build_id=new_run_id(action),
            accepts=accepts,
            requested_by=who(),
            adapters=adapters,
            settings=settings,
        )
    return _answer(arguments, done)


def _ask(arguments: argparse.Namespace, action: str, live: ListedVersion, version: ListedVersion) -> None:
    if arguments.yes:
        return
    for name, each in (("live", live), ("this one", version)):
        say(f"{name}: version {each.version.version}, {each.documents} documents, {each.behind} behind the live one")
    say(f"Type {action} to go on:")
    if input().strip() != action:
        raise Conflict("Nothing was changed")


def _answer(arguments: argparse.Namespace, done: dict[str, Any]) -> int:
    if arguments.json:
        print_json(done)
        return 0
    print_table(("what", "value"), _lines({**done, **done.get("said", {})}))
    if done.get("state") == "nothing":
        print_lines(("Nothing to build: a new version would be made of what the live one is made of.", "bold"))
    return 0


def _lines(done: dict[str, Any]) -> list[tuple[str, str]]:
    """What was done, a line for each thing of it; all else is for --json."""
    found: list[tuple[str, str]] = [
        (name, str(done[name])) for name in ("state", "version", "before", "hidden", "stale") if name in done
    ]
    if reasons := done.get("reasons"):
        found.append(("because of", ", ".join(reasons)))
    found += [(gate, str(done[gate]["message"])) for gate in ("parity", "relevance") if gate in done]
    found += [(part, _counts(done[part])) for part in ("made", "accepted", "swap") if done.get(part)]
    dropping = done if "waiting" in done else done.get("drop", {})
    found += [("dropped", f"version {version}") for version in dropping.get("dropped", ())]
    found += [("to be dropped", f"version {each} in {left:g} s") for each, left in dropping.get("waiting", {}).items()]
    return found


def _counts(values: dict[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def _row(each: ListedVersion) -> tuple[object, ...]:
    model = each.version.settings.model
    named = f"{model.name} ({model.precision}, {model.dimension})"
    return each.version.version, each.version.state, each.documents, each.chunks, each.behind, named


def _overrides(given: list[str]) -> dict[str, float]:
    chosen: dict[str, float] = {}
    for each in given:
        name, _, value = each.partition("=")
        try:
            chosen[name] = _NUMBERS.get(name, float)(value)
        except ValueError:
            raise Misconfigured(f"--set {each[:80]!r} is not NAME=NUMBER") from None
    return chosen
