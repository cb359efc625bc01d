"""The pipeline against a bare loop, what a run without changes costs, and what one edit costs.

The bare loop is what one writes without any promise: split, `UNWIND ... MERGE`, `upsert`. Both use hash vectors, so
that the encoder does not hide the rest, the same splitter window and the same stores. Ratios only: the machine's own
speed cancels out within one run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import effort
from bench.corpora import document
from bench.figures import Figure, median_of, show, taking_turns
from bench.safety import SAFETY, SETTLE, WRITES, Stopwatch
from bench.stacks import stack

from concordance import fault_points
from concordance.embedding.hashing import HashEmbedder
from concordance.pipeline.adapters import Adapters, open_adapters
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import PlanReference, RunReport, RunRequest
from concordance.pipeline.report import report
from concordance.pipeline.run import ingest
from concordance.settings import Settings

PAIRS = 5
DOCUMENTS, QUICK_DOCUMENTS = 250, 40
PLANNED_DOCUMENTS = 10_000


def measure() -> list[Figure]:
    """All figures of the pipeline, in one run."""
    with stack(sources=(*_corpora(), "many", "edited")) as (settings, folder):
        parts = (_against_bare_loop, _without_changes, _one_edit)
        return [figure for part in parts for figure in part(settings, folder)]


def _corpora() -> list[str]:
    """A corpus for each pair: no text of it is known from the one before."""
    return [f"corpus-{number}" for number in range(effort.pairs(PAIRS))]


def _against_bare_loop(settings: Settings, folder: Path) -> list[Figure]:
    documents = QUICK_DOCUMENTS if effort.is_quick() else DOCUMENTS
    for number, corpus in enumerate(_corpora()):
        for seed in range(documents):
            (folder / corpus / f"{seed:04}.md").write_text(document(number * documents + seed))
    ours, bares = iter(_corpora()), iter(_corpora())
    watches, chunks, bare_chunks = [], [0], []
    with open_adapters(settings) as adapters:
        import great_expectations  # noqa: F401 - its import is not what is compared

        ingest(RunRequest("edited", "warm-up", dry_run=True), adapters=adapters, settings=settings)

        def pipeline() -> float:
            corpus = next(ours)
            with fault_points.hooked(stopwatch := Stopwatch()):
                began = time.perf_counter()
                ran = _ingest(adapters, settings, corpus, f"bench-{corpus}")
                took = time.perf_counter() - began
            assert ran.counts["committed"] == documents
            watches.append(stopwatch)
            with adapters.ledger.snapshot() as snapshot:
                chunks.append(snapshot.counts(snapshot.live())["chunks"])
            return took

        def bare() -> float:
            took, made = _bare_loop(settings, folder / next(bares))
            bare_chunks.append(made)
            return took

        pairs = taking_turns(pipeline, bare, pairs=PAIRS)
    ratio = "pipeline / bare loop, time for the corpus"
    return [
        Figure("pipeline, chunks", chunks[1], "chunks"),
        Figure("bare loop, chunks", bare_chunks[0], "chunks"),
        median_of(
            "pipeline, rate",
            [(after - before) / one for before, after, (one, _) in zip(chunks, chunks[1:], pairs, strict=False)],
            "chunks/s",
        ),
        median_of(
            "bare loop, rate", [made / two for made, (_, two) in zip(bare_chunks, pairs, strict=True)], "chunks/s"
        ),
        median_of(ratio, [one / two for one, two in pairs], "x", "<= 1.5"),
        *_safety(watches),
    ]


def _safety(watches: Sequence[Stopwatch]) -> list[Figure]:
    def spent(effects: tuple[str, ...]) -> list[float]:
        return [watch.total(effects) for watch in watches]

    def against_writing(effects: tuple[str, ...]) -> list[float]:
        return [one / writes for one, writes in zip(spent(effects), spent(WRITES), strict=True)]

    return [
        median_of("writing both stores", spent(WRITES), "s"),
        *(median_of(f"  {effect}", spent((effect,)), "s") for effect in (*WRITES, *SAFETY, *SETTLE)),
        median_of("intent, read-back and publish / writing", against_writing(SAFETY), "x", "<= 0.25"),
        median_of("settle (raw readers' view) / writing", against_writing(SETTLE), "x"),
    ]


def _bare_loop(settings: Settings, corpus: Path) -> tuple[float, int]:
    """Split, UNWIND, upsert: no ids that survive an edit, no ledger, no gates, no read-back."""
    import uuid

    import neo4j
    import qdrant_client
    from qdrant_client import models
    from semantic_text_splitter import MarkdownSplitter
    from tokenizers import Tokenizer

    from concordance.embedding.backends import model_folder

    tokenizer = Tokenizer.from_file(str(model_folder(settings) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    splitter = MarkdownSplitter.from_huggingface_tokenizer(
        tokenizer, (settings.chunk_min_tokens, settings.chunk_max_tokens)
    )
    embedder = HashEmbedder()
    driver = neo4j.GraphDatabase.driver(
        settings.effective_neo4j_url,
        auth=(settings.effective_neo4j_user, settings.neo4j_password.get_secret_value()),
    )
    client = qdrant_client.QdrantClient(
        url=settings.effective_qdrant_url, api_key=settings.qdrant_api_key.get_secret_value(), timeout=60
    )
    name = f"bare-{corpus.name}"
    client.create_collection(name, vectors_config=models.VectorParams(size=384, distance=models.Distance.DOT))
    with driver, driver.session(database=settings.effective_neo4j_database) as session:
        session.run("CREATE CONSTRAINT bare_key IF NOT EXISTS FOR (c:Bare) REQUIRE c.key IS UNIQUE").consume()
        started = time.perf_counter()
        rows = [
            {"key": str(uuid.uuid4()), "uri": path.name, "text": text}
            for path in sorted(corpus.iterdir())
            for text in splitter.chunks(path.read_text())
        ]
        vectors = embedder.encode([row["text"] for row in rows])
        for start in range(0, len(rows), 1000):
            page = rows[start : start + 1000]
            session.run(
                "UNWIND $rows AS row MERGE (c:Bare {key: row.key}) SET c.uri = row.uri, c.text = row.text", rows=page
            ).consume()
        for start in range(0, len(rows), 256):
            client.upsert(
                name,
                [
                    models.PointStruct(id=row["key"], vector=vector.tolist(), payload=row)
                    for row, vector in zip(rows[start : start + 256], vectors[start : start + 256], strict=True)
                ],
                wait=True,
            )
        seconds = time.perf_counter() - started
    client.close()
    return seconds, len(rows)


def _without_changes(settings: Settings, folder: Path) -> list[Figure]:
    for number in range(PLANNED_DOCUMENTS):
        path = folder / "many" / f"{number:05}.md"
        path.write_text(f"# Note {number}\n\nOne short note with the number {number}.\n")
    with open_adapters(settings) as adapters:

        def planned(run_id: str, *, is_dry: bool) -> tuple[PlanReference, float]:
            started = time.perf_counter()
            plan = make_plan(RunRequest("many", run_id, dry_run=is_dry), adapters=adapters, settings=settings)
            return plan, PLANNED_DOCUMENTS / (time.perf_counter() - started)

        first, first_rate = planned("bench-many-first", is_dry=True)
        assert first.counts["added"] == PLANNED_DOCUMENTS
        _ingest(adapters, settings, "many", "bench-many")
        before = _written(adapters)
        again, again_rate = planned("bench-many-again", is_dry=False)
        assert again.is_noop
        report(again, adapters=adapters)
        return [
            Figure("plan of a new source, rate", first_rate, "documents/s", ">= 10000"),
            Figure("no-op plan, rate", again_rate, "documents/s", ">= 10000"),
            Figure("no-op run, rows written to the stores", _written(adapters) - before, "rows", "0"),
        ]


def _one_edit(settings: Settings, folder: Path) -> list[Figure]:
    path = folder / "edited" / "manual.md"
    path.write_text(document(7, paragraphs=60))
    with open_adapters(settings) as adapters:
        first = _ingest(adapters, settings, "edited", "bench-edited-1")
        text = path.read_text()
        middle = text.index("asks the", len(text) // 2)
        path.write_text(text[:middle] + "patiently " + text[middle:])
        edited = _ingest(adapters, settings, "edited", "bench-edited-2")
        path.rename(path.with_name("renamed.md"))
        renamed = _ingest(adapters, settings, "edited", "bench-edited-3")
    return [
        Figure("document for the edit, chunks", first.counts["embedded"] + first.counts["reused"], "chunks"),
        Figure("one sentence edited, texts embedded", edited.counts["embedded"], "texts", "<= 3"),
        Figure("document renamed, texts embedded", renamed.counts["embedded"], "texts", "0"),
    ]


def _ingest(adapters: Adapters, settings: Settings, source: str, run_id: str) -> RunReport:
    return ingest(RunRequest(source, run_id, approved=True), adapters=adapters, settings=settings)


def _written(adapters: Adapters) -> int:
    with adapters.ledger.snapshot() as snapshot:
        version = snapshot.live()
    counts: dict[str, Any] = {**adapters.graph.counts(version).rows, **adapters.vectors.counts(version).rows}
    return sum(counts.values())


if __name__ == "__main__":
    show(measure())
