"""What a gate's result becomes on its page: facts and bounded tables, whatever the gate says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from concordance.ledger.verdicts import Verdict
from concordance.serving.gate_results import GatePage, Table, described

VERDICT = Verdict("run-1", "manuals", "published", "documents", {}, datetime(2026, 11, 22, 4, 5, 6, tzinfo=UTC))


def page_of(result: dict[str, Any], *, most_rows: int = 10) -> GatePage:
    return described(VERDICT, result, most_rows=most_rows)


def table(result: dict[str, Any], *, most_rows: int = 10) -> Table:
    (only,) = page_of(result, most_rows=most_rows).tables
    return only


def test_a_result_that_says_nothing_is_a_page_with_what_the_ledger_knows() -> None:
    page = page_of({})
    assert (page.passed, page.verdict, page.message, page.tables) == (None, "not known", "", ())
    assert dict(page.facts) == {
        "run": "run-1",
        "source": "manuals",
        "state of the run": "published",
        "verdict at": "2026-11-22 04:05:06 UTC",
        "documents rejected": "0",
    }


def test_single_values_are_facts_in_words() -> None:
    facts = dict(page_of({"evaluated": 12_345, "canaries_agree": True, "started": None, "share": 0.25}).facts)
    assert facts["documents evaluated"] == "12,345"
    assert (facts["canaries agree"], facts["started"], facts["share"]) == ("yes", "–", "0.25")


def test_a_mapping_of_counts_is_a_table_of_two_columns() -> None:
    shown = table({"failed_expectations": {"unique(document_id)": 1200}})
    assert shown == Table("failed expectations", ("expectation", "failed rows"), (("unique(document_id)", "1,200"),), 0)


def test_a_mapping_of_records_and_a_list_of_records_have_a_column_for_each_key_that_occurs() -> None:
    records = {"a": {"rows_evaluated": 10, "rows_failed": 1}, "b": {"rows_evaluated": 10, "skipped": True}}
    shown = table({"expectations": records})
    assert shown.columns == ("name", "rows evaluated", "rows failed", "skipped")
    assert shown.rows == (("a", "10", "1", "–"), ("b", "10", "–", "yes"))
    listed = table({"expectations": [{"name": "a", "rows_failed": 1}]})
    assert (listed.columns, listed.rows) == (("name", "rows failed"), (("a", "1"),))


def test_a_table_says_how_many_rows_it_does_not_show() -> None:
    shown = table({"warnings": [f"warning {number}" for number in range(9)]}, most_rows=4)
    assert (len(shown.rows), shown.more) == (4, 5)


def test_of_rejected_documents_all_are_counted_where_only_some_are_named() -> None:
    rejected = {f"document-{number}": "gate_documents" for number in range(5)}
    page = page_of({"passed": True, "rejected": rejected, "rejected_documents": 1200}, most_rows=3)
    assert page.verdict == "passed, some documents rejected"
    assert dict(page.facts)["documents rejected"] == "1,200"
    (shown,) = page.tables
    assert (shown.columns, len(shown.rows), shown.more) == (("document", "reason"), 3, 1197)


def test_expectations_are_listed_once() -> None:
    expectation = {"expectation": "unique(uri)", "evaluated": 5, "failed": 1}
    shown = table({"failed_expectations": {"unique(uri)": 1}, "expectations": [expectation]})
    assert (shown.columns, shown.rows) == (("expectation", "evaluated", "failed"), (("unique(uri)", "5", "1"),))


def test_what_lies_deeper_is_counted_and_not_shown() -> None:
    assert table({"sources": {"manuals": ["a", "b"]}}).rows == (("manuals", "2 entries"),)


def test_an_empty_table_stays_as_the_answer_that_there_is_none() -> None:
    assert table({"rejected": {}}) == Table("documents that go to quarantine", (), (), 0)
