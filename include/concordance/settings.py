"""One frozen, validated settings object, read once at the entry point and handed down as an argument.

Each value comes from the first of: an override (Airflow's Connections, a test), the environment
(`AIRFLOW__CONCORDANCE__<NAME>`), the `[concordance]` section of airflow.cfg, the secrets file that the local stack
wrote (secrets only), the default. Airflow itself is not imported. Units stand in the names; every limit of the product
stands here. `python -m concordance settings` prints the effective values, where each came from, and masks the secrets.
"""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from concordance import ids
from concordance.errors import Misconfigured

ROOT = Path(__file__).resolve().parents[2]
SECTION = "concordance"
ENVIRONMENT_PREFIX = "AIRFLOW__CONCORDANCE__"


def _without_password(url: str) -> str:
    if urlsplit(url).password:
        raise ValueError("a URL here must not carry a password: give the secret by its own setting")
    return url


_HASH_DIMENSIONS = range(8, 65_537)  # at least one component for each place of a word; what the vector store takes


def _model_settings(entry: str) -> dict[str, Any]:
    """The settings that one entry of `kept_models` stands for."""
    backend, _, place = (part.strip() for part in entry.partition("="))
    if backend == "sentence-transformers":
        return {"embedding_backend": backend, "model_dir": place}
    if backend == "hash" and place.isdecimal() and int(place) in _HASH_DIMENSIONS:
        return {"embedding_backend": backend, "hash_dimension": int(place)}
    raise ValueError(
        f"{entry.strip()!r} is none of sentence-transformers=<folder>, sentence-transformers= (the packaged model) and "
        f"hash=<dimension from {_HASH_DIMENSIONS[0]} to {_HASH_DIMENSIONS[-1]}>; write a comma between two"
    )


def _named_models(entries: str) -> str:
    for entry in _parts(entries):
        _model_settings(entry)
    return entries


def _parts(entries: str) -> list[str]:
    return [entry.strip() for entry in entries.split(",") if entry.strip()]


Url = Annotated[str, AfterValidator(_without_password)]
Port = Annotated[int, Field(ge=1024, le=65535)]


class Settings(BaseModel):
    """Every setting of the product. A section comment says which room reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # where things are
    state_dir: Path = Field(ROOT / ".concordance", description="state of the local stack and of the artefacts")
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
    stack_log_bytes: int = Field(
        10_000_000, ge=100_000, le=1_000_000_000, description="of one program; 3 older ones stay"
    )

    # the stores; empty addresses mean the local stack's
    ledger_url: Url = Field("", description="postgresql://user@host:port/database")
    ledger_password: SecretStr = SecretStr("")
    neo4j_url: Url = Field("", description="bolt://host:port or neo4j://host:port")
    neo4j_user: str = "neo4j"
    neo4j_password: SecretStr = SecretStr("")
    neo4j_database: str = Field("", description="empty: the user's home database, `graph` on the local stack")
    qdrant_url: Url = Field("", description="http://host:port")
    qdrant_api_key: SecretStr = SecretStr("")

    # sources and parsing
    max_documents_per_source: int = Field(2_000_000, ge=1, le=100_000_000)
    max_document_bytes: int = Field(50_000_000, ge=1, le=1_000_000_000)
    max_text_bytes: int = Field(10_000_000, ge=1, le=100_000_000)
    max_pages: int = Field(2_000, ge=1, le=1_000_000, description="of a PDF, slide deck or workbook")
    max_expanded_bytes: int = Field(
        100_000_000, ge=1_000_000, le=10_000_000_000, description="of a document that is packed, unpacked"
    )
    max_expansion_ratio: int = Field(
        100, ge=2, le=10_000, description="unpacked bytes for each packed one, beyond the first million"
    )
    max_packed_files: int = Field(10_000, ge=1, le=1_000_000, description="in a document that is packed")
    max_names_per_document: int = Field(
        10_000, ge=1, le=1_000_000, description="entities, relations and links, each, that a source states of it"
    )
    parser_memory_bytes: int = Field(512_000_000, ge=64_000_000, le=16_000_000_000)
    parser_cpu_seconds: int = Field(60, ge=1, le=3600, description="of a document")
    parser_timeout_seconds: float = Field(60, gt=0, le=3600, description="of a document")
    parser_open_files: int = Field(64, ge=16, le=1_000)

    # chunking: frozen with the index version
    chunk_min_tokens: int = Field(120, ge=16, le=4096)
    chunk_max_tokens: int = Field(200, ge=32, le=8192)
    header_max_tokens: int = Field(48, ge=0, le=256)
    max_chunks_per_document: int = Field(20_000, ge=1, le=1_000_000)
    max_gazetteer_names: int = Field(100_000, ge=0, le=1_000_000)
    boilerplate_sample_documents: int = Field(400, ge=0, le=100_000, description="read per source for a new version")
    max_name_characters: int = Field(512, ge=16, le=8192)
    bm25_k1: float = Field(1.2, ge=0, le=10)
    bm25_b: float = Field(0.75, ge=0, le=1)
    bm25_average_tokens: float = Field(45, gt=0, le=10_000, description="mean terms of a chunk")

    # embedding: frozen with the index version
    embedding_backend: str = Field("sentence-transformers", pattern="^(sentence-transformers|hash)$")
    model_dir: str = Field("", description="folder of the model; empty: the one that the pinned package carries")
    hash_dimension: int = Field(
        384, ge=_HASH_DIMENSIONS[0], le=_HASH_DIMENSIONS[-1], description="components of a vector of the hash backend"
    )
    kept_models: Annotated[str, AfterValidator(_named_models)] = Field(
        "",
        description="other models that kept index versions were built with: backend=folder, a comma between two, an "
        "empty folder for the packaged model, hash=dimension for the hash backend",
    )
    embed_batch_texts: int = Field(32, ge=1, le=4096)
    embed_pool_texts: int = Field(2048, ge=1, le=1_000_000)

    # the run
    shard_bytes: int = Field(10_000_000, ge=1_000, le=10_000_000_000)
    max_shards: int = Field(32, ge=1, le=512)
    batch_chunks: int = Field(1000, ge=1, le=20_000, description="chunks of one load transaction, about")
    max_delete_fraction: float = Field(0.10, ge=0, le=1, description="of the known documents; more need approval")
    max_changed_fraction: float = Field(0.50, ge=0, le=1, description="of the known documents; more need approval")
    tolerated_changed_documents: int = Field(20, ge=0, le=1_000_000, description="so few never need approval")
    max_planned_bytes: int = Field(
        1024**3, ge=1, le=2**53, description="that one run reads; more, half a day of work on two cores, need approval"
    )
    approval_timeout_seconds: float = Field(
        43_200, ge=10, le=604_800, description="how long a run waits for a person; then nothing is written"
    )
    max_quarantined_fraction: float = Field(0.20, ge=0, le=1, description="of the documents that a run reads")
    tolerated_quarantined_documents: int = Field(3, ge=0, le=1000, description="so few never stop a run")
    min_text_characters: int = Field(3, ge=1, le=1000, description="a document with less text is no document")

    # builds of an index version beside the live one (reindex)
    rebuild_weekday: int = Field(
        6, ge=-1, le=6, description="the night of the week that rebuilds whatever changed, 0 is Monday; -1: none"
    )
    build_shard_bytes: int = Field(
        2_000_000,
        ge=1_000,
        le=10_000_000_000,
        description="of chunks: what an ingest waits for at most, for an encoder",
    )
    build_max_shards: int = Field(256, ge=1, le=1000, description="of one round over all sources")
    max_build_rounds: int = Field(20, ge=1, le=1000, description="of catching up with the live version")
    max_lost_documents: int = Field(
        0, ge=0, le=1_000_000, description="that a new version may lack, because nobody can make them again"
    )
    kept_retired_versions: int = Field(2, ge=0, le=20, description="to go back to; older ones are dropped")
    swap_patience_seconds: float = Field(
        600, ge=0, le=86_400, description="that a swap waits for runs under way: what they loaded would be in vain"
    )
    swap_hold_seconds: float = Field(2, ge=0.1, le=60, description="that a swap keeps runs from publishing, at most")
    swap_attempts: int = Field(3, ge=1, le=100, description="before a swap holds publishing")
    drop_page_rows: int = Field(500, ge=1, le=100_000, description="of a dropped version that are deleted at once")

    # the gates (quality)
    max_damaged_fraction: float = Field(0.005, ge=0, le=1, description="of a text's characters: replaced, mojibake")
    tolerated_damaged_characters: int = Field(3, ge=0, le=1_000_000, description="so few never reject a document")
    min_language_characters: int = Field(200, ge=20, le=4000, description="letters; a shorter text tells no language")
    min_language_probability: float = Field(0.05, ge=0, le=1, description="of all declared languages together")
    max_equal_documents: int = Field(10, ge=1, le=1_000_000, description="of one text in a run; else only one is kept")
    min_coverage_fraction: float = Field(0.98, ge=0, le=1, description="of a text's letters and digits, in its chunks")
    tolerated_lost_characters: int = Field(20, ge=0, le=1_000_000, description="so few never reject a document")
    min_repeated_documents: int = Field(10, ge=2, le=1_000_000, description="that say one chunk's body: it recurs")
    repeated_fraction: float = Field(0.05, ge=0, le=1, description="of a run's documents that say it: it recurs")
    max_repeated_chunk_fraction: float = Field(0.5, ge=0, le=1, description="of a run's chunks that recur")
    canary_epsilon: float = Field(1e-7, ge=0, le=2, description="cosine distance of a canary from its kept vector")
    max_jump_factor: float = Field(3, gt=1, le=1_000_000, description="against the median of the last runs")
    jumps_stop: bool = Field(False, description="a jump stops the run instead of warning")
    min_jump_runs: int = Field(3, ge=1, le=1000, description="published runs before a jump is one")
    max_jump_runs: int = Field(10, ge=1, le=1000, description="of the last runs that are compared with")
    min_jump_documents: int = Field(20, ge=1, le=1_000_000, description="of a run with fewer nothing is said")
    gate_slice_rows: int = Field(5000, ge=1, le=1_000_000, description="rows that a gate holds at once, about")
    gate_report_documents: int = Field(1000, ge=0, le=1_000_000, description="rejected ids in a gate's kept result")

    # the relevance gate (quality.relevance); tolerances are of a mean over all queries, which is in 0..1
    golden_queries_file: str = Field("", description="golden queries, .toml or .jsonl; empty: none")
    golden_max_bytes: int = Field(1_000_000, ge=1_000, le=100_000_000, description="of the file of golden queries")
    golden_max_queries: int = Field(1_000, ge=1, le=100_000)
    golden_max_documents: int = Field(100, ge=1, le=10_000, description="that answer one golden query")
    relevance_queries: int = Field(200, ge=0, le=10_000, description="made of the live version's documents, at most")
    relevance_sample_documents: int = Field(400, ge=1, le=100_000, description="whose texts are read to make them")
    relevance_min_queries: int = Field(30, ge=1, le=10_000, description="that live answers; below, the gate warns")
    relevance_resamples: int = Field(10_000, ge=100, le=1_000_000, description="of the paired bootstrap")
    relevance_confidence: float = Field(0.95, gt=0.5, lt=1, description="of each bound of a mean difference")
    relevance_recall_tolerance: float = Field(0.03, ge=0, le=1, description="loss of recall@10 that is no fault")
    relevance_mrr_tolerance: float = Field(0.05, ge=0, le=1, description="loss of MRR@10 that is no fault")
    relevance_ndcg_tolerance: float = Field(0.05, ge=0, le=1, description="loss of nDCG@10 that is no fault")
    relevance_list_tolerance: float = Field(
        0.10, ge=0, le=1, description="loss of recall@10 of the dense or the sparse list alone"
    )
    relevance_hnsw_queries: int = Field(100, ge=0, le=10_000, description="on which HNSW is compared with exact search")
    relevance_min_hnsw_recall: float = Field(0.95, ge=0, le=1, description="of HNSW against exact search, at 10")
    relevance_unindexed_points: int = Field(
        1_000, ge=0, le=100_000_000, description="vectors without HNSW that searches may compare one by one"
    )
    relevance_vector_chunks: int = Field(64, ge=0, le=10_000, description="whose vectors are compared with the model")
    relevance_vector_epsilon: float = Field(
        1e-5, ge=0, le=2, description="cosine distance of a stored vector from the model's"
    )
    relevance_threads: int = Field(4, ge=1, le=64, description="that ask both versions at once")
    relevance_index_seconds: float = Field(1800, ge=1, le=86_400, description="for an engine to build HNSW")

    # the commit protocol
    lease_seconds: float = Field(120, ge=1, le=3600)
    source_lease_seconds: float = Field(300, ge=1, le=86_400)
    reader_timeout_seconds: float = Field(30, ge=0.5, le=600)
    sweep_grace_seconds: float = Field(600, ge=1, le=86_400)
    stale_after_seconds: float = Field(
        86_400,
        ge=1,
        le=31_536_000,
        description="rows that could be swept for so long, and artefacts that nothing refers to, make a verify unsound",
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

    # search
    search_limit: int = Field(10, ge=1, le=1000)
    search_overfetch: int = Field(5, ge=1, le=100)
    search_max_limit: int = Field(1000, ge=1, le=10_000)
    search_min_candidates: int = Field(100, ge=1, le=10_000, description="points of one list, however small the limit")
    search_max_query_characters: int = Field(2000, ge=1, le=100_000)
    search_max_candidates: int = Field(10_000, ge=1, le=100_000, description="points of one list that a search reads")
    search_hits_per_document: int = Field(
        3, ge=1, le=1000, description="more hits of one document only where others do not fill the answer"
    )
    search_max_neighbours: int = Field(10, ge=0, le=1000, description="entities, and linked documents, of one hit")
    snippet_characters: int = Field(300, ge=40, le=10_000)
    reader_attempts: int = Field(3, ge=1, le=20, description="times that a search past reader_timeout_seconds starts")
    dense_weight: float = Field(0.5, ge=0, le=1)

    # the pages
    page_max_rows: int = Field(200, ge=1, le=10_000, description="of one table of a page")
    page_max_bytes: int = Field(10_000_000, ge=1_000, le=1_000_000_000, description="of what one page is made of")
    page_timeout_seconds: float = Field(10, ge=0.5, le=600, description="for one call of the ledger by a page")

    # operations
    statsd_host: str = Field("", description="empty: no StatsD outside Airflow")
    statsd_prefix: str = Field("concordance", pattern="^[a-z][a-z0-9_]*$")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    run_deadline_seconds: float = Field(5400, ge=1, le=604_800)

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        pairs = (
            (self.chunk_min_tokens < self.chunk_max_tokens, "chunk_min_tokens must be below chunk_max_tokens"),
            (
                max(self.graph_timeout_seconds, self.vectors_timeout_seconds, self.ledger_timeout_seconds)
                <= self.call_timeout_seconds,
                "graph_timeout_seconds, vectors_timeout_seconds and ledger_timeout_seconds must not exceed "
                "call_timeout_seconds: it holds all attempts of one call",
            ),
            (
                self.call_timeout_seconds <= self.lease_seconds,
                "call_timeout_seconds must not exceed lease_seconds: no request to a store may outlast its lease",
            ),
            (
                self.ledger_timeout_seconds <= self.ledger_bulk_timeout_seconds,
                "ledger_timeout_seconds must not exceed ledger_bulk_timeout_seconds",
            ),
            (
                self.retry_wait_seconds <= self.retry_wait_max_seconds,
                "retry_wait_seconds must not exceed retry_wait_max_seconds",
            ),
            (self.min_jump_runs <= self.max_jump_runs, "min_jump_runs must not exceed max_jump_runs"),
            (
                self.sweep_grace_seconds > max(self.lease_seconds, self.reader_timeout_seconds),
                "sweep_grace_seconds must exceed lease_seconds and reader_timeout_seconds: "
                "a sweep must not overtake a writer or a reader that still runs",
            ),
        )
        for holds, message in pairs:
            if not holds:
                raise ValueError(message)
        return self

    @property
    def staging(self) -> str:
        return self.staging_url or f"file://{self.state_dir / 'staging'}"

    @property
    def effective_ledger_url(self) -> str:
        return self.ledger_url or f"postgresql://concordance@127.0.0.1:{self.postgres_port}/concordance"

    @property
    def effective_neo4j_url(self) -> str:
        return self.neo4j_url or f"bolt://127.0.0.1:{self.bolt_port}"

    @property
    def effective_neo4j_user(self) -> str:
        return self.neo4j_user if self.neo4j_url else "root"

    @property
    def effective_neo4j_database(self) -> str | None:
        return self.neo4j_database or (None if self.neo4j_url else "graph")

    @property
    def effective_qdrant_url(self) -> str:
        return self.qdrant_url or f"http://127.0.0.1:{self.qdrant_port}"

    @property
    def with_kept_models(self) -> dict[str, Self]:
        """These settings with each of `kept_models` as the configured model, by entry."""
        return {entry: self.model_copy(update=_model_settings(entry)) for entry in _parts(self.kept_models)}

    @property
    def run_digest(self) -> str:
        """Digest of the settings that decide what a run writes: frozen in the plan, compared by every later stage."""
        return ids.digest({name: getattr(self, name) for name in sorted(_RUN_SETTINGS)})

    def with_values(self, values: Mapping[str, Any]) -> Settings:
        """The same but for these values. Raises `Misconfigured` naming the value and what is allowed."""
        try:
            return Settings(**{**dict(self), **values})
        except ValidationError as error:
            origins = dict.fromkeys(values, "the request")
            raise Misconfigured("; ".join(_sentence(line, values, origins) for line in error.errors())) from None


_RUN_SETTINGS = frozenset(
    {
        "max_document_bytes",
        "max_text_bytes",
        "max_pages",
        "max_expanded_bytes",
        "max_expansion_ratio",
        "max_packed_files",
        "max_names_per_document",
        "max_chunks_per_document",
        "max_name_characters",
        "batch_chunks",
        "max_quarantined_fraction",
        "tolerated_quarantined_documents",
        "min_text_characters",
        "max_damaged_fraction",
        "tolerated_damaged_characters",
        "min_language_characters",
        "min_language_probability",
        "max_equal_documents",
        "min_coverage_fraction",
        "tolerated_lost_characters",
    }
)
_SECRETS = frozenset(name for name, field in Settings.model_fields.items() if field.annotation is SecretStr)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an effective value came from, for people."""

    name: str
    value: str
    origin: str


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    cfg_file: Path | None = None,
) -> Settings:
    """The effective settings. Raises `Misconfigured` naming the variable, the value and what is allowed."""
    return _load(overrides or {}, environment, cfg_file)[0]


def explain_settings(*, environment: Mapping[str, str] = os.environ, cfg_file: Path | None = None) -> list[Origin]:
    """Every effective value with its origin, secrets masked."""
    settings, origins = _load({}, environment, cfg_file)
    return [
        Origin(name, _masked(name, getattr(settings, name)), origins.get(name, "default"))
        for name in Settings.model_fields
    ]


def _load(
    overrides: Mapping[str, Any], environment: Mapping[str, str], cfg_file: Path | None
) -> tuple[Settings, dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(found: Mapping[str, Any], origin: str) -> None:
        for name, value in found.items():
            if name not in Settings.model_fields:
                raise Misconfigured(
                    f"{origin}: there is no setting {name!r}. `python -m concordance settings` lists them"
                )
            values[name], origins[name] = value, origin

    from_cfg, from_environment = _cfg(environment, cfg_file), _environment(environment)
    first = {**from_cfg, **from_environment, **overrides}
    state_dir = Path(first.get("state_dir", Settings.model_fields["state_dir"].default))
    take(_secrets(state_dir), f"{state_dir / 'secrets.json'}")
    take(from_cfg, "airflow.cfg")
    take(from_environment, "environment")
    take(overrides, "override")
    try:
        return Settings(**values), origins
    except ValidationError as error:
        raise Misconfigured("; ".join(_sentence(line, values, origins) for line in error.errors())) from None


def _cfg(environment: Mapping[str, str], cfg_file: Path | None) -> dict[str, str]:
    path = cfg_file or Path(environment.get("AIRFLOW_CONFIG") or ROOT / "airflow.cfg")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path)
    except configparser.Error as error:
        raise Misconfigured(f"{path} is not a readable configuration file: {error}") from None
    return dict(parser[SECTION]) if parser.has_section(SECTION) else {}


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }


def _secrets(state_dir: Path) -> dict[str, str]:
    path = state_dir / "secrets.json"
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{path} cannot be read ({type(error).__name__}): make it readable, or delete it and run "
            "`python -m concordance up` again"
        ) from None
    return {name: value for name, value in stored.items() if name in _SECRETS}


def _sentence(line: Any, values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    if not line["loc"]:
        return str(line["msg"]).removeprefix("Value error, ")
    name = str(line["loc"][0])
    variable = ENVIRONMENT_PREFIX + name.upper()
    return (
        f"{variable} = {_masked(name, values.get(name))!s} (from {origins.get(name, 'default')}): {line['msg']}"
        f"{_allowed(name)}"
    )


def _allowed(name: str) -> str:
    bounds = {
        word: getattr(limit, key)
        for limit in Settings.model_fields[name].metadata
        for key, word in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("pattern", "matching"))
        if getattr(limit, key, None) is not None
    }
    return "; allowed: " + ", ".join(f"{word} {bound}" for word, bound in bounds.items()) if bounds else ""


def _masked(name: str, value: Any) -> str:
    if name not in _SECRETS:
        return str(value)
    plain = value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")
    return "********" if plain else "(not set)"
