"""One whole Airflow over embedded stores of its own, for all end-to-end tests of a session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from concordance.local import airflow as airflow_programs
from concordance.local import state
from concordance.settings import ROOT
from concordance.watching.airflow import AirflowApi
from support.house import DAG, House
from support.monitoring import Exporter, is_there, running_exporter
from support.receivers import webhook
from support.stacks import running, stack_settings

SOURCES = (
    "notes",
    "archive",
    "drafts",
    "held",
    "nightly",
    "shelf",
    "desk",
    "marked",
    "measured",
    "crawling",
    "queueing",
    "failing",
    "dated",
)
# The product's own limits for all of them, and short ones for those whose alerts a test looks for.
_SLAS = """
[[sla]]
dag = "concordance_ingest"
source = "held"
run_seconds = 5

[[sla]]
dag = "concordance_ingest"
source = "crawling"
stage = "plan"
attempt_seconds = 8

[[sla]]
dag = "concordance_ingest"
source = "queueing"
stage = "plan"
done_seconds = 8
"""
# The one source that the nightly run takes up.
SCHEDULED = "nightly"
# Long enough for a machine with other work; the sweep's grace must be longer than lease and readers.
_TIMES = {"lease_seconds": 30, "call_timeout_seconds": 20, "reader_timeout_seconds": 20, "sweep_grace_seconds": 31}


def _declare(folder: Path) -> Path:
    sources = folder / "sources.toml"
    tables = []
    for name in SOURCES:
        (folder / name).mkdir()
        tables.append(
            f'[[source]]\nname = "{name}"\nkind = "files"\ntenant = "acme"\nlocation = "{folder / name}"\n'
            f'glob = "**/*.md"\ntrust = "own"\nschedule = {"true" if name == SCHEDULED else "false"}\n'
        )
    sources.write_text("\n".join(tables))
    return sources


def _limits(folder: Path) -> Path:
    shipped = ROOT / "include" / "slas.toml"
    if os.environ.get("CONCORDANCE_CAMPAIGN") == "1":
        return shipped
    slas = folder / "slas.toml"
    general = shipped.read_text()
    # The deadline of Airflow itself counts for all sources alike: it is short, and no alert of those that have longer.
    general = general.replace("run_seconds = 5400", "run_seconds = 5", 1)
    longer = "".join(
        f'[[sla]]\ndag = "concordance_ingest"\nsource = "{name}"\nrun_seconds = 5400\n'
        for name in SOURCES
        if name != "held"
    )
    slas.write_text(general + _SLAS + longer)
    return slas


@pytest.fixture(scope="session")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter | None]:
    """Where Airflow and its tasks send their metrics; None where no exporter is found."""
    if not is_there("statsd_exporter"):
        yield None
        return
    with running_exporter(tmp_path_factory.mktemp("exporter")) as exporter:
        yield exporter


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, metrics: Exporter | None) -> Iterator[House]:
    """Airflow and the stores, with declared sources whose folders are empty."""
    sent_to = {"statsd_host": "127.0.0.1", "statsd_port": metrics.udp_port} if metrics else {}
    with webhook() as hook:
        folder = tmp_path_factory.mktemp("documents")
        given = stack_settings(
            tmp_path_factory.mktemp("house"),
            sources_file=_declare(folder),
            embedding_backend="hash",
            batch_chunks=10,
            stack_start_seconds=400,
            slas_file=_limits(folder),
            alert_channels="log,webhook",
            alert_webhook_url=hook.url,
            watch_interval_seconds=1,
            # Patience with an Airflow that shares its cores; what is late is late all the same.
            airflow_timeout_seconds=60,
            # Long enough to answer, short enough to see what happens when nobody does.
            approval_timeout_seconds=40,
            # Chapters that say nearly the same, in hash vectors: HNSW finds one for another.
            relevance_min_hnsw_recall=0.5,
            # And other chunk sizes reshuffle them: what is looked for is found, not always in the same place.
            relevance_mrr_tolerance=0.09,
            relevance_ndcg_tolerance=0.07,
            relevance_list_tolerance=0.2,
            **_TIMES,
            **sent_to,
        )
        with running(given, programs="all") as settings:
            password = state.read_secrets(state.locate(settings))["airflow_admin_password"]
            api = AirflowApi(
                settings.effective_airflow_url, user=airflow_programs.ADMIN, password=password, timeout_seconds=120
            )
            api.await_dag(DAG, wait_seconds=300)
            house = House(settings, api, folder, hook)
            yield house
            assert house.false_alarms() == []


@pytest.fixture
def documents(house: House) -> Callable[..., Path]:
    """Write documents into a source's folder; returns the folder."""

    def write(source: str, **texts: str) -> Path:
        for name, text in texts.items():
            (house.folder / source / f"{name}.md").write_text(text)
        return house.folder / source

    return write
