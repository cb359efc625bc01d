"""How the product is watched: metrics, logs, alerts, health, and how long what it leaves behind is kept."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

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
    run_deadline_seconds: float = Field(5400, ge=1, le=604_800)
