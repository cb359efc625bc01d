"""`make bench`: every figure of the pipeline in one run, as a table and as JSON in `.concordance/bench.json`.

`python bench/gateway.py` measures the local Qdrant gateway alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from bench import costs, gates, index, pipeline, reconcile, telemetry
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    rooms = (pipeline, gates, index, reconcile, costs, telemetry)
    figures = [figure for room in rooms for figure in room.measure()]
    table = Table("figure", "value", "unit", "bound")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, figure.bound)
    Console().print(table)
    target = ROOT / ".concordance" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
