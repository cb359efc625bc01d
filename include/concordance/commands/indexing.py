"""`index`: versions of the index: building the next one, publishing it, going back, dropping."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
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
        "--auto", action="store_true", help="only if what is frozen with the live version has changed, or it is due"
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
        ("drop", drop, "take a version away, after the readers' grace"),
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
            is_weekly_night=datetime.now(UTC).weekday() == settings.rebuild_weekday,
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
    print_table(("setting", *names), ((name, *map(str, pair)) for name, pair in found.settings.items()))
    sides = (*(f"only in {name}" for name in names), "another state")
    groups = zip(sides, (found.only_in_first, found.only_in_second, found.changed), strict=True)
    print_table(
        ("documents", "source", "for example"),
        (
            (side, source, ", ".join(uris[:_SHOWN_DOCUMENTS]))
            for side, named in groups
            for source, uris in named.items()
        ),
        title=f"{found.documents} documents differ",
    )
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
    said = done.get("said", done)
    print_table(
        ("what", "value"),
        [(name.replace("_", " "), value) for name, value in _flat({**done, **said}) if name != "said"],
    )
    if done.get("state") == "nothing":
        print_lines(("Nothing to build: a new version would be made of what the live one is made of.", "bold"))
    return 0


def _flat(values: dict[str, Any]) -> list[tuple[str, object]]:
    """Numbers and words one and two levels deep; what is longer is for --json."""
    lines: list[tuple[str, object]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += [
                (f"{name}: {inner}", each) for inner, each in value.items() if isinstance(each, str | int | float)
            ]
        elif isinstance(value, str | int | float):
            lines.append((name, value))
        elif isinstance(value, list | tuple) and value:
            lines.append((name, ", ".join(map(str, value[:_SHOWN_DOCUMENTS]))))
    return lines


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
