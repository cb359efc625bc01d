"""What people read of a record: a page of tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bench.compare import Change
from bench.figures import Figure
from bench.records import Record, Room

_KEPT = {True: "yes", False: "**no**", None: ""}


def page(record: Record, changes: Sequence[Change], *, against: str, plots: Iterable[str]) -> str:
    """The whole page: what was measured on what, each room's figures, the changes, the plots beside it."""
    machine = record.machine
    head = [
        "# Bench",
        f"{record.label}, commit {record.commit}, {record.date}, {machine.cores} cores of {machine.cpu}"
        + (" (a quick look)" if record.is_quick else ""),
    ]
    parts = [*head, *(_room(room) for room in record.rooms)]
    if changes:
        parts += [f"## Against {against}", _changes(changes)]
    parts += [f"![{name.removesuffix('.svg')}]({name})" for name in plots]
    return "\n\n".join(parts) + "\n"


def _room(room: Room) -> str:
    load = "load {:.2f} before, {:.2f} after".format(*room.load)
    title = f"## {room.name}\n\n{room.seconds:,.0f} s, {load}"
    if room.error:
        title += f"\n\n**failed**: {_cell(room.error)}"
    if not room.figures:
        return title
    rows = [
        "| figure | value | quartiles | samples | bound | kept |",
        "|---|---|---|---|---|---|",
        *(_row(figure) for figure in room.figures),
    ]
    return title + "\n\n" + "\n".join(rows)


def _row(figure: Figure) -> str:
    spread = " to ".join(number(each) for each in figure.quartiles) if figure.samples else ""
    name = ("&nbsp;&nbsp;" if figure.name.startswith(" ") else "") + _cell(figure.name.strip())
    cells = (name, f"{number(figure.value)} {figure.unit}", spread, str(len(figure.samples) or ""), figure.bound)
    return f"| {' | '.join(cells)} | {_KEPT[figure.is_kept]} |"


def _changes(changes: Sequence[Change]) -> str:
    rows = ["| figure | was | is | worse by, 99 % | |", "|---|---|---|---|---|"]
    for change in changes:
        spread = "" if math.isnan(change.factor) else f"{change.factor:.2f} ({change.low:.2f} to {change.high:.2f})"
        verdict = f"**{change.verdict}**" if change.is_worse else change.verdict
        was, now = (f"{number(value)} {change.unit}" for value in (change.before, change.now))
        rows.append(f"| {_cell(change.name)} | {was} | {now} | {spread} | {verdict} |")
    return "\n".join(rows)


def number(value: float) -> str:
    """As many digits as a reader compares; nothing where there is no number."""
    if math.isnan(value):
        return "nothing"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.1f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
