"""The three gates, as functions from frames to a verdict.

A row that fails sends its document to quarantine; too many of them, or a fault that no single document explains, fail
the gate; and a gate that cannot come to a verdict has failed (`GateFailed`). A verdict holds counts, names of
expectations and document ids: never text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec
from uuid import UUID

from concordance.errors import ConcordanceError, GateFailed
from concordance.model import IndexSettings, Reason
from concordance.quality import suites, truths
from concordance.quality.suites import Failure
from concordance.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

Parameters = ParamSpec("Parameters")

# Raised with every change of what a gate lets through: what an older one rejected is tried again.
GATES_REVISION = 1

DOCUMENT_COLUMNS = (
    "document_id",
    "uri",
    "title",
    "fingerprint",
    "source",
    "size_bytes",
    "text_characters",
    "chunk_count",
)
CHUNK_COLUMNS = ("document_id", "ordinal", "text", "text_digest", "token_count", "heading_path")
VECTOR_COLUMNS = ("text_digest", "vector")
STORE_COLUMNS = (
    "document_id",
    "generation",
    "chunks_expected",
    "chunks_in_graph",
    "points_in_vectors",
    "digests_agree",
)


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate's verdict. `evaluated` and the keys of `rejected` and `failed_by` are documents, `failed_by` what each of
    them failed; `failed_expectations` counts rows."""

    gate: str
    passed: bool
    rejected: dict[UUID, Reason] = field(default_factory=dict)
    evaluated: int = 0
    failed_expectations: dict[str, int] = field(default_factory=dict)
    message: str = ""
    failed_by: dict[UUID, tuple[str, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "gate": self.gate,
            "passed": self.passed,
            "rejected": {str(document_id): reason.value for document_id, reason in sorted(self.rejected.items())},
            "evaluated": self.evaluated,
            "failed_expectations": dict(sorted(self.failed_expectations.items())),
            "message": self.message,
        }

    def require(self) -> None:
        """Raises `GateFailed` with the message unless the gate passed."""
        if not self.passed:
            raise GateFailed(self.message)


def _gate(name: str) -> Callable[[Callable[Parameters, GateResult]], Callable[Parameters, GateResult]]:
    """Whatever a gate raises means that it failed; the exception's own words may hold cell values and are dropped."""

    def decorate(check: Callable[Parameters, GateResult]) -> Callable[Parameters, GateResult]:
        @functools.wraps(check)
        def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> GateResult:
            try:
                return check(*args, **kwargs)
            except ConcordanceError:
                raise
            except Exception as error:
                raise GateFailed(
                    f"The gate {name} itself failed with {type(error).__name__} at {_place(error)}, which counts as "
                    "not passed: nothing of the run becomes visible"
                ) from None

        return guarded

    return decorate


@_gate("documents")
def check_documents(frame: pd.DataFrame, *, settings: Settings) -> GateResult:
    """After extract: every document has an id of its own, an address, a fingerprint, text and chunks within limits.

    `frame` has `DOCUMENT_COLUMNS`, one row a document. Raises `GateFailed` when it cannot be evaluated.
    """
    if frame.empty:
        return _nothing("documents")
    _require_columns("documents", frame, DOCUMENT_COLUMNS)
    checked = frame[[column for column in DOCUMENT_COLUMNS if column != "title"]]
    failures = suites.run_suite("documents", suites.documents_suite(settings), checked)
    return _verdict(
        "documents",
        frame,
        failures,
        reason_of=lambda _: Reason.GATE_DOCUMENTS,
        most_of=functools.partial(most_quarantined, settings=settings),
    )


@_gate("chunks")
def check_chunks(
    chunks_frame: pd.DataFrame, vectors_frame: pd.DataFrame, *, version_settings: IndexSettings, settings: Settings
) -> GateResult:
    """After embed: texts are what their digests say, ordinals are whole, each text has a sound vector, and the vectors
    as a whole tell texts apart.

    `chunks_frame` has `CHUNK_COLUMNS`, one row a chunk; `vectors_frame` has `VECTOR_COLUMNS`, at least one row for each
    text digest, vectors of `version_settings.model.dimension` values. Raises `GateFailed` when it cannot evaluate them.
    """
    if chunks_frame.empty:
        return _nothing("chunks")
    _require_columns("chunks", chunks_frame, CHUNK_COLUMNS)
    _require_columns("vectors", vectors_frame, VECTOR_COLUMNS)
    dimension = version_settings.model.dimension
    frame = truths.with_chunk_truths(chunks_frame, vectors_frame, dimension=dimension)
    failures = suites.run_suite("chunks", suites.chunks_suite(version_settings), frame)
    distinct = truths.distinct_vectors(chunks_frame, vectors_frame, dimension=dimension)
    if not distinct.empty:
        failures += suites.run_suite("vectors", suites.collapse_suite(), distinct)
    return _verdict(
        "chunks",
        chunks_frame,
        failures,
        reason_of=lambda expectation: Reason.BAD_VECTOR if "(vector_" in expectation else Reason.GATE_CHUNKS,
        most_of=functools.partial(most_quarantined, settings=settings),
    )


@_gate("stores")
def check_stores(frame: pd.DataFrame, *, settings: Settings) -> GateResult:
    """After load: both stores gave back what each generation was to write. One difference fails the gate, whatever
    fraction may be quarantined, because what is missing now was acknowledged before.

    `frame` has `STORE_COLUMNS`, one row a generation. Raises `GateFailed` when it cannot be evaluated.
    """
    if frame.empty:
        return _nothing("stores")
    _require_columns("stores", frame, STORE_COLUMNS)
    most = settings.max_chunks_per_document
    failures = suites.run_suite("stores", suites.stores_suite(most), frame[list(STORE_COLUMNS)])
    return _verdict("stores", frame, failures, reason_of=lambda _: Reason.STORE_REFUSED, most_of=lambda _: 0)


def most_quarantined(documents: int, *, settings: Settings) -> int:
    """How many of a run's documents may be rejected before the run stops."""
    return max(settings.tolerated_quarantined_documents, int(settings.max_quarantined_fraction * documents))


def _verdict(
    gate: str,
    frame: pd.DataFrame,
    failures: Sequence[Failure],
    *,
    reason_of: Callable[[str], Reason],
    most_of: Callable[[int], int],
) -> GateResult:
    document_ids = frame["document_id"].tolist()
    evaluated = len(set(document_ids))
    rejected: dict[UUID, Reason] = {}
    failed_by: dict[UUID, tuple[str, ...]] = {}
    fatal: list[str] = []
    for failure in failures:
        found = None if failure.rows is None else [_uuid(document_ids[row]) for row in failure.rows]
        if found is None or None in found:
            fatal.append(failure.expectation)
        for document_id in {each for each in found or () if each is not None}:
            rejected.setdefault(document_id, reason_of(failure.expectation))
            failed_by[document_id] = (*failed_by.get(document_id, ()), failure.expectation)
    most = most_of(evaluated)
    is_within = len(rejected) <= most
    return GateResult(
        gate=gate,
        passed=is_within and not fatal,
        rejected=rejected,
        evaluated=evaluated,
        failed_expectations={one.expectation: len(one.rows) if one.rows is not None else 1 for one in failures},
        message=_message(gate, evaluated, len(rejected), fatal=fatal, is_within=is_within, most=most),
        failed_by=failed_by,
    )


def _message(gate: str, evaluated: int, rejected: int, *, fatal: Sequence[str], is_within: bool, most: int) -> str:
    if fatal:
        return f"The gate {gate} failed as a whole on {', '.join(fatal)}: nothing of the run becomes visible"
    if not is_within:
        return (
            f"The gate {gate} rejected {rejected} of {evaluated} documents, more than the allowed "
            f"{most}: nothing of the run becomes visible. The failed expectations say what is wrong"
        )
    if rejected:
        return f"The gate {gate} passed; {rejected} of {evaluated} documents go to quarantine"
    return f"The gate {gate} passed all of {evaluated} documents"


def _nothing(gate: str) -> GateResult:
    return GateResult(gate, passed=True, message=f"The gate {gate} had nothing to check")


def _require_columns(what: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise GateFailed(
            f"The frame of {what} lacks the columns {', '.join(missing)}: its artefact is of another release"
        )


def _uuid(value: object) -> UUID | None:
    try:
        return value if isinstance(value, UUID) else UUID(str(value))
    except ValueError:
        return None


def _place(error: Exception) -> str:
    """File and line of the innermost frame: enough to find the defect, without a value."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "an unknown place"
    return f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"
