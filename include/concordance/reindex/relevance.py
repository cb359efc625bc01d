"""The relevance gate carried out: whether the next index version answers as well as the live one, before the flip.

It reads the live version's documents, asks both versions every query by the ranking that readers get, compares HNSW
with exact search in the next one, and looks at every returned point for one that another tenant owns. What is good
enough is decided in `quality.relevance`. It has the vector store build its index first, and stages its report; it
writes nothing else, and may be run again at any time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from concordance import fault_points, ids
from concordance.chunking.bm25 import query_vector
from concordance.model import IndexVersion, ModelFingerprint, Vector
from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.quality.relevance import (
    CurrentDocument,
    Evidence,
    HnswRecall,
    Leaks,
    Query,
    RelevanceReport,
    VectorAgreement,
    judge,
)
from concordance.reindex.asking import Asking, Question
from concordance.reindex.queries import gate_queries, texts_of
from concordance.settings import Settings
from concordance.staging import Artefact


@dataclass(frozen=True, slots=True)
class RelevanceResult:
    """The verdict, and where it is kept in the staging area."""

    report: RelevanceReport
    kept: Artefact

    @property
    def passed(self) -> bool:
        return self.report.passed

    @property
    def message(self) -> str:
        return f"{self.report.message} (report: {self.kept.path} in the staging area)"

    def as_json(self) -> dict[str, Any]:
        """For the ledger: the verdict without its queries, and where they are."""
        return {
            "passed": self.passed,
            "message": self.message,
            "judges_little": self.report.judges_little,
            "queries": len(self.report.evidence.pairs),
            "queries_that_live_answers": self.report.answerable,
            "comparisons": [each.as_json() for each in self.report.comparisons],
            "report": self.kept.as_json(),
        }


def check_relevance(
    live: IndexVersion,
    following: IndexVersion,
    *,
    adapters: Adapters,
    settings: Settings,
    seed: int,
) -> RelevanceResult:
    """Judge `following` against `live`; the same seed over the same indexes asks the same queries.

    Raises `Unavailable` when a store, the ledger or the staging area does not answer, `Misconfigured` when the file of
    golden queries is wrong or a version's model is not here. A failed gate is a result, no error.
    """
    with telemetry.timer("relevance.duration"):
        report = _judged(live, following, adapters=adapters, settings=settings, seed=seed)
    content = ids.canonical_json(report.as_json()).encode()
    kept = adapters.staging.put(
        "gate",
        ["relevance", live.version, following.version, ids.bytes_digest(content)],
        content,
        rows=len(report.evidence.pairs),
        suffix=".json",
    )
    telemetry.count("build.gate_passed" if report.passed else "build.gate_failed", 1, gate="relevance")
    return RelevanceResult(report, kept)


def _judged(
    live: IndexVersion,
    following: IndexVersion,
    *,
    adapters: Adapters,
    settings: Settings,
    seed: int,
) -> RelevanceReport:
    started_at, seconds = datetime.now(UTC).isoformat(timespec="milliseconds"), dict[str, float]()
    with _timed("hnsw", seconds), fault_points.around("vectors.hnsw"):
        adapters.vectors.build_hnsw(following, timeout_seconds=settings.relevance_index_seconds)
    with _timed("queries", seconds):
        made = gate_queries(live, adapters=adapters, settings=settings, seed=seed)
    with _timed("encode", seconds):
        near = _encoded([query.text for query in made.queries], (live, following), adapters)
        agreement = _agreement(following, made.documents, adapters=adapters, settings=settings)
    with _timed("ask", seconds):
        asking = Asking(live, following, tenants=made.tenants, adapters=adapters, settings=settings)
        asked = asking.ask_all(_questions(made.queries, *near, settings=settings, seed=seed))
    leaks = [leak for each in asked for leak in each.leaks]
    recalls = [each.hnsw_recall for each in asked if each.hnsw_recall is not None]
    evidence = Evidence(
        live_version=live.version,
        next_version=following.version,
        live_documents=made.held,
        pairs=tuple(each.pair for each in asked),
        leaks=Leaks.of(sum(each.checked for each in asked), leaks, at_most=settings.gate_report_documents),
        hnsw=HnswRecall.of(adapters.vectors.index_state(following), recalls),
        agreement=agreement,
        warnings=made.warnings,
        started_at=started_at,
        seconds=seconds,
    )
    return judge(evidence, settings=settings, seed=seed)


def _questions(
    queries: Sequence[Query], before: Sequence[Vector], after: Sequence[Vector], *, settings: Settings, seed: int
) -> list[Question]:
    """The queries as the stores take them; on some of them, drawn by the seed, HNSW is compared with exact search."""
    # Drawn for a comparison that must repeat, not for a secret.
    rng = random.Random(seed)  # noqa: S311
    compared = set(rng.sample(range(len(queries)), min(len(queries), settings.relevance_hnsw_queries)))
    return [
        Question(query, early, late, query_vector(query.text), compares_hnsw=number in compared)
        for number, (query, early, late) in enumerate(zip(queries, before, after, strict=True))
    ]


def _agreement(
    following: IndexVersion,
    documents: Sequence[CurrentDocument],
    *,
    adapters: Adapters,
    settings: Settings,
) -> VectorAgreement:
    """The next version's vectors of one chunk of each of some documents, beside what its model says of the texts."""
    wanted = {document.row.document_id: document.chunks for document in documents[: settings.relevance_vector_chunks]}
    with adapters.ledger.snapshot() as snapshot:
        rows = snapshot.documents(following, wanted.keys())
    there = [CurrentDocument(row, wanted[document_id]) for document_id, row in sorted(rows.items())]
    texts = {
        chunk.chunk_id: chunk.text
        for _, chunks in texts_of(following, there, adapters=adapters, settings=settings)
        for chunk in sorted(chunks, key=lambda chunk: chunk.chunk_id)[:1]
    }
    stored = adapters.vectors.vectors(following, list(texts)) if texts else {}
    if not stored:
        return VectorAgreement.of([], [])
    encoded = adapters.embedder_of(following).encode([texts[chunk_id] for chunk_id in stored])
    return VectorAgreement.of(list(stored.values()), list(encoded))


def _encoded(texts: Sequence[str], versions: Sequence[IndexVersion], adapters: Adapters) -> list[Sequence[Vector]]:
    """The texts' vectors by each version's model; a model that both have encodes once."""
    by_model: dict[ModelFingerprint, Sequence[Vector]] = {}
    for version in versions:
        model = version.settings.model
        if model not in by_model:
            by_model[model] = list(adapters.embedder_of(version).encode(texts)) if texts else []
    return [by_model[version.settings.model] for version in versions]


@contextmanager
def _timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[name] = time.monotonic() - begun
