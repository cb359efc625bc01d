"""Where things are: the local stack, the stores and how they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr

ROOT = Path(__file__).resolve().parents[3]


def _without_password(url: str) -> str:
    if urlsplit(url).password:
        raise ValueError("a URL here must not carry a password: give the secret by its own setting")
    return url


Url = Annotated[str, AfterValidator(_without_password)]
Port = Annotated[int, Field(ge=1024, le=65535)]


class StoreSettings(BaseModel):
    """Addresses, ports, secrets, times and sizes of what the product talks to."""

    # where things are
    state_dir: Path = Field(ROOT / ".concordance", description="state of the local stack and of the artefacts")
    models_dir: Path = Field(ROOT / ".concordance" / "models", description="prepared models; shared by all states")
    sources_file: Path = Field(ROOT / "include" / "sources.toml", description="declaration of the sources")
    staging_url: str = Field("", description="artefacts, on any fsspec file system; empty: <state_dir>/staging")

    # ports of the local stack, loopback only
    postgres_port: Port = 15432
    bolt_port: Port = 17687
    arcade_http_port: Port = 17480
    qdrant_port: Port = 16333
    airflow_port: Port = 18080
    statsd_port: Port = 18125

    # the local stack
    postgres_connections: int = Field(200, ge=20, le=10_000)
    graph_heap_bytes: int = Field(1024 * 1024 * 1024, ge=256 * 1024 * 1024, le=256 * 1024 * 1024 * 1024)
    stack_min_free_bytes: int = Field(500_000_000, ge=0, le=1_000_000_000_000, description="`up` refuses a fuller disk")
    stack_start_seconds: float = Field(120, ge=1, le=3600, description="for one program to answer, and for the lock")
    stack_log_bytes: int = Field(10_000_000, ge=100_000, le=1_000_000_000, description="of one program's log file")
    stack_log_backups: int = Field(3, ge=1, le=1000, description="older log files of one program that stay")

    # the stores; empty addresses mean the local stack's
    ledger_url: Url = Field("", description="postgresql://user@host:port/database")
    ledger_password: SecretStr = SecretStr("")
    neo4j_url: Url = Field("", description="bolt://host:port or neo4j://host:port")
    neo4j_user: str = "neo4j"
    neo4j_password: SecretStr = SecretStr("")
    neo4j_database: str = Field("", description="empty: the user's home database, `graph` on the local stack")
    qdrant_url: Url = Field("", description="http://host:port")
    qdrant_api_key: SecretStr = SecretStr("")

    # the commit protocol
    lease_seconds: float = Field(120, ge=1, le=3600)
    source_lease_seconds: float = Field(300, ge=1, le=86_400)
    reader_timeout_seconds: float = Field(30, ge=0.5, le=600)
    sweep_grace_seconds: float = Field(600, ge=1, le=86_400)
    settle_chunks: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="that one transaction shows, hides or sweeps, at most; a document that has more is one alone",
    )
    stale_after_seconds: float = Field(
        86_400,
        ge=1,
        le=31_536_000,
        description="rows that could be swept for so long, and artefacts that nothing refers to, make a verify unsound",
    )
    load_lanes: int = Field(
        2,
        ge=1,
        le=2,
        description="2: a batch (in publish a page) goes into the graph beside the vectors of the last one; 1: after",
    )
    write_answer_seconds: float = Field(
        1, ge=0.05, le=60, description="what one request of a write should take: requests grow and shrink to it"
    )
    write_rows_min: int = Field(32, ge=1, le=1_000, description="of one request, however slow its store is")
    graph_query_rows: int = Field(5_000, ge=1, le=20_000, description="of one query of a write, at most")
    graph_query_bytes: int = Field(
        8 * 1024 * 1024, ge=65_536, le=32 * 1024 * 1024, description="of texts in one query of a write, at most"
    )
    upsert_points: int = Field(256, ge=1, le=10_000)
    upsert_bytes: int = Field(16 * 1024 * 1024, ge=65_536, le=32 * 1024 * 1024)
    hnsw_threshold_kb: int = Field(
        10_000, ge=1, le=100_000_000, description="of dense vectors, from which the vector store indexes by itself"
    )
    hnsw_full_scan_kb: int = Field(
        100, ge=10, le=100_000_000, description="of dense vectors that a filter leaves, below which all are read"
    )

    # calls of the graph, the vectors and the ledger (resilience.py)
    graph_timeout_seconds: float = Field(5, ge=0.5, le=600, description="for one answer inside a transaction")
    vectors_timeout_seconds: float = Field(10, ge=1, le=600, description="for one request")
    ledger_timeout_seconds: float = Field(5, ge=0.5, le=600, description="for one statement, and for its locks")
    ledger_bulk_timeout_seconds: float = Field(
        600, ge=1, le=86_400, description="for one statement over a whole run: making a plan, publishing it"
    )
    call_timeout_seconds: float = Field(
        60, ge=0.5, le=600, description="for all attempts of one call, and for one answer about a whole index"
    )
    retry_attempts: int = Field(5, ge=1, le=50, description="attempts of one call while a store does not answer")
    retry_wait_seconds: float = Field(0.1, ge=0, le=60, description="least wait between two attempts")
    retry_wait_max_seconds: float = Field(30, ge=0, le=600)
    circuit_failures: int = Field(5, ge=1, le=1000, description="failures in a row after which a store is left alone")
    circuit_open_seconds: float = Field(60, ge=0.1, le=3600, description="how long it is left alone")
    graph_pool_connections: int = Field(50, ge=1, le=1000, description="at most, of one process")
    vectors_pool_connections: int = Field(50, ge=1, le=1000, description="at most, of one process")
    ledger_pool_connections: int = Field(50, ge=1, le=1000, description="at most, of one process")
    pool_acquire_seconds: float = Field(30, ge=0.1, le=600, description="wait for a free connection of the pool")
