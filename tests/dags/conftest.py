"""The DAGs as the DAG processor reads them, and the glue that they share."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from support.airflow_home import airflow_environment, parse


@pytest.fixture(scope="session")
def dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The repository's DAGs, parsed once."""
    return parse(tmp_path_factory.mktemp("airflow"))


@pytest.fixture(scope="session")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """`concordance_airflow`, imported with an Airflow home of the tests."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # Airflow's own imports deprecate each other.
        warnings.simplefilter("ignore")
        for name, value in airflow_environment(tmp_path_factory.mktemp("airflow")).items():
            patch.setenv(name, value)
        yield importlib.import_module("concordance_airflow")
