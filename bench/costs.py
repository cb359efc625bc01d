"""What another chunking or another model costs: hours for a million chunks, by stage, with the packaged model.

READMEs of installed packages are indexed with hash vectors; then versions are built beside that one: with the packaged
model (every text is encoded), the same again (every vector is copied), and with smaller chunks (documents are read and
cut anew, few texts are known). Gates aside: their cost hardly grows with the index. These are figures of one machine,
for the runbook's table; `python -m bench.costs` runs this file alone, some three minutes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from bench.corpora import write_readmes
from bench.figures import Figure, show
from bench.shelf import empty_shelf

from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.embed import embed
from concordance.pipeline.load import load
from concordance.pipeline.publish import publish
from concordance.pipeline.report import report
from concordance.reindex.build import begin, plan_round
from concordance.reindex.references import BuildRequest
from concordance.reindex.remake import remake
from support import shelves
from support.rebuilding import swapped

T = TypeVar("T")

DOCUMENTS = 60  # some 1,200 chunks
CHARACTERS = 4_000, 20_000
PACKAGED: dict[str, Any] = {"embedding_backend": "sentence-transformers", "kept_models": "hash=384"}
STAGES = ("plan", "remake", "embed", "load", "commit")


def measure() -> list[Figure]:
    """All figures of costs, in one run."""
    with empty_shelf() as shelf:
        write_readmes(shelf.notes, documents=DOCUMENTS, characters=CHARACTERS)
        with shelf.adapters() as adapters:
            shelves.run_ungated("bench-costs", adapters=adapters)
        with shelf.adapters(**PACKAGED) as adapters:
            smaller = adapters.settings.chunk_max_tokens * 3 // 4
            return [
                *_built("another model", adapters),
                *_built("the same again", adapters),
                *_built("another chunking", adapters, chunk_max_tokens=smaller),
            ]


class _Texts(telemetry.NoBackend):
    """How many texts were encoded, and how many vectors copied."""

    def __init__(self) -> None:
        self.encoded, self.copied = 0, 0

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
        self.encoded += n if name == "chunks.embedded" else 0
        self.copied += n if name == "chunks.reused" else 0


def _built(what: str, adapters: Adapters, **overrides: float) -> list[Figure]:
    """Make and publish the next version; what each stage took, as hours for a million chunks."""
    tools: Any = {"adapters": adapters, "settings": adapters.settings}
    seconds: dict[str, float] = defaultdict(float)
    texts = _Texts()

    def timed(stage: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return work()
        finally:
            seconds[stage] += time.perf_counter() - began

    previous = telemetry.use(texts)
    build = begin(BuildRequest(f"bench-{what}", mode="rebuild", overrides=overrides), **tools)
    assert build is not None
    for plan in timed("plan", lambda: plan_round(build, **tools)):
        made = [timed("remake", lambda: remake(plan, shard, **tools)) for shard in range(plan.shards)]  # noqa: B023
        embedded = [timed("embed", lambda: embed(plan, shard, **tools)) for shard in made]  # noqa: B023
        loaded = [timed("load", lambda: load(plan, shard, **tools)) for shard in embedded]  # noqa: B023
        timed("commit", lambda: publish(plan, **tools))  # noqa: B023
        report(plan, loaded, adapters=adapters)
    telemetry.use(previous)
    version = adapters.ledger.versions.get(build.version)
    adapters.ledger.versions.ready(version)
    swapped(build, adapters=adapters)
    with adapters.ledger.snapshot() as snapshot:
        chunks = snapshot.counts(snapshot.live())["chunks"]
    hours = {stage: taken / chunks * 1e6 / 3600 for stage, taken in seconds.items()}
    return [
        Figure(f"{what}, a million chunks (of {chunks:,} measured)", sum(hours.values()), "h"),
        Figure("  of its texts encoded", texts.encoded / (texts.encoded + texts.copied), "x"),
        *(Figure(f"  {stage}", hours[stage], "h") for stage in STAGES),
    ]


if __name__ == "__main__":
    show(measure())
