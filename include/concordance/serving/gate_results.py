"""What a gate said in a run, as its page shows it.

The ledger knows which result is the newest, also of a gate that stopped its run; the staging area holds it. It is shown
as it is found (numbers and words as facts, mappings and lists as tables of bounded length), so that a gate may say more
without a change here. A result holds counts, names of expectations and ids by its contract, never text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from concordance.errors import Misconfigured
from concordance.ledger import Ledger, open_ledger
from concordance.ledger.verdicts import Verdict
from concordance.settings import ENVIRONMENT_PREFIX, Settings
from concordance.staging import Artefact, Staging

# What stands above the facts already.
HEAD = ("gate", "passed", "message")
_LABELS = {
    "evaluated": "documents evaluated",
    "rejected": "documents that go to quarantine",
    "rejected_documents": "documents rejected",
    "hnsw": "HNSW against exact search",
    "vectors": "stored vectors against the model",
    "leaks": "points that another tenant's reader must not have",
}
# What the two columns of a mapping hold.
_COLUMNS = {"failed_expectations": ("expectation", "failed rows"), "rejected": ("document", "reason")}


@dataclass(frozen=True, slots=True)
class Table:
    """`more` rows are not shown."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int


@dataclass(frozen=True, slots=True)
class GatePage:
    """`passed` is None when the result does not say; `verdict` says it in words."""

    gate: str
    passed: bool | None
    verdict: str
    message: str
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]


def gate_page(*, run_id: str, gate: str, settings: Settings) -> GatePage | None:
    """The newest result of this gate in this run; None when there is none.

    Raises `Corrupt` when it is gone from the staging area or altered, `Unavailable` within `page_timeout_seconds` when
    the ledger does not answer, `Misconfigured` when it is larger than a page may be.
    """
    with reading(settings) as ledger:
        verdict = ledger.verdicts.newest(run_id=run_id, gate=gate)
    if verdict is None:
        return None
    return described(verdict, kept_result(verdict.artefact, settings), most_rows=settings.page_max_rows)


def kept_result(artefact: Mapping[str, Any], settings: Settings) -> Any:
    """What the artefact holds. Raises `Corrupt` when it is gone or altered, `Misconfigured` when it is too large."""
    kept = Artefact.from_json(dict(artefact))
    if kept.size_bytes > settings.page_max_bytes:
        raise Misconfigured(
            f"The result has {kept.size_bytes:,} bytes, more than a page is made of: read {kept.path} in the staging "
            f"area, or raise {ENVIRONMENT_PREFIX}PAGE_MAX_BYTES"
        )
    return json.loads(Staging(settings.staging).read(kept))


@contextmanager
def reading(settings: Settings) -> Iterator[Ledger]:
    """The ledger, for a reader of a page: who waits for one answer, not for a store to come back."""
    at_most = settings.page_timeout_seconds
    impatient = settings.model_copy(
        update={
            "call_timeout_seconds": at_most,
            "ledger_timeout_seconds": min(at_most, settings.ledger_timeout_seconds),
        }
    )
    with closing(open_ledger(impatient)) as ledger:
        yield ledger


def described(verdict: Verdict, result: Mapping[str, Any], *, most_rows: int) -> GatePage:
    """The result as facts and tables, at most `most_rows` rows each."""
    # Of what it rejected a gate may name a part and count all.
    result = {"rejected_documents": len(result.get("rejected", ())), **result}
    hidden = {*HEAD, "failed_expectations"} if "expectations" in result else HEAD
    said = {name: value for name, value in result.items() if name not in hidden}
    facts = {
        "run": verdict.run_id,
        "source": verdict.source,
        "state of the run": verdict.run_state,
        "verdict at": f"{verdict.at:%Y-%m-%d %H:%M:%S} UTC",
        **{label(name): shown(value) for name, value in said.items() if is_single(value)},
    }
    totals = {"rejected": int(result["rejected_documents"])}
    passed = result.get("passed")
    return GatePage(
        gate=verdict.gate,
        passed=passed,
        verdict=_verdict(passed, has_rejected=totals["rejected"] > 0),
        message=str(result.get("message", "")),
        facts=tuple(facts.items()),
        tables=tables(said, totals=totals, most_rows=most_rows),
    )


def tables(said: Mapping[str, Any], *, totals: Mapping[str, int], most_rows: int) -> tuple[Table, ...]:
    """A table for each value that is none by itself; `totals` are rows in all where the value holds a part of them."""
    return tuple(
        _table(name, value, total=totals.get(name, len(value)), most_rows=most_rows)
        for name, value in said.items()
        if not is_single(value)
    )


def _verdict(passed: bool | None, *, has_rejected: bool) -> str:
    if passed is None:
        return "not known"
    if not passed:
        return "stopped the run"
    return "passed, some documents rejected" if has_rejected else "passed"


def _table(name: str, value: Mapping[str, Any] | Sequence[Any], *, total: int, most_rows: int) -> Table:
    key, single = _COLUMNS.get(name, ("name", "value"))
    records: list[dict[str, Any]] = []
    for each in islice(value.items() if isinstance(value, Mapping) else value, most_rows):
        start, content = ({key: each[0]}, each[1]) if isinstance(value, Mapping) else ({}, each)
        records.append({**start, **(content if isinstance(content, Mapping) else {single: content})})
    columns = tuple(dict.fromkeys(column for record in records for column in record))
    return Table(
        title=label(name),
        columns=tuple(column.replace("_", " ") for column in columns),
        rows=tuple(tuple(shown(record.get(column)) for column in columns) for record in records),
        more=total - len(records),
    )


def is_single(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return value if isinstance(value, str) else f"{len(value):,} entries"


def label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " "))
