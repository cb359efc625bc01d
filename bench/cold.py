"""A cold run against the encoder alone: the whole pipeline on empty stores / bare `SentenceTransformer.encode`.

READMEs of installed packages go through plan, extract, embed, load, publish and the gates between, without Airflow, on
the embedded stores; then the same chunk texts go through sentence-transformers as anybody would call it, in as many
threads. Ratios of pairs, whose sides take turns in going first. The bare side is always torch in single precision.
The run's time by stage comes from its own metrics; the encoder's is taken at its port, so that the canary texts count,
of which each run with new texts encodes some.
`python -m bench.cold [PAIRS] [SETTING=VALUE ...]` runs this file alone.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from bench import effort
from bench.corpora import write_readmes
from bench.encoding import Bare
from bench.figures import Figure, median_of, seconds, show
from bench.stacks import stack

from concordance.embedding.port import Embedder
from concordance.embedding.preparing import prepare
from concordance.model import ModelFingerprint
from concordance.operations import telemetry
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters, open_adapters
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings, load_settings

PAIRS = 3
DOCUMENTS, QUICK_DOCUMENTS = 400, 12  # some 4,400 chunks (there are fewer READMEs), and 100
BOUNDS = {"fp32": "<= 0.9", "int8": "<= 0.55"}
_WAKING = "a text that wakes it up"


def measure(pairs: int = PAIRS, **overrides: Any) -> list[Figure]:
    """All figures of a cold run with the packaged model, in each precision."""
    import great_expectations.expectations  # noqa: F401 - its import is not what is compared

    return [figure for precision in BOUNDS for figure in _of_runs(effort.pairs(pairs), precision, overrides)]


def _of_runs(pairs: int, precision: str, overrides: Mapping[str, Any]) -> list[Figure]:
    asked = {"embedding_backend": "sentence-transformers", "embedding_precision": precision, **overrides}
    prepare(load_settings(asked, environment={}))
    ratios, outside, by_stage = [], [], Counter[str]()
    bare, texts = Bare(), list[str]()
    bare([_WAKING])
    for number in range(pairs):
        # The texts are known when the first run has cut them.
        alone = seconds(partial(bare, texts)) if number % 2 else 0.0
        with stack(**asked) as (settings, folder):
            write_readmes(folder / "corpus", documents=QUICK_DOCUMENTS if effort.is_quick() else DOCUMENTS)
            taken, encoding, stages, texts = _cold_run(settings)
        alone = alone or seconds(partial(bare, texts))
        ratios.append(taken / alone)
        outside.append(1 - encoding / taken)
        by_stage.update(stages)
        print(f"pair {number + 1} of {pairs}: {ratios[-1]:.3f}, outside {outside[-1]:.3f}", file=sys.stderr, flush=True)
    return [
        Figure(f"cold run, {precision}, chunks", len(texts), "chunks"),
        median_of(f"cold run, {precision} / bare encoding", ratios, "x", BOUNDS[precision]),
        median_of(f"cold run, {precision}, share outside the encoder", outside, "x", "<= 0.15"),
        *(Figure(f"  cold run, {precision}, {stage}", taken / pairs, "s") for stage, taken in by_stage.items()),
    ]


class _Stages(telemetry.NoBackend):
    """A metrics backend that keeps how long each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None:
        if name == "stage.duration":
            self.seconds[tags["stage"]] += milliseconds / 1000


@dataclass
class _Timed:
    """An embedder that keeps how long it was at work."""

    embedder: Embedder
    seconds: float = 0.0

    @property
    def fingerprint(self) -> ModelFingerprint:
        return self.embedder.fingerprint

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        began = time.perf_counter()
        try:
            return self.embedder.encode(texts)
        finally:
            self.seconds += time.perf_counter() - began


def _cold_run(settings: Settings) -> tuple[float, float, dict[str, float], list[str]]:
    """Seconds of a first run, of its encoder, and by stage; and the texts of its chunks. The first version is made
    in it; the model's loading is left out, on both sides."""
    stages = _Stages()
    with open_adapters(settings) as opened:
        opened.embedder.encode([_WAKING])
        encoder = _Timed(opened.embedder)
        adapters = replace(opened, embedder=encoder)
        before = telemetry.use(stages)
        try:
            started = time.perf_counter()
            ingest(RunRequest("corpus", "bench-cold", approved=True), adapters=adapters, settings=settings)
            taken = time.perf_counter() - started
        finally:
            telemetry.use(before)
        return taken, encoder.seconds, dict(stages.seconds), list(_texts(adapters))


def _texts(adapters: Adapters) -> Iterator[str]:
    """The texts of all chunks that the run cut."""
    for _, content in adapters.staging.contents("chunks"):
        yield from tables.from_parquet(content, columns=["text"]).column(0).to_pylist()


def main(arguments: Sequence[str]) -> None:
    overrides: dict[str, Any] = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    pairs = [int(argument) for argument in arguments if "=" not in argument]
    show(measure(*pairs, **overrides))


if __name__ == "__main__":
    main(sys.argv[1:])
