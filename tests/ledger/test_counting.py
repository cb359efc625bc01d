"""What was told of a plan is told once; what could not be told is told the next time."""

from __future__ import annotations

from uuid import UUID

import pytest

from concordance.ledger import Ledger
from support.index_rows import index_version


@pytest.fixture
def plan_id(ledger: Ledger) -> UUID:
    created = ledger.versions.create(index_version(1).settings, {"names": []})
    version = ledger.versions.make_first_live(created)
    ledger.runs.open(run_id="run-1", source="manuals", tenant="acme", request={})
    return ledger.plans.draw(run_id="run-1", source="manuals", scope="", version=version).plan_id


def told(ledger: Ledger, plan_id: UUID, **totals: int) -> dict[str, int]:
    with ledger.counting.new(plan_id, totals) as new:
        return new


def test_only_what_exceeds_the_last_time_is_new(ledger: Ledger, plan_id: UUID) -> None:
    assert told(ledger, plan_id, written=3, embedded=0) == {"written": 3}
    assert told(ledger, plan_id, written=3) == {}
    assert told(ledger, plan_id, written=5, embedded=2) == {"written": 2, "embedded": 2}


def test_a_smaller_figure_takes_nothing_back(ledger: Ledger, plan_id: UUID) -> None:
    told(ledger, plan_id, written=5)
    assert told(ledger, plan_id, written=2) == {}
    assert told(ledger, plan_id, written=6) == {"written": 1}


def test_what_could_not_be_told_is_new_again(ledger: Ledger, plan_id: UUID) -> None:
    with pytest.raises(LookupError), ledger.counting.new(plan_id, {"written": 3}):
        raise LookupError
    assert told(ledger, plan_id, written=3) == {"written": 3}
