"""An erase through a real Airflow: nothing happens before a person approved, and then nothing of the document is left.

It waits for a real grace, so it runs with `make faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from concordance import ids
from concordance.local.airflow_api import RunState
from concordance.pipeline.adapters import open_adapters
from support.house import House
from support.ledgers import move_clock
from support.trials import is_full
from support.waiting import wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not is_full(), reason="make faults"),
]

DAG = "concordance_erase"
SECRET = "wolframite"


def test_a_person_approves_or_rejects_and_only_then_a_document_is_erased(
    house: House, documents: Callable[..., Path]
) -> None:
    documents("drafts", ann=f"# Ann\n\nAnn digs {SECRET}.\n", bob=f"# Bob\n\nBob digs {SECRET}, see [ann](ann.md).\n")
    ended = house.run("drafts")
    assert ended.state == "success", house.why(ended)
    house.api.await_dag(DAG, wait_seconds=300)

    rejected = asked(house, {"source": "drafts", "uri": "ann.md"})
    answer(house, rejected, "Reject")
    assert finished(house, rejected).states()["hide"] == {"skipped"}
    assert shown(house) == {"ann.md", "bob.md"}

    approved = asked(house, {"source": "drafts", "uri": "ann.md", "reason": "ticket 7"})
    assert house.api.result(DAG, approved, "request")["documents"] == 1
    answer(house, approved, "Approve")
    # The wait holds no worker; the ledger's clock is moved on.
    reached(house, approved, "wait", "up_for_reschedule")
    assert shown(house) == {"bob.md"}
    move_clock(house.settings, house.settings.lease_seconds + house.settings.sweep_grace_seconds + 1)
    done = finished(house, approved)
    assert done.state == "success", done
    receipt = house.api.result(DAG, approved, "finish")
    assert receipt["read_back"]["points_in_vectors"] == 0
    assert SECRET not in str(receipt)
    nothing_is_left(house)


def asked(house: House, conf: dict[str, Any]) -> str:
    run_id = house.api.trigger(DAG, conf)
    reached(house, run_id, "approve", "awaiting_input")
    return run_id


def reached(house: House, run_id: str, task_id: str, state: str) -> None:
    """Wait until the task is in this state; a task that fails meanwhile ends the waiting with its error."""

    def is_there() -> bool:
        tasks = {task.task_id: task for task in house.api.run(DAG, run_id).tasks}
        for task in tasks.values():
            assert task.state not in ("failed", "up_for_retry"), house.api.error_of(DAG, run_id, task)
        return tasks[task_id].state == state

    wait_for(is_there, seconds=300, what=f"{task_id} {state}")


def answer(house: House, run_id: str, option: str) -> None:
    path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/approve/-1/hitlDetails"
    house.api.call("PATCH", path, {"chosen_options": [option], "params_input": {}})


def finished(house: House, run_id: str) -> RunState:
    *_, ended = house.api.follow(DAG, run_id, wait_seconds=600)
    return ended


def shown(house: House) -> set[str]:
    return {uri for uri, _, _ in house.live_in_vectors("drafts")}


def nothing_is_left(house: House) -> None:
    erased = ids.document_id(tenant="acme", source="drafts", uri="ann.md")
    with open_adapters(house.settings) as adapters:
        version = adapters.ledger.versions.live()
        assert version is not None
        assert adapters.ledger.erased([erased]) == {erased}
        for store in (adapters.graph, adapters.vectors):
            assert store.generations_of(version, [erased]) == {}
