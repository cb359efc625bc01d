"""The table of hostile documents: each module holds one family of `CASES`, and runs it alone and in a good batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.settings import Settings, load_settings
from support.hostile import Batch, Canary, Reader, canary_in


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = metafunc.module.CASES
        metafunc.parametrize("case", cases, ids=[case.id for case in cases])


@pytest.fixture(scope="session")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    with canary_in(tmp_path_factory.mktemp("canary")) as canary:
        yield canary


@pytest.fixture(scope="session")
def reader(canary: Canary) -> Iterator[Reader]:
    settings = load_settings({"parser_timeout_seconds": 20}, environment={})
    with Parser(settings) as parser:
        yield Reader(parser, canary, settings)


@pytest.fixture
def batch(tmp_path: Path, ledger: Ledger, stack: Settings, reader: Reader, canary: Canary) -> Batch:
    return Batch(tmp_path / "shelf", ledger=ledger, settings=stack, parser=reader.parser, canary=canary)
