"""How the product is watched: metrics, logs, alerts, health, and how long what it leaves behind is kept."""

from __future__ import annotations

from pydantic import BaseModel, Field


class OperationsSettings(BaseModel):
    """Where metrics and logs go, and what is late."""

    # metrics
    statsd_host: str = Field("", description="empty: no StatsD outside Airflow")
    statsd_prefix: str = Field("concordance", pattern="^[a-z][a-z0-9_]*$")

    # logs
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    # alerts
    run_deadline_seconds: float = Field(5400, ge=1, le=604_800)
