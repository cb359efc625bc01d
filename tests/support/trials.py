"""The table of `make faults`: fault, engine, trials, violations, seconds. A pytest plugin, loaded by tests/conftest.py.

A test reports in one of two ways:

- the mark `@pytest.mark.fault("F01", engine="memory")`, on a test, a class or a file (`pytestmark = ...`): each test is
  one trial;
- the fixture `record_trials`: `record_trials("F03", engine="embedded")` at the start of each trial of a loop, or once
  with numbers, `record_trials("F24", engine="embedded", trials=100, violations=0)`. It takes the place of the mark.

A test that fails counts as one violation, on the row that it reported last. What the test took, without its fixtures,
is spread over its rows. The table stands at the end of pytest's output. Where `CONCORDANCE_FAULTS_TABLE` names a file,
the rows are written there as JSON, each with its date and commit, and beside it as Markdown; rows of faults that did
not run stay, so that the suite may run in parts.

`CONCORDANCE_FAULTS=full` (set by `make faults`) asks for the full number of trials, `CONCORDANCE_TRIALS=n` for another
number, `CONCORDANCE_FIRST_SEED=n` for other seeds: see `count` and `seeds`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

FULL = "CONCORDANCE_FAULTS"
TRIALS = "CONCORDANCE_TRIALS"
TABLE = "CONCORDANCE_FAULTS_TABLE"
FIRST_SEED = "CONCORDANCE_FIRST_SEED"
_FROM_WORKER = "concordance_trials"
_FAULTS = Path(__file__).resolve().parents[1] / "faults"


def is_full() -> bool:
    """Whether this is the long run of `make faults`."""
    return os.environ.get(FULL) == "full"


def count(default: int, *, full: int) -> int:
    """How many trials to make: `default` among all tests, `full` by `make faults`, or what the environment says."""
    asked = os.environ.get(TRIALS)
    if asked is not None and is_full():
        return int(asked)
    return full if is_full() else default


def seeds(default: int, *, full: int) -> range:
    """As many seeds as `count` says, from `CONCORDANCE_FIRST_SEED` on. A failing test names its seed in its message."""
    first = int(os.environ.get(FIRST_SEED, "0"))
    return range(first, first + count(default, full=full))


class RecordTrials(Protocol):
    def __call__(self, fault: str, *, engine: str, trials: int = 1, violations: int = 0) -> None: ...


@dataclass(slots=True)
class Row:
    """One line of the table; `date` and `commit` are those of its last test."""

    fault: str
    engine: str
    trials: int = 0
    violations: int = 0
    seconds: float = 0.0
    date: str = ""
    commit: str = ""


Rows = dict[tuple[str, str], Row]
_rows = pytest.StashKey[Rows]()
_reported = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture
def record_trials(request: pytest.FixtureRequest) -> RecordTrials:
    """`record_trials(fault, *, engine, trials=1, violations=0)`: see this module's text."""

    def record(fault: str, *, engine: str, trials: int = 1, violations: int = 0) -> None:
        _add(request.node, fault, engine, trials=trials, violations=violations)

    return record


def _add(item: pytest.Item, fault: str, engine: str, *, trials: int, violations: int) -> None:
    key = (fault, engine)
    row = item.config.stash[_rows].setdefault(key, Row(fault, engine))
    row.trials += trials
    row.violations += violations
    reported = item.stash.setdefault(_reported, [])
    if key in reported:
        reported.remove(key)
    reported.append(key)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_rows] = {}
    config.addinivalue_line("markers", "fault(id, engine): a fault's trial, a row in the table of `make faults`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m fault` chooses whatever reports trials, and all of tests/faults."""
    for item in items:
        reports = "record_trials" in getattr(item, "fixturenames", ())
        if (reports or item.path.is_relative_to(_FAULTS)) and item.get_closest_marker("fault") is None:
            item.add_marker("fault")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of several hands its rows to the process that prints the table."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output[_FROM_WORKER] = [asdict(row) for row in session.config.stash[_rows].values()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    rows: Rows = node.config.stash[_rows]
    for given in getattr(node, "workeroutput", {}).get(_FROM_WORKER, ()):
        theirs = Row(**given)
        row = rows.setdefault((theirs.fault, theirs.engine), Row(theirs.fault, theirs.engine))
        row.trials += theirs.trials
        row.violations += theirs.violations
        row.seconds += theirs.seconds


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    mark = item.get_closest_marker("fault")
    if mark is not None and (call.when == "call" or report.failed):
        _close(item, mark, report)
    return report


def _close(item: pytest.Item, mark: pytest.Mark, report: pytest.TestReport) -> None:
    if report.skipped:
        return
    reported = item.stash.setdefault(_reported, [])
    if not reported and mark.args:
        _add(item, mark.args[0], mark.kwargs["engine"], trials=1, violations=0)
    rows = [item.config.stash[_rows][key] for key in reported]
    for row in rows:
        row.seconds += report.duration / len(rows)
    if rows and report.failed:
        rows[-1].violations += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = sorted(config.stash[_rows].values(), key=lambda row: (row.fault, row.engine))
    if not rows:
        return
    for row in rows:
        row.date, row.commit = f"{datetime.now(UTC):%Y-%m-%d}", _commit(config.rootpath)
    terminalreporter.section("faults")
    for line in _lines(rows):
        terminalreporter.write_line(line)
    if path := os.environ.get(TABLE):
        _write(config.rootpath / path, rows)


def _lines(rows: list[Row]) -> list[str]:
    head = ("fault", "engine", "trials", "violations", "seconds")
    body = [(row.fault, row.engine, f"{row.trials:,}", f"{row.violations:,}", f"{row.seconds:,.0f}") for row in rows]
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(cells))
        for cells in (zip(line, widths, strict=True) for line in (head, *body))
    ]


def _write(path: Path, rows: list[Row]) -> None:
    """Merge the rows into those that earlier parts of the suite left there."""
    kept = [Row(**row) for row in json.loads(path.read_text())["rows"]] if path.exists() else []
    merged = {(row.fault, row.engine): row for row in (*kept, *rows)}
    ordered = [merged[key] for key in sorted(merged)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rows": [asdict(row) for row in ordered]}, indent=1) + "\n")
    lines = ["| fault | engine | trials | violations | seconds | date | commit |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row.fault} | {row.engine} | {row.trials:,} | {row.violations:,} | {row.seconds:,.0f} "
        f"| {row.date} | {row.commit} |"
        for row in ordered
    ]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def _commit(root: Path) -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, timeout=30, check=False
    )
    return asked.stdout.strip() or "unknown"
