"""Whole runs through a real Airflow: what changes in the source is what changes in both stores, and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from concordance.errors import Misconfigured
from support.house import DAG, House, Live
from support.ledgers import connect, held_document
from support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

STAGES = {"extract", "check_documents", "embed", "check_chunks", "load", "check_stores", "publish"}
LEASE = "# Leases\n\nA lease carries a fencing token. It ends by the ledger's clock.\n"
SWEEP = "# Sweep\n\nA sweep deletes what no current generation names, after a grace.\n"
TOKEN = "# Tokens\n\nA tokeniser cuts words into tokens. See [leases](lease.md).\n"
PLANS = "# Plans\n\nA plan names every document that a run may touch.\n"
CHAPTERS = 150
GATES = "# Gates\n\nA gate stands between two stages and looks at the whole run.\n"


def uris(live: Live) -> set[str]:
    return {uri for uri, _, _ in live}


def test_a_run_a_run_without_changes_and_one_edit_one_rename_and_one_delete(
    house: House, documents: Callable[..., Path]
) -> None:
    folder = documents("notes", lease=LEASE, sweep=SWEEP, token=TOKEN, plans=PLANS, gates=GATES)
    before = the_first_run_brings_every_document(house)
    a_run_without_changes_skips_its_stages_and_writes_nothing(house, before)
    (folder / "lease.md").write_text(LEASE.replace("fencing token", "fencing number"))
    (folder / "plans.md").rename(folder / "planning.md")
    (folder / "gates.md").unlink()
    unanswered = house.api.trigger(DAG, {"source": "notes"})
    house.reached(unanswered, "approve", "awaiting_input")
    # It holds nothing while it waits: other runs of the source pass it.
    an_unusual_run_that_a_person_rejects_ends_as_success_and_writes_nothing(house, before)
    one_that_a_person_approves_brings_the_changes_and_nothing_else(house, before)
    one_that_nobody_answers_ends_like_a_rejected_one(house, unanswered)


def the_first_run_brings_every_document(house: House) -> Live:
    ended = house.run("notes")
    assert ended.state == "success", house.why(ended)
    live = house.live_in_graph("notes")
    assert uris(live) == {"lease.md", "sweep.md", "token.md", "plans.md", "gates.md"}
    assert live == house.live_in_vectors("notes")
    assert house.verify().is_sound
    the_task_of_a_gate_leads_to_what_the_gate_said(house, ended.run_id)
    return live


def the_task_of_a_gate_leads_to_what_the_gate_said(house: House, run_id: str) -> None:
    address = house.link(run_id, "check_documents", "Gate result")
    assert address
    status, page = house.visit(address, token=house.token())
    assert status == 200
    assert "Gate documents: passed" in page
    assert "documents evaluated</dt><dd>5</dd>" in page
    assert house.visit(address)[0] == 401
    assert house.visit(address, token=house.token(role=None))[0] == 403
    assert house.link(run_id, "publish", "Gate result") is None


def a_run_without_changes_skips_its_stages_and_writes_nothing(house: House, before: Live) -> None:
    ended = house.run("notes")
    assert ended.state == "success", house.why(ended)
    states = ended.states()
    assert states.pop("plan") == states.pop("begin") == states.pop("report") == {"success"}
    assert states == {stage: {"skipped"} for stage in ("approve", *STAGES)}
    counts = house.report(ended)["counts"]
    assert counts["unchanged"] == counts["discovered"] == 5
    assert counts["embedded"] == counts["chunks"] == 0
    assert house.live_in_graph("notes") == house.live_in_vectors("notes") == before


def an_unusual_run_that_a_person_rejects_ends_as_success_and_writes_nothing(house: House, before: Live) -> None:
    run_id = house.api.trigger(DAG, {"source": "notes"})
    house.answer(run_id, "Reject")
    notice = ended_without_writing(house, run_id)
    assert notice.startswith("Rejected by ")
    assert "2 of 5 known documents of source 'notes' are gone, more than 10%" in notice
    assert house.live_in_graph("notes") == house.live_in_vectors("notes") == before


def ended_without_writing(house: House, run_id: str) -> str:
    """What the report of such a run says."""
    ended = house.finished(run_id)
    assert ended.state == "success", house.why(ended)
    assert {task for task, states in ended.states().items() if states == {"skipped"}} == {"begin", *STAGES}
    report = house.report(ended)
    assert report["state"] == "refused"
    return str(report["notices"][-1])


def one_that_nobody_answers_ends_like_a_rejected_one(house: House, run_id: str) -> None:
    before = house.live_in_graph("notes")
    assert "nobody answered in time" in ended_without_writing(house, run_id)
    assert house.live_in_graph("notes") == house.live_in_vectors("notes") == before


def one_that_a_person_approves_brings_the_changes_and_nothing_else(house: House, before: Live) -> None:
    run_id = house.api.trigger(DAG, {"source": "notes"})
    house.answer(run_id, "Approve")
    ended = house.finished(run_id)
    assert ended.state == "success", house.why(ended)
    assert house.report(ended)["notices"][-1].startswith("Approved by ")
    counts = house.report(ended)["counts"]
    # A renamed document is one that is gone and one that is new; its text is known.
    assert (counts["added"], counts["changed"], counts["deleted"], counts["unchanged"]) == (1, 1, 2, 2)
    live = house.live_in_graph("notes")
    assert live == house.live_in_vectors("notes")
    assert uris(live) == {"lease.md", "sweep.md", "token.md", "planning.md"}
    untouched = {row for row in before if row[0] in ("sweep.md", "token.md")}
    assert untouched <= live
    assert [text for uri, _, text in live if uri == "lease.md" and "fencing number" in text]
    assert not [text for _, _, text in live if "fencing token" in text]
    assert house.verify().is_sound


def test_a_worker_that_is_killed_in_mid_load_is_made_up_for_by_the_next_attempt(
    house: House, documents: Callable[..., Path]
) -> None:
    chapters = {
        f"chapter_{number:03}": f"# Chapter {number}\n\n"
        + "\n\n".join(
            f"## Part {part} of {number}\n\nSentence {part} of chapter {number} says what no other does. " * 6
            for part in range(4)
        )
        for number in range(CHAPTERS)
    }
    documents("archive", **chapters)
    run_id = house.api.trigger(DAG, {"source": "archive"})
    house.reached(run_id, "plan", "success")
    with held_document(house.settings, source="archive", uri=f"{max(chapters)}.md") as is_waited_for:
        killed = kill_the_loading_task(house, run_id, is_waited_for)
    ended = house.finished(run_id)
    assert ended.state == "success", house.why(ended)
    (load,) = [task for task in ended.tasks if task.task_id == "load"]
    assert load.try_number == 2
    assert load.pid != killed
    live = house.live_in_graph("archive")
    assert live == house.live_in_vectors("archive")
    assert uris(live) == {f"{name}.md" for name in chapters}
    assert house.verify().is_sound


def kill_the_loading_task(house: House, run_id: str, is_stopped: Callable[[], bool]) -> int:
    """Kill the load task once some of its documents are in both stores and it is stopped before the others."""

    def loaded() -> int:
        with connect(house.settings) as connection:
            row = connection.execute(
                "SELECT count(*) FROM generations JOIN plans USING (plan_id) "
                "WHERE plans.run_id = %s AND generations.state = 'verified'",
                [run_id],
            ).fetchone()
        assert row is not None
        return int(str(row[0]))

    wait_for(loaded, seconds=900, what="the first loaded batch")
    wait_for(is_stopped, seconds=300, what="the load's wait for what is held")
    (load,) = [task for task in house.api.run(DAG, run_id).tasks if task.task_id == "load"]
    assert load.state == "running"
    assert load.pid is not None
    os.kill(load.pid, signal.SIGKILL)
    assert 0 < loaded() < CHAPTERS, "the task was to be killed before it had loaded everything"
    return load.pid


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ({"source": "elsewhere"}, "elsewhere"),
        ({"source": "notes", "mode": "quick"}, "quick"),
        ({"source": "notes", "subpath": "../../etc"}, "subpath"),
        ({"source": "notes", "dry_run": "perhaps"}, "dry_run"),
        ({}, "source"),
    ],
)
def test_the_form_refuses_bad_input_before_a_run_is_made(house: House, conf: dict[str, str], word: str) -> None:
    with pytest.raises(Misconfigured, match=word):
        house.api.trigger(DAG, conf)


def test_a_run_that_is_late_is_reported_while_it_still_runs(house: House) -> None:
    with house.held("held"):
        run_id = house.api.trigger(DAG, {"source": "held"})
        alert = house.alert("run_late", run_id, seconds=200)
        assert (alert.fired_at - alert.breach.since).total_seconds() < 10
        assert alert.breach.subject["source"] == "held"
        # The deadline of Airflow itself finds the alert open, or was first: one fired.
        said = "a run is past its deadline"

        def is_said() -> bool:
            return any(said in line and run_id in line for line in house.log("airflow-triggerer").splitlines())

        wait_for(is_said, seconds=200, what="the deadline's callback")
        assert not house.api.run(DAG, run_id).is_done
        house.api.end(DAG, run_id)
    house.recovered(alert)
    assert [each.breach.kind for each in house.alerts(run_id) if each.breach.kind == "run_late"] == ["run_late"]


def test_an_unknown_key_fails_in_the_first_task_without_a_second_attempt(house: House) -> None:
    ended = house.run("notes", sauce="extra")
    assert ended.state == "failed"
    assert [task.try_number for task in ended.tasks if task.task_id == "plan"] == [1]
    assert house.why(ended) == [
        "Misconfigured: the run's conf has unknown keys: sauce. Known are: "
        "reason, older_than_hours, source, subpath, mode, dry_run, exact, approved, max_documents, only_quarantined, "
        "correlation_id"
    ]


def test_a_dry_run_reports_its_plan_and_writes_nothing(house: House, documents: Callable[..., Path]) -> None:
    documents("drafts", lease=LEASE, sweep=SWEEP)
    ended = house.run("drafts", dry_run=True)
    assert ended.state == "success", house.why(ended)
    assert {task for task, states in ended.states().items() if states == {"skipped"}} == {"approve", *STAGES}
    report = house.report(ended)
    assert (report["state"], report["counts"]["added"]) == ("planned", 2)
    assert house.live_in_graph("drafts") == house.live_in_vectors("drafts") == set()


def test_pools_and_connections_are_there_and_hide_their_secrets(house: House) -> None:
    pools = {pool["name"]: pool["slots"] for pool in house.api.call("GET", "/api/v2/pools")["pools"]}
    assert pools["concordance_embed"] == 1
    connections = {one["connection_id"]: one for one in house.api.call("GET", "/api/v2/connections")["connections"]}
    assert {"neo4j_default", "qdrant_default", "concordance_ledger"} <= set(connections)
    shown = str(connections)
    for secret in (house.settings.neo4j_password, house.settings.qdrant_api_key, house.settings.ledger_password):
        assert secret.get_secret_value() not in shown


def test_the_nightly_run_ingests_the_scheduled_sources_alone_and_a_replay_tries_again_what_they_rejected(
    house: House, documents: Callable[..., Path]
) -> None:
    documents("nightly", blank="\n\n")
    run_id = house.api.trigger("concordance_nightly_reindex", {})
    *_, ended = house.api.follow("concordance_nightly_reindex", run_id, wait_seconds=600)
    assert ended.state == "success"
    # Documents have changed, nothing that is frozen with the live version has: the night refreshes and builds nothing.
    states = ended.states()
    assert states["ingest"] == states["check_live"] == states["report"] == {"success"}
    assert states["begin"] == states["load"] == states["catch_up"] == states["publish"] == {"skipped"}
    started = house.api.run(DAG, f"{run_id}__nightly")
    assert started.state == "success"
    assert house.report(started)["counts"]["quarantined"] == 1
    with pytest.raises(Misconfigured, match="404"):
        house.api.run(DAG, f"{run_id}__archive")
    documents("nightly", later=SWEEP)
    a_replay_tries_what_was_rejected_and_nothing_else(house)


def a_replay_tries_what_was_rejected_and_nothing_else(house: House) -> None:
    before = house.live_in_graph("nightly")
    run_id = house.api.trigger("concordance_quarantine_replay", {"reason": "no_text"})
    *_, ended = house.api.follow("concordance_quarantine_replay", run_id, wait_seconds=600)
    assert ended.state == "success"
    counts = house.report(house.api.run(DAG, f"{run_id}__nightly"))["counts"]
    assert (counts["quarantined"], counts.get("committed", 0)) == (1, 0)
    assert house.live_in_graph("nightly") == house.live_in_vectors("nightly") == before
