"""Fixtures that every folder of tests may use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings, load_settings
from support.ledgers import empty_ledger
from support.stacks import running, stack_settings

# How long an example takes says more about the machine than about the product.
hypothesis.settings.register_profile(
    "concordance", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("concordance")

pytest_plugins = ("support.trials",)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that mostly waits for Airflow goes first: where files run beside each other, it must not be the last."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files go to processes whole, and those of the end-to-end tests all to one: they share one Airflow."""
    from xdist.scheduler import LoadFileScheduling

    class OneAirflow(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/e2e" if nodeid.startswith("tests/e2e/") else super()._split_scope(nodeid)

    return OneAirflow(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The three stores, running for the whole session; the settings that lead to them, with short leases."""
    with running(stack_settings(tmp_path_factory.mktemp("stack"))) as settings:
        yield settings


@pytest.fixture(scope="session")
def parser() -> Iterator[Parser]:
    """One parser for the tests whose subject is something else: its child takes a moment to start."""
    with Parser(load_settings(environment={})) as parser:
        yield parser


@pytest.fixture
def ledger(stack: Settings) -> Iterator[Ledger]:
    """An empty ledger on the session's PostgreSQL."""
    opened = empty_ledger(stack)
    yield opened
    opened.close()
