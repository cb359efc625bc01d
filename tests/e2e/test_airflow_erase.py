"""An erase through a real Airflow: nothing happens before a person approved, and then nothing of the document is left.

It waits for a real grace, so it runs with `make faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from concordance import ids
from concordance.pipeline.adapters import open_adapters
from concordance.watching.airflow import RunState
from support.house import House
from support.ledgers import move_clock
from support.trials import is_full

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

    rejected = house.api.trigger(DAG, {"source": "drafts", "uri": "ann.md"})
    house.answer(rejected, "Reject", dag_id=DAG)
    assert finished(house, rejected).states()["hide"] == {"skipped"}
    assert shown(house) == {"ann.md", "bob.md"}

    approved = house.api.trigger(DAG, {"source": "drafts", "uri": "ann.md", "reason": "ticket 7"})
    house.answer(approved, "Approve", dag_id=DAG)
    assert house.api.result(DAG, approved, "request")["documents"] == 1
    # The wait holds no worker; the ledger's clock is moved on.
    house.reached(approved, "wait", "up_for_reschedule", dag_id=DAG)
    assert shown(house) == {"bob.md"}
    move_clock(house.settings, house.settings.lease_seconds + house.settings.sweep_grace_seconds + 1)
    done = finished(house, approved)
    assert done.state == "success", done
    receipt = house.api.result(DAG, approved, "finish")
    assert receipt["read_back"]["points_in_vectors"] == 0
    assert SECRET not in str(receipt)
    nothing_is_left(house)


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
