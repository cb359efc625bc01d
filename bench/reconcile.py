"""Reconcile: how many chunks a second are compared on the embedded stores, and what memory a million chunks need.

The embedded index is written past the pipeline, straight into both stores; its ledger is then rebuilt from them, which
is measured too. The million rows are made by code as they are read: they measure the comparison alone, in a process of
its own, on an index that is sound and on one that lost every chunk of a store. `python -m bench.reconcile` runs this
file alone; `CONCORDANCE_BENCH_CHUNKS` sets the embedded index's size.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
from bench.corpora import NOUNS, SENTENCES
from bench.figures import Figure, seconds, show
from bench.stacks import stack

from concordance import ids
from concordance.consistency.buckets import Buckets, Fold
from concordance.consistency.rebuild import rebuild_ledger
from concordance.consistency.verify import Scope, verify
from concordance.ledger.reading import Promise
from concordance.model import (
    ChunkRow,
    Content,
    DocumentRow,
    Entity,
    EntityRow,
    EntityType,
    GenerationKey,
    GraphBatch,
    IndexSettings,
    IndexVersion,
    MentionRow,
    Point,
    Span,
    SparseVector,
    StoreCounts,
    StoredChunk,
    StoredContent,
)
from concordance.operations.process import peak_bytes
from concordance.pipeline import index
from concordance.pipeline.adapters import Adapters, open_adapters
from concordance.settings import Settings

EMBEDDED_CHUNKS = int(os.environ.get("CONCORDANCE_BENCH_CHUNKS", "50000"))
SYNTHETIC_CHUNKS = 1_000_000
_CHUNKS_A_DOCUMENT = 20
_DOCUMENTS_A_BATCH = 50


def measure() -> list[Figure]:
    """All figures of reconcile, in one run."""
    return [*_synthetic(), *_embedded()]


# --- a million rows made by code --------------------------------------------------------------------------------------


def _synthetic() -> list[Figure]:
    figures = []
    for case, name in (("sound", "sound"), ("lost", "one store lost all")):
        answer = subprocess.run(
            [sys.executable, "-m", "bench.reconcile", "synthetic", case],
            capture_output=True,
            text=True,
            check=True,
            env=dict(os.environ),
        )
        megabytes, rate = map(float, answer.stdout.split())
        figures.append(Figure(f"reconcile, memory at 1,000,000 chunks, {name}", megabytes, "MB", "<= 500"))
        figures.append(Figure(f"reconcile, comparison alone, {name}", rate, "chunks/s"))
    return figures


class _Made:
    """Ledger and both stores at once: rows that are computed when they are asked for."""

    def __init__(self, chunks: int, *, lost: bool) -> None:
        self.count, self.lost = chunks, lost
        self.version = IndexVersion(1, "live", _settings_of_nothing())
        self.buckets = Buckets(chunks)

    def rows(self, span: Span | None, *, document: bytes | None, view: bytes | None) -> Iterator[StoredChunk]:
        """Evenly spread ids, so that a span's rows are found without making the others."""
        step = 2**128 // self.count
        first = 0 if span is None else -(-span.first.int // step)
        last = self.count - 1 if span is None else min(self.count - 1, span.last.int // step)
        for number in range(first, last + 1):
            owner = UUID(int=number // _CHUNKS_A_DOCUMENT + 1)
            digest = f"{number:064x}"
            yield StoredChunk(UUID(int=number * step), owner, 1, number % _CHUNKS_A_DOCUMENT, digest, document, view)

    # the ledger's snapshot

    def snapshot(self) -> _Made:
        return self

    def __enter__(self) -> _Made:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def live(self) -> IndexVersion:
        return self.version

    def kept(self) -> list[IndexVersion]:
        return [self.version]

    def committed(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        return self.rows(span, document=b"document", view=None)

    def current(self, version: IndexVersion, keys: Any) -> dict[GenerationKey, Any]:
        return dict.fromkeys(keys)

    def in_flight(self, version: IndexVersion) -> frozenset[GenerationKey]:
        return frozenset()

    def counts(self, version: IndexVersion) -> Any:
        return {"chunks": self.count}

    def promises(self, version: IndexVersion, *, after: UUID, limit: int) -> list[Promise]:
        return []

    def miscounted(self, version: IndexVersion) -> list[GenerationKey]:
        return []

    def overdue(self, version: IndexVersion, *, seconds: float) -> list[GenerationKey]:
        return []

    def forbidden_history(self) -> dict[str, int]:
        return {}


class _MadeStore:
    def __init__(self, made: _Made, *, is_graph: bool) -> None:
        self._made, self._is_graph = made, is_graph

    def scan(self, version: IndexVersion) -> Iterator[StoredChunk]:
        return self.chunks(version)

    def chunks(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        return self._made.rows(span, document=None, view=b"view")

    def points(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        return iter(()) if self._made.lost else self._made.rows(span, document=b"document", view=b"view")

    def contents(self, version: IndexVersion, keys: Any) -> dict[GenerationKey, StoredContent]:
        return {}

    def anchors(self, version: IndexVersion, keys: Any) -> dict[UUID, Any]:
        return {}

    def schema_gaps(self, *_: object) -> list[str]:
        return []

    def counts(self, version: IndexVersion) -> StoreCounts:
        return StoreCounts({})

    def orphans(self, version: IndexVersion) -> dict[str, int]:
        return {}

    def altered_entities(self, version: IndexVersion) -> Iterator[str]:
        return iter(())

    def checked_vectors(self, version: IndexVersion, span: Span | None = None) -> Iterator[None]:
        return iter(())

    def description(self, version: IndexVersion) -> str:
        return ""

    def pointer(self) -> int:
        return 1


def _one_synthetic(case: str) -> None:
    made = _Made(SYNTHETIC_CHUNKS, lost=case == "lost")
    stores: Any = _MadeStore(made, is_graph=True), _MadeStore(made, is_graph=False)
    ledger: Any = made
    before = time.perf_counter()
    report = verify(ledger=ledger, graph=stores[0], vectors=stores[1])
    seconds = time.perf_counter() - before
    assert report.is_sound == (case == "sound")
    print(peak_bytes() / 1e6, SYNTHETIC_CHUNKS / seconds)


# --- the embedded stores ----------------------------------------------------------------------------------------------


def _embedded() -> list[Figure]:
    longest: dict[str, Any] = {"ledger_timeout_seconds": 60, "graph_timeout_seconds": 60, "vectors_timeout_seconds": 60}
    with (
        stack(sources=(), lease_seconds=300, call_timeout_seconds=300, **longest) as (up, _),
        open_adapters(up) as adapters,
    ):
        return _measured(adapters, up)


def _measured(adapters: Adapters, settings: Settings) -> list[Figure]:
    version = replace(
        IndexVersion(1, "live", _settings_of_nothing()),
        settings=replace(_settings_of_nothing(), model=adapters.embedder.fingerprint),
    )
    _fill(adapters, version)
    rebuilding = seconds(lambda: rebuild_ledger(adapters=adapters, settings=settings))
    reads = {
        "ledger": seconds(lambda: _folded_ledger(adapters, version)),
        "graph": seconds(lambda: Fold(Buckets(EMBEDDED_CHUNKS)).take(adapters.graph.scan(version))),
        "vectors": seconds(lambda: Fold(Buckets(EMBEDDED_CHUNKS)).take(adapters.vectors.points(version))),
    }
    tools = {"ledger": adapters.ledger, "graph": adapters.graph, "vectors": adapters.vectors}
    whole = seconds(lambda: _sound(verify(**tools)))  # type: ignore[arg-type]
    sampled = seconds(lambda: _sound(verify(**tools, scope=Scope(sampled=20))))  # type: ignore[arg-type]
    every = EMBEDDED_CHUNKS
    return [
        Figure("reconcile, chunks in the stores", every, "chunks"),
        *(
            Figure(f"reconcile, {store} read and folded", every / taken, "chunks/s", ">= 15000")
            for store, taken in reads.items()
        ),
        Figure("reconcile, whole verify, rows of three stores", 3 * every / whole, "rows/s", ">= 15000"),
        Figure("reconcile, whole verify", every / whole, "chunks/s"),
        Figure("reconcile, sampled verify", sampled, "s"),
        Figure("reconcile, ledger rebuilt from the stores", every / rebuilding, "chunks/s"),
    ]


def _folded_ledger(adapters: Adapters, version: IndexVersion) -> None:
    with adapters.ledger.snapshot() as snapshot:
        Fold(Buckets(EMBEDDED_CHUNKS)).take(snapshot.committed(version))


def _sound(report: Any) -> None:
    assert report.is_sound, report.findings


def _fill(adapters: Adapters, version: IndexVersion) -> None:
    """Documents of about 800 characters a chunk, one mention each, settled in both stores."""
    dice = random.Random(11)
    adapters.graph.prepare()
    adapters.vectors.prepare(version)
    documents = EMBEDDED_CHUNKS // _CHUNKS_A_DOCUMENT
    for start in range(0, documents, _DOCUMENTS_A_BATCH):
        rows, batch, points = _batch(range(start, min(documents, start + _DOCUMENTS_A_BATCH)), version, dice)
        adapters.graph.write(version, batch, timeout_seconds=300)
        adapters.vectors.upsert(version, points, timeout_seconds=300)
        adapters.graph.settle(version, rows, timeout_seconds=300)
        keys = [GenerationKey(row.document_id, row.generation) for row in rows]
        adapters.vectors.settle(version, keys, timeout_seconds=300)
    adapters.graph.describe(version, index.describe(version, {"gazetteer": [], "boilerplate": []}))
    adapters.graph.point_to(version)
    adapters.vectors.point_to(version)


def _batch(
    numbers: range, version: IndexVersion, dice: random.Random
) -> tuple[list[DocumentRow], GraphBatch, list[Point]]:
    rows: list[DocumentRow] = []
    chunks: list[ChunkRow] = []
    mentions: list[MentionRow] = []
    points: list[Point] = []
    entities = {noun: EntityRow(Entity(EntityType.TERM, noun).key("bench"), "bench", "term", noun) for noun in NOUNS}
    vector = np.full(version.settings.model.dimension, version.settings.model.dimension**-0.5, dtype=np.float32)
    for number in numbers:
        uri = f"{number:07}.md"
        document_id = ids.document_id(tenant="bench", source="corpus", uri=uri)
        mine: list[ChunkRow] = []
        counted: dict[str, int] = {}
        for ordinal in range(_CHUNKS_A_DOCUMENT):
            text = f"Note {number} > Part {ordinal}\n\n" + " ".join(
                dice.choice(SENTENCES).format(*dice.choices(NOUNS, k=3)) for _ in range(16)
            )
            chunk_id = ids.chunk_id(
                index_version=version.version, document_id=document_id, generation=1, ordinal=ordinal
            )
            mine.append(ChunkRow(chunk_id, document_id, 1, ordinal, text, ids.text_digest(text), ("Part",)))
            named = entities[dice.choice(NOUNS)].entity_key
            mentions.append(MentionRow(named, chunk_id, 1))
            counted[named] = counted.get(named, 0) + 1
        digests = tuple(chunk.text_digest for chunk in mine)
        nothing: frozenset[Any] = frozenset()
        content = Content(digests, counted, nothing, nothing, nothing, uri, ("public",), "fingerprint")
        row = DocumentRow(
            document_id, "bench", "corpus", uri, 1, uri, "fingerprint", ("public",), "stamp", content.digest
        )
        rows.append(row)
        chunks += mine
        points += [
            Point(
                chunk.chunk_id, document_id, 1, chunk.ordinal, "bench", "corpus", uri, uri, chunk.heading_path,
                chunk.text, chunk.text_digest, ("public",), vector, SparseVector((1,), (1.0,)),
            )
            for chunk in mine
        ]  # fmt: skip
    return rows, GraphBatch(tuple(rows), tuple(chunks), tuple(entities.values()), tuple(mentions)), points


def _settings_of_nothing() -> IndexSettings:
    from concordance.embedding.hashing import HashEmbedder

    return IndexSettings(16, 64, 8, 1, 1, 1, 1.2, 0.75, 45.0, "", HashEmbedder().fingerprint)


if __name__ == "__main__":
    if sys.argv[1:2] == ["synthetic"]:
        _one_synthetic(sys.argv[2])
    else:
        show(measure())
