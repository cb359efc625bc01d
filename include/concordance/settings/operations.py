"""How the product is watched: metrics, logs, alerts, health, and how long what it leaves behind is kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from concordance.settings.stores import ROOT, Url

CHANNELS = ("log", "statsd", "webhook", "email")
_LEVEL = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(INFO|WARNING|ERROR)")


def levels_of(listed: str) -> dict[str, str]:
    """Levels by logger, of a list like `httpx=WARNING,neo4j=ERROR`. Raises `ValueError`."""
    levels = {}
    for each in filter(None, (one.strip() for one in listed.split(","))):
        found = _LEVEL.fullmatch(each)
        if found is None:
            raise ValueError("a list like httpx=WARNING,neo4j=ERROR is needed; allowed are INFO, WARNING and ERROR")
        levels[found[1]] = found[2]
    return levels


def _is_list_of_levels(listed: str) -> str:
    levels_of(listed)
    return listed


def named_channels(value: str) -> str:
    """A list of channels as `alert_channels` has it, each once, in the order of `CHANNELS`."""
    given = {part.strip() for part in value.split(",")} - {""}
    if unknown := given - set(CHANNELS):
        raise ValueError(f"there is no channel {sorted(unknown)[0]!r}; allowed: {', '.join(CHANNELS)}, a comma between")
    return ",".join(name for name in CHANNELS if name in given)


class OperationsSettings(BaseModel):
    """Where metrics and logs go, and what is late."""

    # metrics
    statsd_host: str = Field("", description="empty: no StatsD outside Airflow")
    statsd_prefix: str = Field("concordance", pattern="^[a-z][a-z0-9_]*$")

    # logs
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_levels: Annotated[str, AfterValidator(_is_list_of_levels)] = Field(
        "neo4j=WARNING,neo4j.notifications=ERROR,httpx=WARNING,httpcore=WARNING,urllib3=WARNING,botocore=WARNING,"
        "aiobotocore=WARNING,s3transfer=WARNING,aiohttp=WARNING,fsspec=WARNING,great_expectations=WARNING,"
        "sentence_transformers=WARNING,transformers=WARNING,alembic=WARNING",
        max_length=4000,
        description="of other libraries, by logger",
    )
    log_file: str = Field("", description="the command line's lines go there as well, as JSON; empty: none")
    log_file_bytes: int = Field(10_000_000, ge=10_000, le=10_000_000_000, description="then it is put aside")
    log_file_backups: int = Field(5, ge=1, le=1000, description="files put aside that stay")

    # alerts
    slas_file: Path = Field(ROOT / "include" / "slas.toml", description="declaration of what is late, and when")
    alert_channels: Annotated[str, AfterValidator(named_channels)] = Field(
        "log,statsd", description=f"where alerts go: {', '.join(CHANNELS)}, a comma between two"
    )
    alert_timeout_seconds: float = Field(
        5, ge=0.1, le=60, description="for one delivery by one channel, answer included"
    )
    alert_lease_seconds: float = Field(30, ge=1, le=3600, description="after which a delivery that died is tried again")
    alert_attempts: int = Field(12, ge=1, le=1000, description="of one delivery; after the last one it is given up")
    alert_retry_seconds: float = Field(5, ge=0.1, le=3600, description="wait after a delivery's first failure")
    alert_retry_max_seconds: float = Field(
        600, ge=0.1, le=86_400, description="each wait is twice the one before, up to"
    )
    alert_settle_seconds: float = Field(
        10, ge=0, le=3600, description="so old is an alert at least that the watch sees recover: clocks differ"
    )
    alert_webhook_url: SecretStr = Field(SecretStr(""), description="http(s)://...; a secret, for it may carry a token")
    alert_webhook_secret: SecretStr = Field(
        SecretStr(""), description="key of the HMAC-SHA256 of the body, in a header"
    )
    alert_email_to: str = Field("", description="addresses, a comma between two")
    alert_email_from: str = Field("concordance@localhost", max_length=320)
    smtp_host: str = ""
    smtp_port: int = Field(587, ge=1, le=65_535)
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_starttls: bool = True
    runbook_url: str = Field("docs/runbook/alerts.md", description="page of the runbook; an alert links its section")

    # the watch
    airflow_url: Url = Field("", description="Airflow's API server, http(s)://host:port; empty: the local stack's")
    airflow_page_url: Url = Field("", description="where people find Airflow, for links; empty: airflow_url")
    airflow_user: str = Field("watch", description="an account that may read runs")
    airflow_password: SecretStr = SecretStr("")
    airflow_timeout_seconds: float = Field(10, ge=0.1, le=300, description="for one request of the watch")
    watch_interval_seconds: float = Field(3, ge=0.1, le=3600, description="between two rounds")
    watch_look_seconds: float = Field(5, ge=0.1, le=600, description="that a round waits for those who look")
    watch_back_off_seconds: float = Field(
        60, ge=0.1, le=3600, description="at most, after a look that failed by a defect"
    )
    watch_silent_seconds: float = Field(60, ge=1, le=86_400, description="without a round: the watch is not healthy")
    watch_failed_seconds: float = Field(604_800, ge=60, le=31_536_000, description="how long a failed run is told of")
    watch_max_runs: int = Field(500, ge=100, le=100_000, description="runs that one round looks at, of each question")

    # health and freshness (watching)
    probe_timeout_seconds: float = Field(5, ge=0.5, le=60, description="that a dependency has for its answer")
    store_down_seconds: float = Field(30, ge=0, le=3600, description="without an answer, before a store counts as down")
    airflow_down_seconds: float = Field(60, ge=0, le=3600, description="the same for Airflow's API server")
    scheduler_silent_seconds: float = Field(60, ge=5, le=3600, description="without a heartbeat")
    triggerer_silent_seconds: float = Field(60, ge=5, le=3600, description="without a heartbeat")
    dag_processor_silent_seconds: float = Field(60, ge=5, le=3600, description="without a heartbeat")
    freshness_interval_seconds: float = Field(15, ge=1, le=3600, description="between two looks at the sources' states")
    freshness_window_hours: float = Field(24, ge=0.1, le=720, description="of changes whose lag is measured")
    freshness_max_documents: int = Field(
        100_000, ge=100, le=10_000_000, description="of a source, the last published, whose lag is measured"
    )
    sizes_interval_seconds: float = Field(60, ge=5, le=240, description="between two counts of stores and disks")

    # how long what is left behind is kept (expiry)
    artefact_retention_hours: float = Field(
        168, ge=1, le=87_600, description="after a run's end, for whoever clears it; what is needed longer stays longer"
    )
    gate_retention_days: float = Field(90, ge=0.05, le=3650, description="results of gates, with the pages of them")
    history_retention_days: float = Field(400, ge=1, le=3650, description="ended plans and runs in the ledger")
    history_min_plans: int = Field(50, ge=1, le=10_000, description="of a source and version, kept whatever their age")
    alert_retention_days: float = Field(400, ge=1, le=3650, description="alerts that are over")
    airflow_log_retention_days: float = Field(30, ge=1, le=3650, description="logs of tasks and of Airflow's programs")
    airflow_history_retention_days: float = Field(
        90,
        ge=8,
        le=3650,
        description="runs, tasks, XCom, audit log in Airflow's own database; longer than any run may take",
    )
    maintenance_step_plans: int = Field(20, ge=1, le=10_000, description="deleted from the ledger in one transaction")
    maintenance_seconds: float = Field(
        1800, ge=1, le=86_400, description="after which the rest waits for the next time"
    )
