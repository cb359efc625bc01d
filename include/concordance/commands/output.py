"""How commands answer: tables for people, one JSON value for programs. Answers go to standard output, all else to
standard error.

Titles and uris come from outside: control characters are taken out before a terminal sees them, and nothing is read as
markup.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

_PIPE_COLUMNS = 160


def printable(text: str) -> str:
    """`text` on one line, without characters that a terminal would obey."""
    shown = (" " if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Cn") else one for one in text)
    return " ".join("".join(shown).split())


def print_json(value: Any) -> None:
    # Escaped, so that every terminal's and pipe's encoding carries it.
    print(json.dumps(value, indent=2, sort_keys=False, ensure_ascii=True, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table as wide as the terminal; into a pipe, 160 columns. Long cells are folded, never cut."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column.endswith("#") else "left")
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    _console().print(table)


def print_lines(*lines: tuple[str, str]) -> None:
    """Lines of (text, style), wrapped at the terminal's width."""
    from rich.text import Text

    console = _console()
    for text, style in lines:
        console.print(Text(text, style=style))


def say(line: str) -> None:
    """Progress, for people: standard error."""
    print(printable(line), file=sys.stderr, flush=True)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return printable(str(value))


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False, markup=False, emoji=False)
