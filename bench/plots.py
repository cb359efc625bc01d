"""The plots of a record, as SVG: what is used of each bound, where the time goes, and how figures moved.

Figures of different units share an axis as parts of their bounds: 1 is the bound itself, less is better.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pygal
from bench.figures import Figure
from bench.records import Record
from pygal.style import CleanStyle

# It looks for plug-ins of its own among all imports, by a protocol that Python has left: each later import that finds
# nothing would warn of it, in whatever runs in this process.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

_STYLE = CleanStyle(font_family="sans-serif", label_font_size=9, legend_font_size=10, title_font_size=14)
_WIDTH, _ROW_HEIGHT, _HEAD_HEIGHT = 1000, 26, 120
# More lines than that are no plot.
_MOST_LINES = 16


def write(record: Record, history: Sequence[Record], folder: Path) -> list[str]:
    """Write the plots that this record gives; returns their file names."""
    drawn = {
        "bounds.svg": lambda: _bounds(record),
        "parts.svg": lambda: _parts(record),
        "history.svg": lambda: _history([*history, record]),
    }
    return [name for name, draw in drawn.items() if _written(draw, folder / name)]


def _written(draw: Callable[[], Any], path: Path) -> bool:
    path.unlink(missing_ok=True)
    chart = draw()
    if chart is None:
        return False
    path.write_bytes(chart.render())
    return True


def used(figure: Figure, value: float) -> float | None:
    """Which part of its bound a value uses, above 1 where it breaks it; None where that says nothing."""
    if figure.promise is None:
        return None
    sign, limit = figure.promise
    if sign == "==" or limit <= 0 or value <= 0:
        return None
    return value / limit if sign == "<=" else limit / value


def _bounds(record: Record) -> Any:
    """One box for each promised figure with samples (their quartiles and extremes), a dash for a single value."""
    rows = {
        name: parts
        for name, figure in record.figures().items()
        if (parts := [part for each in figure.samples or (figure.value,) if (part := used(figure, each)) is not None])
    }
    if not rows:
        return None
    chart = pygal.HorizontalBar(**_size(len(rows), "Used of each bound: 1 is the bound, the line spans the quartiles"))
    chart.x_labels = list(rows)
    chart.add(
        "median",
        [
            {"value": middle, "ci": {"low": low, "high": high}} if len(parts) > 1 else middle
            for parts in rows.values()
            for low, middle, high in [_spread(parts)]
        ],
    )
    return chart


def _spread(parts: list[float]) -> tuple[float, float, float]:
    low, high = Figure("", 0.0, "", samples=tuple(parts)).quartiles
    return low, sorted(parts)[len(parts) // 2], high


def _parts(record: Record) -> Any:
    """A bar for each figure that is told in parts of its own unit, one on the other."""
    wholes = [(whole, parts) for room in record.rooms for whole, parts in _told_in_parts(room.figures)]
    if not wholes:
        return None
    chart = pygal.HorizontalStackedBar(**_size(len(wholes), "Where it goes: the share of each part"))
    chart.x_labels = [whole.name for whole, _ in wholes]
    names = dict.fromkeys(part.name.strip() for _, parts in wholes for part in parts)
    for name in names:
        chart.add(name, [_share(name, parts) for _, parts in wholes])
    return chart


def _told_in_parts(figures: Sequence[Figure]) -> Iterator[tuple[Figure, list[Figure]]]:
    whole, parts = None, []
    for figure in [*figures, Figure("", 0.0, "")]:
        if figure.name.startswith(" "):
            parts.append(figure)
            continue
        same = [part for part in parts if whole is not None and part.unit == whole.unit and part.value >= 0]
        if whole is not None and len(same) > 1 and whole.unit in ("s", "h", "ms", "MB"):
            yield whole, same
        whole, parts = figure, []


def _share(name: str, parts: list[Figure]) -> float | None:
    total = sum(part.value for part in parts)
    own = sum(part.value for part in parts if part.name.strip() == name)
    return own / total if own and total else None


def _history(records: Sequence[Record]) -> Any:
    """A line for each promised ratio over the records of this machine; none for fewer than two of them."""
    same = [each for each in records if each.machine == records[-1].machine and not each.is_quick]
    lines = {
        name: [used(found[name], found[name].value) if name in found else None for found in map(Record.figures, same)]
        for name, figure in records[-1].figures().items()
        if figure.samples and used(figure, figure.value) is not None
    }
    if len(same) < 2 or not lines:
        return None
    chart = pygal.Line(**_size(_MOST_LINES, "Used of each bound, from record to record"), x_label_rotation=20)
    chart.x_labels = [record.label for record in same]
    for name, values in list(lines.items())[:_MOST_LINES]:
        chart.add(name, values)
    return chart


def _size(rows: int, title: str) -> dict[str, Any]:
    return {
        "title": title,
        "style": _STYLE,
        "width": _WIDTH,
        "height": _HEAD_HEIGHT + _ROW_HEIGHT * rows,
        "legend_at_bottom": True,
        "truncate_label": 60,
        "truncate_legend": 40,
        "js": [],  # nothing is loaded from elsewhere when the file is looked at
    }
