"""All settings as one frozen, validated object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, ValidationError, model_validator

from concordance import ids
from concordance.errors import Misconfigured
from concordance.settings.explaining import explained
from concordance.settings.models import model_settings, parts
from concordance.settings.operations import OperationsSettings
from concordance.settings.reading import ReadingSettings
from concordance.settings.runs import RunSettings
from concordance.settings.stores import StoreSettings
from concordance.settings.versions import VersionSettings


class Settings(OperationsSettings, ReadingSettings, VersionSettings, RunSettings, StoreSettings):
    """Every setting of the product."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

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
            (
                self.alert_timeout_seconds < self.alert_lease_seconds,
                "alert_lease_seconds must exceed alert_timeout_seconds: one that still runs must not be repeated",
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
    def effective_airflow_url(self) -> str:
        return self.airflow_url or f"http://127.0.0.1:{self.airflow_port}"

    @property
    def with_kept_models(self) -> dict[str, Self]:
        """These settings with each of `kept_models` as the configured model, by entry."""
        return {entry: self.model_copy(update=model_settings(entry)) for entry in parts(self.kept_models)}

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
            raise Misconfigured(explained(error, values, origins, Settings.model_fields)) from None


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
