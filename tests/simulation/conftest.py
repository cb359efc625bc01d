"""The simulator's ledger is a real PostgreSQL that nobody kills."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from concordance.settings import Settings
from support.ledgers import unflushed


@pytest.fixture(scope="package", autouse=True)
def _unflushed(stack: Settings) -> Iterator[None]:
    with unflushed(stack):
        yield
