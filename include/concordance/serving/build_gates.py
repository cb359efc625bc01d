"""What the gates before a swap said in a build, as their pages show it: counts and ids, never text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from concordance.errors import Conflict
from concordance.serving.gate_results import HEAD, GatePage, is_single, kept_result, label, reading, shown, tables
from concordance.settings import Settings


def build_gate_page(*, build_id: str, gate: str, settings: Settings) -> GatePage | None:
    """The newest result of this gate (`parity`, `relevance`) in this build; None when there is none.

    Raises as `gate_results.gate_page`.
    """
    with reading(settings) as ledger:
        try:
            build = ledger.building.get(build_id)
        except Conflict:
            return None
    said = (build.report or {}).get(gate)
    if not isinstance(said, dict) or not said.get("report"):
        return None
    result = kept_result(said["report"], settings)
    page = relevance_page if gate == "relevance" else parity_page
    return page(result, most_rows=settings.page_max_rows)


def parity_page(result: Mapping[str, Any], *, most_rows: int) -> GatePage:
    """The parity gate's result as facts and tables, at most `most_rows` rows each."""
    # The documents that it names are the lost ones; how many there are stands in the counts.
    hidden = (*HEAD, "report", "documents", "counts")
    said = {**result["counts"], **{name: value for name, value in result.items() if name not in hidden}}
    lost = [{"source": source, "document": each} for source, ids in said.pop("lost").items() for each in ids]
    listed = {"lost": lost[:most_rows], "findings": said.pop("findings")}
    passed = bool(result["passed"])
    return GatePage(
        gate="parity",
        passed=passed,
        verdict="passed" if passed else "failed, the live version stays",
        message=str(result["message"]),
        facts=tuple((label(name), shown(value)) for name, value in said.items() if is_single(value)),
        tables=tables(listed, totals={"lost": int(result["lost_documents"])}, most_rows=most_rows),
    )


def relevance_page(report: Mapping[str, Any], *, most_rows: int) -> GatePage:
    """The relevance gate's report as facts and tables, at most `most_rows` rows each; of the queries those whose answer
    got worse come first, then those that got better, as they are kept."""
    queries = [{name: _short(value) for name, value in query.items()} for query in report["queries"][:most_rows]]
    first = {
        "failures": report["failures"],
        "warnings": report["warnings"],
        "comparisons": _columns_first(report["comparisons"], "ranking", "metric", "live", "next", "difference"),
        "queries": _columns_first(queries, "query", "rank_before", "rank_after"),
    }
    # The documents are all in the queries' rows; they stand in the report by themselves for an erase.
    rest = {name: value for name, value in report.items() if name not in (*HEAD, *first, "documents")}
    said = {**first, **rest}
    passed = bool(report["passed"])
    if passed:
        verdict = "passed, but it judges little" if report["judges_little"] else "passed"
    else:
        verdict = "failed, the live version stays"
    return GatePage(
        gate=str(report["gate"]),
        passed=passed,
        verdict=verdict,
        message=str(report["message"]),
        facts=tuple((label(name), shown(value)) for name, value in said.items() if is_single(value)),
        tables=tables(said, totals={"queries": len(report["queries"])}, most_rows=most_rows),
    )


def _columns_first(records: Sequence[Mapping[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{**{name: record[name] for name in names}, **record} for record in records]


def _short(value: Any) -> Any:
    """Document ids by their first digits, in the order in which they were found."""
    return " ".join(str(each)[:8] for each in value) or None if isinstance(value, list) else value
