"""Twenty healthy runs on a real Airflow by the limits that are shipped: no alert fires. `make campaign` runs it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.house import House

RUNS = 20

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(os.environ.get("CONCORDANCE_CAMPAIGN") != "1", reason="takes half an hour: make campaign"),
]


def test_no_healthy_run_raises_an_alert(house: House, documents: Callable[..., Path]) -> None:
    for number in range(RUNS):
        documents("notes", **{f"note_{number:02}": f"# Note {number}\n\nIt says the number {number}.\n"})
        ended = house.run("notes")
        assert ended.state == "success", house.why(ended)
        assert house.alerts() == []
