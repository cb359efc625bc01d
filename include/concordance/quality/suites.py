"""The suites as code: what is expected of each row. They say what; the truths say how it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from concordance.model import IndexSettings
from concordance.quality.runner import Suite
from concordance.settings import Settings

DOCUMENT_TRUTHS = (
    "id_is_of_uri",
    "id_is_unique",
    "source_is_the_plans",
    "access_is_the_sources",
    "text_is_undamaged",
    "language_is_declared",
    "content_is_no_duplicate",
    "entities_are_sound",
    "relations_are_sound",
    "links_are_sound",
)
VECTOR_TRUTHS = ("vector_has_dimension", "vector_is_finite", "vector_is_of_unit_norm")
CHUNK_TRUTHS = (
    "document_is_known",
    "body_is_present",
    "text_digest_is_of_text",
    "ordinals_are_complete",
    "heading_path_is_sound",
    "header_is_of_path",
    "mentions_are_sound",
    "vector_is_there",
    *VECTOR_TRUTHS,
)


def documents_suite(settings: Settings) -> Suite:
    """One row a document that was extracted, with the columns of `document_truths.with_document_truths`."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            *_not_null(gxe, "document_id", "uri", "fingerprint", "stamp"),
            gxe.ExpectColumnValueLengthsToBeBetween(column="uri", min_value=1),
            gxe.ExpectColumnValueLengthsToBeBetween(column="stamp", min_value=1),
            gxe.ExpectColumnValuesToMatchRegex(column="fingerprint", regex=r"\A[0-9a-f]{64}\Z"),
            *_between(gxe, "size_bytes", 0, settings.max_document_bytes),
            *_between(gxe, "text_characters", settings.min_text_characters, settings.max_text_bytes),
            *_between(gxe, "chunk_count", 1, settings.max_chunks_per_document),
            *(_true(gxe, column) for column in DOCUMENT_TRUTHS),
        )

    return Suite("documents", expectations)


def chunks_suite(version_settings: IndexSettings) -> Suite:
    """One row a chunk, with the columns of `chunk_truths.with_chunk_truths`."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            *_not_null(gxe, "document_id", "text_digest"),
            *_between(gxe, "token_count", 1, version_settings.model.window_tokens),
            *(_true(gxe, column) for column in CHUNK_TRUTHS),
        )

    return Suite("chunks", expectations)


def vectors_suite() -> Suite:
    """One row a text of a document that is not judged itself, with the columns of `vector_truths`."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return tuple(_true(gxe, column) for column in VECTOR_TRUTHS)

    return Suite("vectors", expectations, is_named=True)


def coverage_suite() -> Suite:
    """One row a document, with the columns of `chunk_truths.with_coverage`."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            gxe.ExpectColumnPairValuesToBeEqual(column_A="chunk_count", column_B="chunks_found"),
            _true(gxe, "text_is_covered"),
        )

    return Suite("coverage", expectations)


def encodings_suite(settings: Settings) -> Suite:
    """One row a vectors artefact: whose vectors they are, and how far its canaries have moved (cosine distance)."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            _true(gxe, "model_is_the_versions"),
            *_between(gxe, "canary_distance", 0, settings.canary_epsilon),
        )

    return Suite("encodings", expectations)


def run_suite(settings: Settings) -> Suite:
    """One row for all chunks of a run: more than half of its vectors differ, and not too many chunks recur."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            gxe.ExpectColumnValuesToBeBetween(
                column="distinct_vector_fraction", min_value=0.5, max_value=1, strict_min=True
            ),
            *_between(gxe, "repeated_chunk_fraction", 0, settings.max_repeated_chunk_fraction),
        )

    return Suite("run", expectations)


def stores_suite(max_chunks: int, *, of_current: bool = False) -> Suite:
    """One row a generation: what it was to write, and what was read back. `of_current`: it is current already."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            *_not_null(gxe, "document_id", "generation"),
            gxe.ExpectColumnValuesToBeUnique(column="document_id"),
            *_between(gxe, "chunks_expected", 1, max_chunks),
            *_not_null(gxe, "chunks_in_graph", "points_in_vectors"),
            gxe.ExpectColumnPairValuesToBeEqual(column_A="chunks_expected", column_B="chunks_in_graph"),
            gxe.ExpectColumnPairValuesToBeEqual(column_A="chunks_expected", column_B="points_in_vectors"),
            _true(gxe, "digests_agree"),
        )

    return Suite("current generations", expectations, is_named=True) if of_current else Suite("stores", expectations)


def counts_suite() -> Suite:
    """One row a store: rows of the source that it holds, and that the ledger knows of."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            *_not_null(gxe, "rows_found", "rows_expected"),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="rows_found", column_B="rows_expected", or_equal=True),
        )

    return Suite("counts by source", expectations, is_named=True)


def _not_null(gxe: Any, *columns: str) -> list[Any]:
    return [gxe.ExpectColumnValuesToNotBeNull(column=column) for column in columns]


def _between(gxe: Any, column: str, low: float, high: float) -> list[Any]:
    # A missing value is between everything for Great Expectations, so it is asked for apart.
    return [
        gxe.ExpectColumnValuesToNotBeNull(column=column),
        gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high),
    ]


def _true(gxe: Any, column: str) -> Any:
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[True])
