"""The pipeline against a bare loop, what a run without changes costs, and what one edit costs.

The bare loop is what one writes without any promise: split, `UNWIND ... MERGE`, `upsert`. Both use hash vectors, so
that the encoder does not hide the rest, the same splitter window and the same stores. Ratios only: the machine's own
speed cancels out within one run.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.figures import Figure
from bench.safety import SAFETY, SETTLE, WRITES, Stopwatch

from concordance import fault_points
from concordance.embedding.hashing import HashEmbedder
from concordance.ledger.migrate import migrate
from concordance.pipeline.adapters import Adapters, open_adapters
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.report import report
from concordance.pipeline.run import ingest
from concordance.settings import Settings

DOCUMENTS = 250
PLANNED_DOCUMENTS = 10_000
SENTENCES = (
    "The {0} keeps a {1} of every {2}.",
    "When a {1} is lost, the {0} asks the {2} again.",
    "Each {2} names one {0}, and never two.",
    "A {0} without its {1} is not shown to any {2}.",
)
NOUNS = ("ledger", "graph", "vector", "batch", "plan", "reader", "writer", "store", "queue", "source", "chunk", "gate")


def measure() -> list[Figure]:
    """All figures of the pipeline, in one run."""
    with stack() as (settings, folder):
        parts = (_against_bare_loop, _without_changes, _one_edit)
        return [figure for part in parts for figure in part(settings, folder)]


@contextmanager
def stack(**overrides: Any) -> Iterator[tuple[Settings, Path]]:
    """Running stores with an empty ledger, and a folder with the empty sources `corpus`, `many` and `edited`."""
    from support.stacks import running, stack_settings

    with tempfile.TemporaryDirectory(prefix="concordance-bench-") as name:
        folder = Path(name)
        sources = folder / "sources.toml"
        sources.write_text(
            "\n".join(
                f'[[source]]\nname = "{source}"\nkind = "files"\ntenant = "bench"\nlocation = "{folder / source}"\n'
                f'glob = "**/*.md"\n'
                for source in ("corpus", "many", "edited")
            )
        )
        for source in ("corpus", "many", "edited"):
            (folder / source).mkdir()
        settings = stack_settings(
            folder / "state",
            sources_file=sources,
            lease_seconds=120,
            call_timeout_seconds=60,
            sweep_grace_seconds=600,
            **{"embedding_backend": "hash", **overrides},
        )
        with running(settings) as up:
            migrate(up.effective_ledger_url, up.ledger_password.get_secret_value())
            yield up, folder


def document(seed: int, paragraphs: int = 40) -> str:
    """A Markdown document of about 42 chunks for 40 paragraphs, the same for the same seed."""
    dice = random.Random(seed)
    lines = [f"# Chapter {seed}"]
    for number in range(paragraphs):
        if number % 5 == 0:
            lines.append(f"## Part {number // 5} of {seed}")
        sentences = [dice.choice(SENTENCES).format(*dice.sample(NOUNS, 3)) for _ in range(8)]
        lines.append(" ".join([*sentences, f"{seed}-{number}."]))
    return "\n\n".join(lines) + "\n"


def _against_bare_loop(settings: Settings, folder: Path) -> list[Figure]:
    for number in range(DOCUMENTS):
        (folder / "corpus" / f"{number:04}.md").write_text(document(number))
    with open_adapters(settings) as adapters:
        import great_expectations  # noqa: F401 - its import is not what is compared

        ingest(RunRequest("edited", "warm-up", dry_run=True), adapters=adapters, settings=settings)
        started = time.perf_counter()
        with fault_points.hooked(stopwatch := Stopwatch()):
            ran = ingest(RunRequest("corpus", "bench-corpus"), adapters=adapters, settings=settings)
        pipeline_seconds = time.perf_counter() - started
        with adapters.ledger.snapshot() as snapshot:
            chunks = snapshot.counts(snapshot.live())["chunks"]
    assert ran.counts["committed"] == DOCUMENTS
    bare_seconds, bare_chunks = _bare_loop(settings, folder / "corpus")
    return [
        Figure("pipeline, chunks", chunks, "chunks"),
        Figure("pipeline, rate", chunks / pipeline_seconds, "chunks/s"),
        Figure("bare loop, rate", bare_chunks / bare_seconds, "chunks/s"),
        Figure("bare loop, chunks", bare_chunks, "chunks"),
        Figure("pipeline / bare loop, time for the corpus", pipeline_seconds / bare_seconds, "x", "<= 2.0"),
        *_safety(stopwatch),
    ]


def _safety(stopwatch: Stopwatch) -> list[Figure]:
    writes = stopwatch.total(WRITES)
    return [
        Figure("writing both stores", writes, "s"),
        *(Figure(f"  {effect}", stopwatch.total((effect,)), "s") for effect in (*WRITES, *SAFETY, *SETTLE)),
        Figure("intent, read-back and publish / writing", stopwatch.total(SAFETY) / writes, "x", "<= 0.25"),
        Figure("settle (raw readers' view) / writing", stopwatch.total(SETTLE) / writes, "x"),
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
    client.create_collection("bare", vectors_config=models.VectorParams(size=384, distance=models.Distance.DOT))
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
                "bare",
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
        _ingest(adapters, settings, "many", "bench-many")
        before = _written(adapters)
        started = time.perf_counter()
        request = RunRequest("many", "bench-many-again")
        plan = make_plan(request, adapters=adapters, settings=settings)
        seconds = time.perf_counter() - started
        assert plan.is_noop
        report(plan, adapters=adapters)
        return [
            Figure("no-op plan, rate", PLANNED_DOCUMENTS / seconds, "documents/s", ">= 5000"),
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
