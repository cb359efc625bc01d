"""What the tests of the watch and of the delivery look at: the metrics that were sent, and what a webhook was told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from concordance.operations import telemetry
from support.alerting import Kept
from support.receivers import Receiver, webhook


@pytest.fixture
def kept() -> Iterator[Kept]:
    backend = Kept()
    previous = telemetry.use(backend)
    yield backend
    telemetry.use(previous)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with webhook() as receiver:
        yield receiver
