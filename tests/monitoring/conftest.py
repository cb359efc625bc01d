"""A running exporter for the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.monitoring import Exporter, running_exporter


@pytest.fixture
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """A new one for each test: it starts in less than a second and has counted nothing."""
    with running_exporter(tmp_path_factory.mktemp("exporter")) as exporter:
        yield exporter
