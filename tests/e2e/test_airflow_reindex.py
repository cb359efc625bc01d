"""Nights through a real Airflow: a version is built beside the live one, refused, published, taken back, dropped."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from concordance.chunking.words import common_words
from concordance.consistency import erase
from concordance.consistency.erase import EraseRequest
from concordance.ledger.erasure_scope import Scope
from concordance.pipeline.adapters import open_adapters
from concordance.reindex.listing import list_versions
from concordance.watching.airflow import RunState, TaskState
from support.house import House
from support.ledgers import connect, held_document, move_clock
from support.trials import RecordTrials, is_full
from support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

NIGHT = "concordance_nightly_reindex"
VERSION = "concordance_index"
INGEST = "concordance_ingest"
BUILT = ["plan", "remake", "check_documents", "embed", "check_chunks", "load", "check_stores", "commit"]
SWAPPED = ["catch_up", "check_parity", "check_relevance", "publish"]
ARTICLES = 16
# Titles and headings stand in a chunk's header alone: without it, nothing is found by them.
HEADLESS = {"mode": "rebuild", "header_max_tokens": 0}
SMALLER = {"chunk_min_tokens": 40, "chunk_max_tokens": 90}


def articles() -> dict[str, str]:
    rng = random.Random(6)
    words = sorted(word for word in common_words() if len(word) > 4 and word.isalpha())
    rng.shuffle(words)
    names, spoken = words[: len(words) // 2], words[len(words) // 2 :]

    def sentence() -> str:
        return " ".join(rng.sample(spoken, 9)).capitalize() + "."

    def section() -> str:
        return f"## {' '.join(rng.sample(names, 3))}\n\n" + " ".join(sentence() for _ in range(12))

    return {
        f"article_{number:02}": f"# {' '.join(rng.sample(names, 3))}\n\n" + "\n\n".join(section() for _ in range(3))
        for number in range(ARTICLES)
    }


def test_a_version_is_refused_another_one_published_and_taken_back(
    house: House, documents: Callable[..., Path], record_trials: RecordTrials
) -> None:
    documents("shelf", **articles())
    house.ingested("shelf")
    first = versions(house, "live")
    refused = a_version_that_finds_worse_is_refused_and_nothing_changes(house, first)
    what_a_person_rejects_changes_nothing(house, refused, first)
    record_trials("F03", engine="airflow")
    (second,) = another_one_goes_live_though_its_loader_dies_and_an_ingest_goes_on(house, documents)
    assert versions(house, "retired")[-1:] == first
    documents("desk", later="# Later\n\nIt came when the next version was live.\n")
    assert house.ingested("desk").counts["committed"] == 1
    what_was_erased_does_not_come_back_with_the_version_before(house, first[0])
    a_person_lets_the_other_one_go(house, second)
    a_night_without_changes_builds_nothing_and_takes_away_what_is_due(house, first[0], due=(refused, second))


def a_version_that_finds_worse_is_refused_and_nothing_changes(house: House, live: list[int]) -> int:
    before = house.live_in_graph("shelf")
    ended = night(house, **HEADLESS)
    assert ended.state == "failed"
    states = ended.states()
    assert {states[task] == {"success"} for task in (*BUILT, "catch_up", "check_parity")} == {True}
    assert [task for task, found in states.items() if found == {"failed"}] == ["check_relevance"]
    assert states["publish"] == states["drop"] == {"upstream_failed"}
    (why,) = house.why(ended, dag_id=NIGHT)
    assert "is not published, relevance:" in why
    assert f"version {live[0]} stays live" in why
    agreed(house)
    assert versions(house, "live") == live
    assert house.live_in_graph("shelf") == before
    page = gate_page(house, ended.run_id, "check_relevance")
    assert "Gate relevance: failed" in page
    said = [line.strip("# ") for text in articles().values() for line in text.splitlines() if line]
    assert not [line for line in said if line in page]
    assert "Gate parity: passed" in gate_page(house, ended.run_id, "check_parity")
    (refused,) = versions(house, "building")
    return refused


def what_a_person_rejects_changes_nothing(house: House, version: int, live: list[int]) -> None:
    run_id = house.api.trigger(VERSION, {"action": "publish", "version": version, "accepts": "a test"})
    house.reached(run_id, "approve", "awaiting_input", dag_id=VERSION)
    path = f"/api/v2/dags/{VERSION}/dagRuns/{quote(run_id, safe='')}/taskInstances/approve/-1/hitlDetails"
    asked = house.api.call("GET", path)
    assert asked["subject"] == f"publish index version {version}?"
    assert f"\n| this one | {version} | building | " in asked["body"]
    assert "Its last build ended as refused: " in asked["body"]
    house.answer(run_id, "Reject", dag_id=VERSION)
    ended = house.finished(run_id, dag_id=VERSION)
    assert (ended.state, ended.states()["act"]) == ("success", {"skipped"})
    assert (versions(house, "live"), versions(house, "building")) == (live, [version])


def another_one_goes_live_though_its_loader_dies_and_an_ingest_goes_on(
    house: House, documents: Callable[..., Path]
) -> list[int]:
    chunks = len(house.live_in_graph("shelf"))
    run_id = house.api.trigger(NIGHT, {"mode": "rebuild", **SMALLER})
    with held_document(house.settings, source="shelf", uri=f"{max(articles())}.md") as is_waited_for:
        house.reached(run_id, "plan", "success", dag_id=NIGHT)
        documents("desk", late="# Late\n\nIt came while the next version was built beside the live one.\n")
        beside = house.api.trigger(INGEST, {"source": "desk"})
        kill_the_loader(house, run_id, is_waited_for)
    ended = house.finished(run_id, dag_id=NIGHT)
    assert ended.state == "success", house.why(ended, dag_id=NIGHT)
    assert max(task.try_number for task in ended.tasks if task.task_id == "load") == 2
    assert house.finished(beside).state == "success"
    agreed(house)
    assert {uri for uri, _, _ in house.live_in_graph("shelf")} == {f"{name}.md" for name in articles()}
    assert len(house.live_in_graph("shelf")) > chunks
    assert {uri for uri, _, _ in house.live_in_graph("desk")} == {"late.md"}
    with open_adapters(house.settings) as adapters:
        said = adapters.ledger.building.get(run_id).report
    assert said is not None
    assert said["parity"]["passed"]
    assert said["relevance"]["passed"]
    assert house.api.result(NIGHT, run_id, "report")["version"] == versions(house, "live")[0]
    return versions(house, "live")


def kill_the_loader(house: House, run_id: str, is_stopped: Callable[[], bool]) -> None:
    """Once some documents of the next version are in both stores, and it is stopped before the others: a load that has
    done all may run for a moment yet, and is not begun again."""

    def loaded() -> int:
        with connect(house.settings) as connection:
            row = connection.execute(
                "SELECT count(*) FROM generations JOIN plans USING (plan_id) JOIN runs USING (run_id) "
                "WHERE runs.build_id = %s AND generations.state = 'verified'",
                [run_id],
            ).fetchone()
        assert row is not None
        return int(str(row[0]))

    wait_for(loaded, seconds=600, what="the first batch of the next version")
    wait_for(is_stopped, seconds=300, what="the load's wait for what is held")
    assert kill(running(house, run_id, "load")), "the task was to be killed before it had loaded everything"


def running(house: House, run_id: str, task_id: str) -> list[TaskState]:
    found = house.api.run(NIGHT, run_id).tasks
    return [task for task in found if task.task_id == task_id and task.state == "running" and task.pid]


def kill(tasks: list[TaskState]) -> int:
    killed = 0
    for task in tasks:
        assert task.pid
        with suppress(ProcessLookupError):
            os.kill(task.pid, signal.SIGKILL)
            killed += 1
    return killed


def what_was_erased_does_not_come_back_with_the_version_before(house: House, first: int) -> None:
    with open_adapters(house.settings) as adapters:
        scope = Scope(source="shelf", uri="article_03.md")
        erase.erase(EraseRequest(uuid4(), scope, "a test", "a test"), adapters=adapters, settings=house.settings)
    done = approved(house, action="rollback", version=first)
    assert (done["version"], done["hidden"]) == (first, 0)
    assert versions(house, "live") == [first]
    agreed(house)
    kept = {f"{name}.md" for name in articles()} - {"article_03.md"}
    assert {uri for uri, _, _ in house.live_in_graph("shelf")} == kept
    # What was ingested since is not there yet: the next ingest brings it.
    assert {uri for uri, _, _ in house.live_in_graph("desk")} == {"late.md"}
    assert house.ingested("desk").counts["committed"] == 1
    assert house.ingested("shelf").counts["erased"] == 1
    agreed(house)
    assert {uri for uri, _, _ in house.live_in_graph("desk")} == {"late.md", "later.md"}
    assert {uri for uri, _, _ in house.live_in_graph("shelf")} == kept


def a_person_lets_the_other_one_go(house: House, version: int) -> None:
    done = approved(house, action="drop", version=version)
    assert done["waiting"][str(version)] > 0
    assert counts(house)[version] > 0


def a_night_without_changes_builds_nothing_and_takes_away_what_is_due(
    house: House, live: int, *, due: tuple[int, ...]
) -> None:
    move_clock(house.settings, house.settings.sweep_grace_seconds + house.settings.lease_seconds + 1)
    # What other tests left in the folder that the night refreshes is no change of this night.
    assert house.run("nightly").state == "success"
    before = counts(house)
    ended = night(house)
    assert ended.state == "success", house.why(ended, dag_id=NIGHT)
    states = ended.states()
    assert {task for task, found in states.items() if found == {"skipped"}} == {"begin", *BUILT, *SWAPPED}
    assert house.api.result(NIGHT, ended.run_id, "report")["state"] == "nothing"
    after = counts(house)
    assert {version: after[version] for version in due} == dict.fromkeys(due, 0)
    # A version that another test left may be due as well; of the one that is live nothing goes.
    assert all(after[version] in (number, 0) for version, number in before.items())
    assert (versions(house, "live"), after[live]) == ([live], before[live])
    for version in due:
        gone(house, version)
    agreed(house)


@pytest.mark.skipif(not is_full(), reason="make faults")
def test_a_person_may_publish_what_finds_worse_and_the_next_night_builds_as_the_settings_say(
    house: House, documents: Callable[..., Path]
) -> None:
    documents("shelf", **articles())
    house.ingested("shelf")
    first = versions(house, "live")
    refused = a_version_that_finds_worse_is_refused_and_nothing_changes(house, first)
    done = approved(house, action="publish", version=refused, accepts="the headers are gone for good")
    assert (done["state"], done["accepted"]["why"]) == ("published", "the headers are gone for good")
    assert versions(house, "live") == [refused]
    agreed(house)
    ended = night(house, mode="auto")
    assert ended.state == "success", house.why(ended, dag_id=NIGHT)
    assert house.api.result(NIGHT, ended.run_id, "report")["reasons"] == ["header_max_tokens"]
    assert versions(house, "live")[0] > refused
    agreed(house)


@pytest.mark.skipif(not is_full(), reason="make faults")
def test_every_task_of_a_night_may_be_killed(
    house: House, documents: Callable[..., Path], record_trials: RecordTrials
) -> None:
    documents("shelf", **articles())
    house.ingested("shelf")
    # `ingest` waits in the triggerer, and has tests of its own.
    alive = {"scheduled_sources", "check_live", "begin", *BUILT, *SWAPPED, "drop", "report"}
    # Some take a moment only, and may end before they are struck: another night tries those again.
    for attempt in range(3):
        before = versions(house, "live")
        run_id = house.api.trigger(
            NIGHT, {"mode": "rebuild", "chunk_max_tokens": 100 + attempt, "chunk_min_tokens": 40}
        )
        struck = strike_each(house, run_id, set(alive))
        for _ in struck:
            record_trials("F03", engine="airflow")
        ended = house.finished(run_id, dag_id=NIGHT)
        assert ended.state == "success", house.why(ended, dag_id=NIGHT)
        assert versions(house, "live") > before
        agreed(house)
        alive -= struck
        if not alive:
            break
    assert alive <= {"scheduled_sources", "drop", "report"}, "these were never struck"
    # Other tests begin with a version that is as the settings say, in whatever order they run.
    ended = night(house, mode="auto")
    assert ended.state == "success", house.why(ended, dag_id=NIGHT)
    assert house.api.result(NIGHT, ended.run_id, "report")["state"] == "published"


def strike_each(house: House, run_id: str, alive: set[str]) -> set[str]:
    """Kill the first attempt of each of these tasks that is seen running; returns which were struck."""
    struck: set[str] = set()

    def is_over() -> bool:
        seen = house.api.run(NIGHT, run_id)
        for task in seen.tasks:
            wanted = task.task_id in alive - struck and task.state == "running" and task.pid
            if wanted and task.try_number == 1 and kill([task]):
                struck.add(task.task_id)
        return seen.is_done

    wait_for(is_over, seconds=2000, what="the end of the night")
    return struck


def night(house: House, **conf: Any) -> RunState:
    run_id = house.api.trigger(NIGHT, conf)
    return house.finished(run_id, dag_id=NIGHT)


def approved(house: House, **conf: Any) -> dict[str, Any]:
    """What the task `act` returned, once a person had approved it."""
    run_id = house.api.trigger(VERSION, conf)
    house.answer(run_id, "Approve", dag_id=VERSION)
    ended = house.finished(run_id, dag_id=VERSION)
    assert ended.state == "success", house.why(ended, dag_id=VERSION)
    done: dict[str, Any] = house.api.result(VERSION, run_id, "act")
    return done


def gate_page(house: House, run_id: str, task_id: str) -> str:
    address = house.link(run_id, task_id, "Gate result", dag_id=NIGHT)
    assert address
    status, page = house.visit(address, token=house.token())
    assert status == 200
    return page


def versions(house: House, state: str) -> list[int]:
    with open_adapters(house.settings) as adapters:
        return [each.version for each in adapters.ledger.versions.all() if each.state == state]


def counts(house: House) -> dict[int, int]:
    """The chunks of each version."""
    with open_adapters(house.settings) as adapters:
        return {each.version.version: each.chunks for each in list_versions(adapters=adapters)}


def agreed(house: House) -> None:
    """One version is live, alias and pointer name it, and all that is kept is sound and reads the same."""
    with open_adapters(house.settings) as adapters:
        (live,) = versions(house, "live")
        assert adapters.graph.pointer() == adapters.vectors.pointer() == live
        behind = {each.version.version: each.behind for each in list_versions(adapters=adapters)}
    assert behind[live] == 0
    report = house.verify()
    assert report.is_sound, report.findings
    for source in ("shelf", "desk"):
        assert house.live_in_graph(source) == house.live_in_vectors(source)


def gone(house: House, version: int) -> None:
    """Neither store nor the ledger has anything of it."""
    with open_adapters(house.settings) as adapters:
        dropped = adapters.ledger.versions.get(version)
        assert dropped.state == "dropped"
        assert version not in {*adapters.graph.kept(), *adapters.vectors.kept()}
        with adapters.ledger.snapshot() as snapshot:
            assert snapshot.counts(dropped)["chunks"] == 0
