"""What the gates cost: their share of a run of 2,000 chunks, and their peak of memory when the run grows fourfold.

The share is of time beyond the import of Great Expectations, which is once a gate task, with the packaged model as a
deployment has it, and with hash vectors, which leave next to nothing but the stores. The peak is a process's own, over
frames of 10,000 and of 40,000 chunks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.corpora import document
from bench.figures import Figure
from bench.stacks import stack

from concordance.operations import telemetry
from concordance.operations.process import peak_bytes
from concordance.pipeline.adapters import open_adapters
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

# Of about 42 chunks each.
DOCUMENTS = 48
SLICE_DOCUMENTS = 2_500
DIMENSION = 384
GATES = ("check_documents", "check_chunks", "check_stores")


def measure() -> list[Figure]:
    """The gates' shares and their memory; the encoder takes a minute or more."""
    memory = {chunks: _peak_bytes(chunks) for chunks in (10_000, 40_000)}
    return [
        *_shares("sentence-transformers", "<= 0.10"),
        *_shares("hash", ""),
        *(Figure(f"gates, peak memory at {chunks:,} chunks", peak / 1e6, "MB") for chunks, peak in memory.items()),
        Figure("gates, peak memory when the run grows fourfold", memory[40_000] / memory[10_000], "x", "<= 1.1"),
    ]


class _Stages(telemetry.NoBackend):
    """A metrics backend that keeps how long each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None:
        if name == "stage.duration":
            self.seconds[tags["stage"]] = milliseconds / 1000


def _shares(backend: str, bound: str) -> Iterator[Figure]:
    import great_expectations.expectations  # noqa: F401 - its import is not what is measured

    with stack(sources=("corpus", "waking"), embedding_backend=backend) as (settings, folder):
        (folder / "waking" / "first.md").write_text(document(DOCUMENTS))
        for number in range(DOCUMENTS):
            (folder / "corpus" / f"{number:04}.md").write_text(document(number))
        seconds, chunks, whole = _run(settings)
    gates = sum(seconds[gate] for gate in GATES)
    yield Figure(f"gates' run, {backend}", chunks, "chunks")
    yield from (Figure(f"  {gate}, {backend}", seconds[gate], "s") for gate in GATES)
    yield Figure(f"gates / run, {backend}", gates / whole, "x", bound)


def _run(settings: Settings) -> tuple[dict[str, float], int, float]:
    stages = _Stages()
    with open_adapters(settings) as adapters:
        before = telemetry.use(stages)
        try:
            # The first run makes the index version; Great Expectations' own first use is part of its import.
            ingest(RunRequest("waking", "bench-waking", approved=True), adapters=adapters, settings=settings)
            started = time.perf_counter()
            ran = ingest(RunRequest("corpus", "bench-gates", approved=True), adapters=adapters, settings=settings)
            return stages.seconds, ran.counts["chunks"], time.perf_counter() - started
        finally:
            telemetry.use(before)


def _peak_bytes(chunks: int) -> int:
    """The most memory that a process of its own held while the three gates judged so many chunks."""
    script = f"import json; from bench.gates import judge; print(json.dumps(judge({chunks})))"
    asked = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=900, check=True)
    return int(json.loads(asked.stdout.splitlines()[-1]))


def judge(chunks: int) -> int:
    """Judge a run of so many chunks, in slices as they are read from artefacts; returns the process's peak in bytes."""
    from concordance.quality import Encoding, ShardFrames, check_chunks, check_documents, check_stores
    from support import gate_frames as frames

    model = replace(frames.MODEL, dimension=DIMENSION)
    starts = range(0, chunks // 2, SLICE_DOCUMENTS)

    def shard(first: int) -> ShardFrames:
        own = frames.chunks(SLICE_DOCUMENTS, first=first)
        return ShardFrames(
            documents=frames.documents(SLICE_DOCUMENTS, first=first),
            chunks=[own],
            vectors=[frames.vectors(own, dimension=DIMENSION, seed=first)],
            encoding=Encoding(model.digest, 1, None),
        )

    class Documents:
        def __iter__(self) -> Iterator[pd.DataFrame]:
            return (frames.documents(SLICE_DOCUMENTS, first=first) for first in starts)

    settings = frames.SETTINGS
    check_documents(Documents(), origin=frames.ORIGIN, settings=settings).require()
    version_settings = replace(frames.VERSION_SETTINGS, model=model)
    shards = (shard(first) for first in starts)
    check_chunks(shards, canaries=None, version_settings=version_settings, settings=settings).require()
    check_stores((frames.evidence(SLICE_DOCUMENTS) for _ in starts), settings=settings).require()
    return peak_bytes()
