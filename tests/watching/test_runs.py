"""What the watch says of runs, by a server that plays Airflow's REST interface."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from concordance.errors import Misconfigured, Unavailable
from concordance.operations.alerts import AlertKind
from concordance.operations.slas import Slas, load_slas
from concordance.settings import Settings
from concordance.watching.airflow import open_airflow
from concordance.watching.late import source_of
from concordance.watching.runs import RunsWatcher
from support.played_airflow import PlayedAirflow, played_airflow
from support.stacks import free_ports

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
LIMITS = """
[[sla]]
dag = "concordance_ingest"
run_seconds = 3600
[[sla]]
dag = "concordance_ingest"
stage = "load"
attempt_seconds = 600
done_seconds = 1800
"""


@pytest.fixture
def airflow() -> Iterator[PlayedAirflow]:
    with played_airflow() as played:
        yield played


@pytest.fixture
def slas(tmp_path: Path) -> Slas:
    file = tmp_path / "slas.toml"
    file.write_text(LIMITS)
    return load_slas(Settings(slas_file=file))


@pytest.fixture
def watcher(airflow: PlayedAirflow, slas: Slas) -> RunsWatcher:
    return watcher_of(airflow.url, slas)


def watcher_of(url: str, slas: Slas, **given: object) -> RunsWatcher:
    settings = Settings(
        airflow_url=url, airflow_password="w-secret", airflow_page_url="https://data.example/airflow", **given
    )
    return RunsWatcher(open_airflow(settings), slas, settings)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def found(watcher: RunsWatcher) -> list[tuple[AlertKind, str]]:
    return [(breach.kind, breach.actual) for breach in watcher.look(NOW)]


def test_runs_in_time_cost_one_question_for_those_under_way_and_one_for_those_that_failed(
    airflow: PlayedAirflow, watcher: RunsWatcher
) -> None:
    for number in range(40):
        airflow.run(f"r{number}", "running", ago(500))
    assert watcher.look(NOW) == []
    assert airflow.asked == ["/auth/token", *["/api/v2/dags/~/dagRuns/list"] * 2]


def test_a_run_is_late_whether_it_runs_or_still_waits_in_the_queue(
    airflow: PlayedAirflow, watcher: RunsWatcher
) -> None:
    airflow.run("long", "running", ago(3700))
    airflow.run("waits", "queued", ago(3600))
    airflow.run("young", "running", ago(3599))
    airflow.run("done", "success", ago(90_000))
    airflow.run("somebody elses", "running", ago(90_000), dag_id="theirs")
    late = [breach for breach in watcher.look(NOW) if breach.kind is AlertKind.RUN_LATE]
    assert [dict(breach.subject) for breach in late] == [
        {"dag": "concordance_ingest", "run": "long", "source": "notes"},
        {"dag": "concordance_ingest", "run": "waits", "source": "notes"},
    ]
    assert [breach.since for breach in late] == [ago(100), ago(0)]
    assert late[0].expected == "done 3600 s after it was queued"
    assert late[0].actual == "running for 3700 s"
    assert late[0].link == "https://data.example/airflow/dags/concordance_ingest/runs/long"


@pytest.mark.parametrize("source", ["x" * 64, "a\0b", "Notes", "two words", "", 5, None])
def test_what_a_conf_names_and_no_declaration_could_is_no_source(source: object) -> None:
    assert source_of({"source": source}) is None
    assert source_of({"source": "notes-2_a"}) == "notes-2_a"


def test_without_any_limit_a_failed_run_of_ours_is_told_of_and_nobody_elses(airflow: PlayedAirflow) -> None:
    airflow.run("ours", "failed", ago(500), end_date=ago(400).isoformat(), dag_id="concordance_erase")
    airflow.run("theirs", "failed", ago(500), end_date=ago(400).isoformat(), dag_id="theirs")
    assert [breach.subject["run"] for breach in watcher_of(airflow.url, Slas()).look(NOW)] == ["ours"]


def test_a_run_that_was_cleared_counts_from_its_new_start(airflow: PlayedAirflow, watcher: RunsWatcher) -> None:
    airflow.run("cleared", "running", ago(90_000), queued_at=ago(100).isoformat())
    assert watcher.look(NOW) == []


def test_a_stage_is_late_if_it_never_started_waits_or_hangs_and_not_if_it_is_over(
    airflow: PlayedAirflow, watcher: RunsWatcher
) -> None:
    for state in (None, "scheduled", "queued", "up_for_retry", "deferred", "awaiting_input"):
        airflow.instance(airflow.run(f"is {state}", "running", ago(1900)), "load", state)
    for state in ("success", "failed", "skipped", "upstream_failed", "removed"):
        airflow.instance(airflow.run(f"is {state}", "running", ago(1900)), "load", state)
    late = watcher.look(NOW)
    assert {breach.kind for breach in late} == {AlertKind.STAGE_LATE}
    runs = [breach.subject["run"].removeprefix("is ") for breach in late]
    assert sorted(runs) == sorted(["None", "scheduled", "queued", "up_for_retry", "deferred", "awaiting_input"])
    (never,) = [breach for breach in late if breach.subject["run"] == "is None"]
    assert never.actual == "not done after 1900 s: load not started"
    assert never.subject["stage"] == "load"


def test_of_a_mapped_stage_the_shards_that_are_left_are_named(airflow: PlayedAirflow, watcher: RunsWatcher) -> None:
    run = airflow.run("mapped", "running", ago(1900))
    for shard in range(9):
        airflow.instance(run, "load", "success" if shard == 4 else "queued", map_index=shard)
    ((kind, actual),) = found(watcher)
    assert kind is AlertKind.STAGE_LATE
    left = ", ".join(f"load shard {shard} queued" for shard in (0, 1, 2, 3, 5))
    assert actual == f"not done after 1900 s: {left} and 3 more"


def test_an_attempt_is_slow_from_its_own_start_and_only_while_it_runs(
    airflow: PlayedAirflow, watcher: RunsWatcher
) -> None:
    run = airflow.run("one", "running", ago(1000))
    slow = {"map_index": 3, "try_number": 2, "start_date": ago(601).isoformat()}
    airflow.instance(run, "load", "running", **slow)
    airflow.instance(run, "load", "running", map_index=4, start_date=ago(599).isoformat())
    airflow.instance(run, "load", "up_for_retry", map_index=5, start_date=ago(900).isoformat())
    airflow.instance(run, "load", "queued", map_index=6)
    airflow.instance(run, "plan", "running", start_date=ago(900).isoformat())
    (breach,) = watcher.look(NOW)
    assert breach.kind is AlertKind.ATTEMPT_SLOW
    assert (breach.subject["shard"], breach.subject["attempt"]) == ("3", "2")
    assert breach.actual == "running for 601 s"
    assert breach.link.endswith("/runs/one/tasks/load/mapped/3")


def test_a_failed_run_stands_until_a_later_one_of_its_source_succeeds_or_it_is_cleared(
    airflow: PlayedAirflow, watcher: RunsWatcher
) -> None:
    failed = airflow.run("failed", "failed", ago(500), end_date=ago(400).isoformat())
    airflow.instance(failed, "extract", "failed", map_index=1)
    airflow.run("before", "success", ago(600), end_date=ago(550).isoformat())
    airflow.run("other", "success", ago(100), end_date=ago(50).isoformat(), conf={"source": "archive"})
    airflow.run("old", "failed", ago(900_000), end_date=ago(800_000).isoformat())
    assert found(watcher) == [(AlertKind.RUN_FAILED, "failed after 100 s: extract shard 1 failed")]
    asked = len(airflow.asked)
    assert len(watcher.look(NOW)) == 1
    assert len(airflow.asked) == asked + 3, "what failed does not change: it is asked for once"
    failed["state"] = "running"
    assert watcher.look(NOW) == []
    failed["state"] = "failed"
    airflow.run("after", "success", ago(90), end_date=ago(80).isoformat())
    assert watcher.look(NOW) == []


def test_many_runs_are_read_page_by_page_and_never_more_than_the_limit(airflow: PlayedAirflow, slas: Slas) -> None:
    airflow.page = 50
    for number in range(230):
        airflow.run(f"r{number}", "running", ago(4000 + number))
    whole = watcher_of(airflow.url, slas)
    assert sum(breach.kind is AlertKind.RUN_LATE for breach in whole.look(NOW)) == 230
    with pytest.raises(Unavailable, match="230 dag_runs, and the watch reads 120: raise watch_max_runs"):
        watcher_of(airflow.url, slas, watch_max_runs=120).look(NOW)


def test_a_list_that_changes_between_two_pages_tells_nothing(airflow: PlayedAirflow, watcher: RunsWatcher) -> None:
    """A run that ends takes the first of the next page to the page before, which was read already."""
    airflow.page = 50
    for number in range(120):
        airflow.run(f"r{number}", "running", ago(4000 + number))

    def ends(body: dict[str, Any]) -> None:
        if body["page_offset"] == 50:
            airflow.runs[-1]["state"] = "success"

    airflow.paged = ends
    with pytest.raises(Unavailable, match="changed in Airflow while it was read"):
        watcher.look(NOW)
    assert len(watcher.look(NOW)) == 119


WHOLE = {"source": "notes"}


@pytest.mark.parametrize(
    ("dag", "failed", "later", "is_good"),
    [
        (
            "concordance_ingest",
            WHOLE,
            {"source": "notes", "mode": "incremental", "approved": True, "subpath": ""},
            True,
        ),
        ("concordance_ingest", WHOLE, {**WHOLE, "correlation_id": "0123456789abcdef", "reason": None}, True),
        ("concordance_ingest", WHOLE, {**WHOLE, "dry_run": True}, False),
        ("concordance_ingest", WHOLE, {**WHOLE, "subpath": "guides"}, False),
        ("concordance_ingest", WHOLE, {**WHOLE, "only_quarantined": True}, False),
        ("concordance_ingest", WHOLE, {**WHOLE, "max_documents": 5}, False),
        ("concordance_ingest", {**WHOLE, "mode": "full"}, WHOLE, False),
        ("concordance_ingest", {**WHOLE, "subpath": "guides"}, WHOLE, True),
        ("concordance_ingest", {**WHOLE, "sauce": "refused"}, WHOLE, True),
        ("concordance_ingest", {**WHOLE, "only_quarantined": True}, WHOLE, False),
        ("concordance_nightly_reindex", {"chunk_max_tokens": 500}, {}, False),
        ("concordance_erase", {"tenant": "acme"}, {"tenant": "other"}, False),
        ("concordance_erase", {"tenant": "acme"}, {"tenant": "acme"}, True),
        ("concordance_index", {"action": "publish", "version": 2}, {"action": "publish", "version": 3}, False),
        ("concordance_reconcile", None, {}, True),
    ],
)
def test_a_failed_run_is_made_good_only_by_one_that_did_what_it_was_asked_for(
    airflow: PlayedAirflow,
    watcher: RunsWatcher,
    dag: str,
    failed: dict[str, Any] | None,
    later: dict[str, Any],
    is_good: bool,
) -> None:
    airflow.run("failed", "failed", ago(500), end_date=ago(400).isoformat(), dag_id=dag, conf=failed)
    airflow.run("later", "success", ago(90), end_date=ago(80).isoformat(), dag_id=dag, conf=later)
    assert (watcher.look(NOW) == []) is is_good


def test_a_later_run_whose_plan_was_rejected_makes_nothing_good(airflow: PlayedAirflow, watcher: RunsWatcher) -> None:
    airflow.run("failed", "failed", ago(500), end_date=ago(400).isoformat())
    later = airflow.run("later", "success", ago(90), end_date=ago(80).isoformat())
    behind = airflow.instance(later, "begin", "skipped")
    assert [breach.subject["run"] for breach in watcher.look(NOW)] == ["failed"]
    behind["state"] = "success"
    airflow.instance(later, "extract", "skipped")
    assert watcher.look(NOW) == []


@pytest.mark.parametrize("refusal", [401, 403])
def test_a_token_that_is_refused_is_renewed_and_a_wrong_password_says_so(
    airflow: PlayedAirflow, watcher: RunsWatcher, slas: Slas, refusal: int
) -> None:
    airflow.refusal = refusal
    assert watcher.look(NOW) == []
    airflow.token = "another"
    assert watcher.look(NOW) == []
    assert airflow.logins == 2
    settings = Settings(airflow_url=airflow.url, airflow_password="wrong")
    with pytest.raises(Misconfigured, match="refuses POST /auth/token with 401"):
        RunsWatcher(open_airflow(settings), slas, settings).look(NOW)


def test_an_airflow_that_answers_nothing_good_is_unavailable(airflow: PlayedAirflow, watcher: RunsWatcher) -> None:
    airflow.status = 500
    with pytest.raises(Unavailable, match="answers 500"):
        watcher.look(NOW)


def test_an_airflow_that_is_not_there_is_unavailable(slas: Slas) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        watcher_of(f"http://127.0.0.1:{free_ports(1)[0]}", slas).look(NOW)
