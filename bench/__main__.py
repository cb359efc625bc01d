"""`make bench`: every figure, as a page, as JSON and as plots in `.concordance/bench/`, compared with the last release.

The command fails when a room failed, or when a figure is worse than in the release that it is compared with, beyond
noise; a bound that is not kept is told, and fails it only if the release kept it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import compare, effort, pages, plots, rooms
from bench.compare import Change
from bench.records import HISTORY, ROOT, Record, Room, append, new_record, read_history
from rich.console import Console
from rich.table import Table

FOLDER = ROOT / ".concordance" / "bench"


def main(argv: Sequence[str] | None = None, *, folder: Path = FOLDER, kept: Path = HISTORY) -> int:
    """Measure, write into `folder`, compare with what the history `kept` says; returns the exit code."""
    arguments = _parser().parse_args(argv)
    console = Console()
    try:
        history = read_history(kept)
        # Smaller corpora give other ratios: a quick look is compared with nothing.
        is_alone = arguments.quick or arguments.against == "none"
        runs = [] if is_alone else compare.release(history, arguments.against)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    environment = effort.environment(pairs=arguments.pairs, quick=arguments.quick)
    names = arguments.rooms or rooms.NAMES
    found: list[Room] = []
    for name in names:
        found.append(rooms.measured(name, environment=environment, limit_seconds=arguments.room_minutes * 60))
        _show(console, found[-1])
        if len(found) < len(names):  # a run that is broken off has told something
            _write(folder, new_record(found, is_quick=arguments.quick), history, [], [])
    record = new_record(found, label=arguments.record or "", is_quick=arguments.quick)
    changes = compare.compare(record, runs)
    _write(folder, record, history, changes, runs)
    faults = faults_of(record, changes)
    if arguments.record is not None and not record.is_quick and not any(room.error for room in found):
        append(record, kept)
    for fault in faults:
        console.print(fault, style="bold", markup=False)
    return 1 if faults else 0


def faults_of(record: Record, changes: Sequence[Change]) -> list[str]:
    """What makes the command fail, a line each."""
    failed = [f"{room.name} failed: {room.error}" for room in record.rooms if room.error]
    worse = [
        f"{change.name} {change.verdict}: {pages.number(change.now)} {change.unit}, "
        f"{pages.number(change.before)} {change.unit} in the release"
        for change in changes
        if change.is_worse
    ]
    return failed + worse


def _write(
    folder: Path, record: Record, history: Sequence[Record], changes: Sequence[Change], runs: Sequence[Record]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(record.as_json(), indent=1) + "\n")
    drawn = plots.write(record, history, folder)
    against = runs[-1].label if runs else ""
    (folder / "bench.md").write_text(pages.page(record, changes, against=against, plots=drawn))


def _show(console: Console, room: Room) -> None:
    table = Table("figure", "value", "unit", "quartiles", "bound", "kept", title=f"{room.name}, {room.seconds:,.0f} s")
    for figure in room.figures:
        spread = " to ".join(map(pages.number, figure.quartiles)) if figure.samples else ""
        kept = {True: "yes", False: "no", None: ""}[figure.is_kept]
        table.add_row(figure.name, pages.number(figure.value), figure.unit, spread, figure.bound, kept)
    console.print(table)
    if room.error:
        console.print(f"{room.name} failed: {room.error}", style="bold", markup=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The figures of the product, as ratios.")
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(rooms.NAMES)}; all if none is named")
    look = "smaller corpora where a room has them: a look, neither recorded nor compared"
    parser.add_argument("--quick", action="store_true", help=look)
    parser.add_argument("--pairs", type=int, metavar="N", help="pairs of each ratio, where a room takes fewer or more")
    parser.add_argument(
        "--against",
        default="last",
        metavar="LABEL",
        help="the release to compare with: the last one that was recorded (default), a label, or none",
    )
    parser.add_argument(
        "--record",
        nargs="?",
        const="",
        metavar="LABEL",
        help=f"add the run to {HISTORY.relative_to(ROOT)}, under a label (default: the commit)",
    )
    parser.add_argument(
        "--room-minutes", type=float, default=90.0, metavar="MINUTES", help="what one room may take (default: 90)"
    )
    return parser


if __name__ == "__main__":
    rooms.end_when_asked()
    sys.exit(main())
