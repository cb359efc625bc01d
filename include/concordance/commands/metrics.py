"""`metrics`: every metric with its unit, tags and meaning; the page docs/metrics.md is made by it."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from concordance.commands.common import Add, add_json
from concordance.commands.output import print_json, print_table
from concordance.operations.metrics import METRICS

_COLUMNS = ("metric", "kind", "unit", "tags", "meaning", "in Prometheus")
_HEAD = """\
# Metrics

Every metric of the product, as `python -m concordance metrics --markdown` prints it. Inside Airflow they go through
Airflow's own StatsD client, with its prefix before the name (`airflow.concordance.chunks.written`); outside, to
`statsd_host` with `statsd_prefix` (`concordance.chunks.written`). The last column is the name in Prometheus, the same
for both. A tag's values are declared names and closed lists; what is in none of them becomes `_`.

Where the meaning says *the run's report*, the sum over a run is the figure in the run's report in the ledger, exactly:
it is sent once, also when a stage is repeated, or its process dies after it has done its work and before it could tell.
A dry run, and one that waits for approval, send none of these. A packet that UDP loses is lost.
"""


def add_commands(add: Add) -> None:
    parser = add(
        "metrics",
        show,
        help="every metric that is sent, with its unit, tags and meaning",
        description="Show every metric of the product: name, kind, unit, tags, meaning, and its name in Prometheus.",
    )
    parser.add_argument("--markdown", action="store_true", help="print the page docs/metrics.md")
    add_json(parser)


def show(arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json({"metrics": [{**asdict(one), "prometheus": one.prometheus} for one in METRICS.values()]})
    elif arguments.markdown:
        print(page(), end="")
    else:
        print_table(_COLUMNS, _rows())
    return 0


def page() -> str:
    """docs/metrics.md."""
    rows = [
        f"| `{name}` | {kind} | {unit} | {tags} | {help} | `{told}` |" for name, kind, unit, tags, help, told in _rows()
    ]
    return "\n".join([_HEAD, f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|", *rows, ""])


def _rows() -> list[tuple[str, str, str, str, str, str]]:
    return [
        (one.name, one.kind.value, one.unit.value, ", ".join(one.tags), one.help, one.prometheus)
        for _, one in sorted(METRICS.items())
    ]
