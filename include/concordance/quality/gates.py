"""The three gates, as functions from frames to a verdict.

A gate walks through a run in slices of whole documents, so that its memory does not grow with the run; what only the
whole run tells is added up on the way. A row that fails sends its document to quarantine; too many of them, or a fault
that no single document explains, fail the gate; and a gate that cannot come to a verdict has failed (`GateFailed`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import numpy as np
import numpy.typing as npt

from concordance.embedding.canaries import Canaries
from concordance.errors import ConcordanceError, GateFailed
from concordance.model import IndexSettings, Reason
from concordance.quality import jumps, suites
from concordance.quality.chunk_truths import Found, RunTexts, found_in, with_chunk_truths, with_coverage
from concordance.quality.document_truths import Origin, whole_run, with_document_truths
from concordance.quality.runner import Runner
from concordance.quality.vector_truths import vector_truths
from concordance.quality.verdict import GateResult, Tally
from concordance.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

Parameters = ParamSpec("Parameters")
Earlier = Sequence[Mapping[str, float]]

# Raised with every change of what a gate lets through: what an older one rejected is tried again.
GATES_REVISION = 3

DOCUMENT_COLUMNS = (
    "document_id",
    "uri",
    "fingerprint",
    "stamp",
    "source",
    "access",
    "size_bytes",
    "text_characters",
    "chunk_count",
    "damaged_characters",
    "language",
    "language_probability",
    "said_digest",
    "entities",
    "relations",
    "links",
)
CHUNKED_COLUMNS = ("document_id", "title", "chunk_count", "said_characters")
CHUNK_COLUMNS = ("document_id", "ordinal", "text", "text_digest", "token_count", "heading_path", "mentions")
VECTOR_COLUMNS = ("text_digest", "vector")
STORE_COLUMNS = (
    "document_id",
    "generation",
    "chunks_expected",
    "chunks_in_graph",
    "points_in_vectors",
    "digests_agree",
)
COUNT_COLUMNS = ("store", "rows_found", "rows_expected")

# What another person would mend in another place has a reason of its own.
_REASONS = {
    "text_is_undamaged": Reason.ENCODING_DAMAGE,
    "language_is_declared": Reason.WRONG_LANGUAGE,
    "content_is_no_duplicate": Reason.DUPLICATE_CONTENT,
    "entities_are_sound": Reason.GATE_ENTITIES,
    "relations_are_sound": Reason.GATE_ENTITIES,
    "links_are_sound": Reason.GATE_ENTITIES,
    "mentions_are_sound": Reason.GATE_ENTITIES,
    **dict.fromkeys(
        ("vector_is_there", "vector_has_dimension", "vector_is_finite", "vector_is_of_unit_norm"), Reason.BAD_VECTOR
    ),
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """What a shard's vectors say of how they were made: by which model (the fingerprint's digest), how many of them
    were encoded and not copied, and the canaries' vectors of that encoder, shape (texts, dimension)."""

    model: str
    encoded: int
    canaries: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class ShardFrames:
    """What the gate of chunks looks at of one shard. `documents` (`CHUNKED_COLUMNS`) are those that are not rejected,
    `chunks` slices of whole documents (`CHUNK_COLUMNS`), `vectors` slices in any order (`VECTOR_COLUMNS`). `taken_over`
    are the text digests of documents that a build took over: of these the vectors alone are judged."""

    documents: pd.DataFrame
    chunks: Iterable[pd.DataFrame]
    vectors: Iterable[pd.DataFrame]
    encoding: Encoding
    taken_over: frozenset[str] = frozenset()


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
def check_documents(
    frames: Iterable[pd.DataFrame],
    *,
    origin: Origin,
    settings: Settings,
    discovered: int | None = None,
    earlier: Earlier = (),
) -> GateResult:
    """After extract: every document is what its source and plan say, with text, entities and links within limits.

    `frames` (`DOCUMENT_COLUMNS`, one row a document) are walked through up to three times. `discovered` documents of
    the source are compared with the figures of `earlier` runs. Raises `GateFailed` when it cannot be evaluated.
    """
    tally, runner = Tally("documents"), Runner("documents")
    frames = _Required("documents", frames, DOCUMENT_COLUMNS)
    run = whole_run(frames, max_equal_documents=settings.max_equal_documents)
    suite = suites.documents_suite(settings)
    for frame in frames:
        tally.evaluated += frame["document_id"].nunique(dropna=False)
        checked = with_document_truths(frame, origin, run, settings)
        tally.take(
            runner.judge(suite, checked), frame["document_id"].tolist(), reason_of=_reason(Reason.GATE_DOCUMENTS)
        )
    if run.equal:
        tally.warnings.append(f"{run.equal} documents say exactly what another one of the run says")
    if discovered is not None and tally.evaluated:
        tally.figures[jumps.DOCUMENTS] = discovered
    return _compared(tally, earlier, settings)


@_gate("chunks")
def check_chunks(
    shards: Iterable[ShardFrames],
    *,
    canaries: Canaries | None,
    version_settings: IndexSettings,
    settings: Settings,
    earlier: Earlier = (),
) -> GateResult:
    """After embed: chunks hold their documents' text, each text has a sound vector of the version's model, and the
    vectors as a whole tell texts apart.

    `canaries` are those of the index version, None where it has none. Raises `GateFailed` when it cannot evaluate.
    """
    tally, runner, run = Tally("chunks"), Runner("chunks"), RunTexts()
    for shard in shards:
        _check_shard(shard, tally, runner, run, canaries, version_settings=version_settings, settings=settings)
    if run.chunks:
        _check_run(tally, runner, run, settings)
        if canaries is None:
            tally.warnings.append(
                "This index version was made before canary texts were kept, so nothing says whether its model still "
                "gives the same vectors; the next index version has them"
            )
    return _compared(tally, earlier, settings)


def _check_shard(
    shard: ShardFrames,
    tally: Tally,
    runner: Runner,
    run: RunTexts,
    canaries: Canaries | None,
    *,
    version_settings: IndexSettings,
    settings: Settings,
) -> None:
    _require_columns("documents", shard.documents, CHUNKED_COLUMNS)
    titles = {
        str(document): title if isinstance(title, str) else None
        for document, title in zip(shard.documents["document_id"], shard.documents["title"], strict=True)
    }
    vectors = _Required("vectors", shard.vectors, VECTOR_COLUMNS)
    truths = vector_truths(vectors, dimension=version_settings.model.dimension)
    suite, found = suites.chunks_suite(version_settings), dict[str, Found]()
    for chunks in _Required("chunks", shard.chunks, CHUNK_COLUMNS):
        checked = with_chunk_truths(chunks, truths, titles, settings=settings)
        tally.take(runner.judge(suite, checked), chunks["document_id"].tolist(), reason_of=_reason(Reason.GATE_CHUNKS))
        run.take(chunks, truths)
        found |= found_in(chunks)
    tally.evaluated += len(titles.keys() | found.keys())
    if not shard.documents.empty:
        covered = with_coverage(shard.documents, found, settings=settings)
        of = shard.documents["document_id"].tolist()
        tally.take(runner.judge(suites.coverage_suite(), covered), of, reason_of=_reason(Reason.GATE_CHUNKS))
    # No document answers for these. The vectors of what was rejected are nobody's: a gate that is asked again, when its
    # answer was lost, must not stop the run for what it has put into quarantine itself.
    alone = truths[truths.index.isin(shard.taken_over)]
    for start in range(0, len(alone), settings.gate_slice_rows):
        tally.take(runner.judge(suites.vectors_suite(), alone.iloc[start : start + settings.gate_slice_rows]))
    if found or len(alone):
        encoding = _encoding_row(shard.encoding, canaries, version_settings)
        tally.take(runner.judge(suites.encodings_suite(settings), encoding))


def _encoding_row(encoding: Encoding, canaries: Canaries | None, version_settings: IndexSettings) -> pd.DataFrame:
    import pandas as pd

    # What was only copied was checked when it was encoded.
    is_compared = canaries is not None and encoding.encoded > 0
    distance = canaries.distance(encoding.canaries) if canaries is not None and is_compared else 0.0
    is_the_versions = encoding.model == version_settings.model.digest
    return pd.DataFrame({"model_is_the_versions": [is_the_versions], "canary_distance": [distance]})


def _check_run(tally: Tally, runner: Runner, run: RunTexts, settings: Settings) -> None:
    import pandas as pd

    recurring, chunks = run.repeated(documents=tally.evaluated, settings=settings)
    fractions = {
        "distinct_vector_fraction": [run.distinct_vector_fraction()],
        "repeated_chunk_fraction": [chunks / run.chunks],
    }
    tally.take(runner.judge(suites.run_suite(settings), pd.DataFrame(fractions)))
    if recurring:
        # The documents are good and stay; their common part only crowds search results. Where most of a run is a
        # common part, it is no content at all (a log-in form, a broken parser): the suite stops that.
        tally.warnings.append(
            f"{recurring} chunk bodies recur in many documents and are {chunks} of the run's {run.chunks} chunks: the "
            "next index version leaves out what recurs"
        )
    tally.figures |= {
        jumps.CHECKED: tally.evaluated,
        jumps.CHUNK_CHARACTERS: run.characters / run.chunks,
        jumps.ENTITIES: run.mentions / run.chunks,
    }


@_gate("stores")
def check_stores(
    loaded: Iterable[pd.DataFrame],
    *,
    settings: Settings,
    current: Iterable[pd.DataFrame] = (),
    counts: pd.DataFrame | None = None,
) -> GateResult:
    """After load: both stores gave back what each generation was to write; what is current of the run's documents is
    as it was promised; and no store holds fewer rows of the source than the ledger. One difference fails the gate,
    whatever fraction may be quarantined, because what is missing now was acknowledged before.

    `loaded` and `current` have `STORE_COLUMNS`, one row a generation, `counts` has `COUNT_COLUMNS`, one row a store.
    Raises `GateFailed` when it cannot be evaluated.
    """
    tally, runner = Tally("stores"), Runner("stores")
    most = settings.max_chunks_per_document
    for frame in _Required("stores", loaded, STORE_COLUMNS):
        tally.evaluated += len(frame)
        judged = runner.judge(suites.stores_suite(most), frame[list(STORE_COLUMNS)])
        tally.take(judged, frame["document_id"].tolist(), reason_of=lambda _: Reason.STORE_REFUSED)
    for frame in _Required("current generations", current, STORE_COLUMNS):
        # The new state of these documents is not to blame: nothing of them goes to quarantine.
        tally.take(runner.judge(suites.stores_suite(most, of_current=True), frame[list(STORE_COLUMNS)]))
    if counts is not None:
        _require_columns("counts", counts, COUNT_COLUMNS)
        tally.take(runner.judge(suites.counts_suite(), counts[list(COUNT_COLUMNS)]))
    return tally.verdict(most_of=lambda _: 0)


def most_quarantined(documents: int, *, settings: Settings) -> int:
    """How many of a run's documents may be rejected before the run stops."""
    return max(settings.tolerated_quarantined_documents, int(settings.max_quarantined_fraction * documents))


def _compared(tally: Tally, earlier: Earlier, settings: Settings) -> GateResult:
    found = jumps.jumps(tally.figures, earlier, settings=settings)
    tally.warnings += found
    return tally.verdict(
        most_of=functools.partial(most_quarantined, settings=settings), jumps_stop=found if settings.jumps_stop else ()
    )


def _reason(otherwise: Reason) -> Callable[[str], Reason]:
    return lambda expectation: _REASONS.get(expectation.partition("(")[2].rstrip(")"), otherwise)


class _Required:
    """Frames that have these columns, and at least one row each."""

    def __init__(self, what: str, frames: Iterable[pd.DataFrame], columns: Sequence[str]) -> None:
        self._what, self._frames, self._columns = what, frames, columns

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for frame in self._frames:
            if not frame.empty:
                _require_columns(self._what, frame, self._columns)
                yield frame


def _require_columns(what: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise GateFailed(
            f"The frame of {what} lacks the columns {', '.join(missing)}: its artefact is of another release. Start a "
            "new run"
        )


def _place(error: Exception) -> str:
    """File and line of the innermost frame: enough to find the defect, without a value."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "an unknown place"
    return f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"
