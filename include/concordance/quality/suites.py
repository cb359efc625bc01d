"""The Great Expectations suites as code, and the one place that runs them.

Only what is safe to keep leaves this module: the name of an expectation and the positions of the rows that fail it.
Great Expectations' own results hold cell values, and so may the messages of the exceptions that it catches.

Importing Great Expectations takes 6 to 15 seconds and 226 MB, so it is imported when a suite runs and nowhere else.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from concordance.errors import GateFailed
from concordance.model import IndexSettings
from concordance.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

# Positions of failing rows, and nothing else of them.
_RESULT_FORMAT = {"result_format": "COMPLETE", "include_unexpected_rows": False}


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that was not met. `rows` are positions in the frame; None: the frame as a whole fails."""

    expectation: str
    rows: tuple[int, ...] | None


Suite = Callable[[Any], Sequence[Any]]


def documents_suite(settings: Settings) -> Suite:
    """One row a document that was extracted."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            *_not_null(gxe, "document_id", "uri", "fingerprint", "source"),
            gxe.ExpectColumnValuesToBeUnique(column="document_id"),
            gxe.ExpectColumnValueLengthsToBeBetween(column="uri", min_value=1),
            gxe.ExpectColumnValuesToMatchRegex(column="fingerprint", regex=r"\A[0-9a-f]{64}\Z"),
            *_between(gxe, "size_bytes", 0, settings.max_document_bytes),
            *_between(gxe, "text_characters", settings.min_text_characters, settings.max_text_bytes),
            *_between(gxe, "chunk_count", 1, settings.max_chunks_per_document),
        )

    return expectations


def chunks_suite(version_settings: IndexSettings) -> Suite:
    """One row a chunk, with the columns of `truths.with_chunk_truths`."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            *_not_null(gxe, "document_id", "text_digest"),
            *_between(gxe, "token_count", 1, version_settings.model.window_tokens),
            *(
                _true(gxe, column)
                for column in (
                    "body_is_present",
                    "text_digest_is_of_text",
                    "ordinals_are_complete",
                    "vector_is_there",
                    "vector_has_dimension",
                    "vector_is_finite",
                    "vector_is_of_unit_norm",
                )
            ),
        )

    return expectations


def collapse_suite() -> Suite:
    """One row a different text, with the digest of its vector: more than half of the vectors must differ."""

    def expectations(gxe: Any) -> Sequence[Any]:
        return (
            gxe.ExpectColumnProportionOfUniqueValuesToBeBetween(column="vector_digest", min_value=0.5, strict_min=True),
        )

    return expectations


def stores_suite(max_chunks: int) -> Suite:
    """One row a generation that was loaded: what was to be written, and what was read back."""

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

    return expectations


def run_suite(name: str, suite: Suite, frame: pd.DataFrame) -> list[Failure]:
    """Validate `frame` and say which expectations fail at which rows. Raises `GateFailed` if it cannot evaluate one."""
    frame = frame.reset_index(drop=True)
    # Its deprecations are its maintainers' to resolve; where warnings are errors they would stop the gate.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch, expectations = _batch(name, suite, frame)
        result = batch.validate(expectations, result_format=_RESULT_FORMAT)
    return [failure for one in result.results if (failure := _failure(name, one)) is not None]


def _batch(name: str, suite: Suite, frame: pd.DataFrame) -> tuple[Any, Any]:
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    definition = (
        context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    )
    batch = definition.get_batch(batch_parameters={"dataframe": frame})
    return batch, gx.ExpectationSuite(name=name, expectations=list(suite(gxe)))


def _failure(gate: str, result: Any) -> Failure | None:
    config = result.expectation_config
    columns = [config.kwargs[key] for key in ("column", "column_A", "column_B") if key in config.kwargs]
    expectation = f"{config.type}({', '.join(columns)})"
    if _raised(result.exception_info):
        raise GateFailed(
            f"The gate {gate} could not evaluate {expectation}: the frame's columns are not of the shape or type that "
            "the suite expects. Nothing of the run becomes visible; report this as a defect"
        )
    if result.success:
        return None
    rows = result.result.get("unexpected_index_list")
    return Failure(expectation, None if rows is None else tuple(int(row) for row in rows))


def _raised(info: Any) -> bool:
    """Great Expectations gives one of these, or one for each metric, as a dict of dicts."""
    if not info:
        return False
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(bool(one.get("raised_exception")) for one in info.values())


def _not_null(gxe: Any, *columns: str) -> list[Any]:
    return [gxe.ExpectColumnValuesToNotBeNull(column=column) for column in columns]


def _between(gxe: Any, column: str, low: int, high: int) -> list[Any]:
    # A missing value is between everything for Great Expectations, so it is asked for apart.
    return [
        gxe.ExpectColumnValuesToNotBeNull(column=column),
        gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high),
    ]


def _true(gxe: Any, column: str) -> Any:
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[True])
