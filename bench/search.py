"""What a reader waits for: the first search of a fresh process, as a person at the command line has it, and later ones.

READMEs of installed packages are published on the embedded stores with the packaged model; each first search is a new
process of `python -m concordance search`, on stores that are up. `python -m bench.search` runs this file alone.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys

from bench.corpora import write_readmes
from bench.figures import Figure, median_of, seconds, show
from bench.stacks import stack

from concordance.local.airflow import product_settings
from concordance.pipeline.adapters import open_adapters
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.retrieval import SearchQuery
from concordance.retrieval.search import search
from concordance.settings import Settings

DOCUMENTS = 60  # some 1,000 chunks
PROCESSES = 7
SEARCHES = 50
QUERY = "how is a connection opened again after an error"


def measure() -> list[Figure]:
    """All figures of searching, over one index."""
    with stack(embedding_backend="sentence-transformers") as (settings, folder):
        write_readmes(folder / "corpus", documents=DOCUMENTS)
        with open_adapters(settings) as adapters:
            ingest(RunRequest("corpus", "bench-search", approved=True), adapters=adapters, settings=settings)

            def answered() -> None:
                answer = search(
                    SearchQuery(QUERY, tenant="bench", access=("public",)),
                    ledger=adapters.ledger,
                    graph=adapters.graph,
                    vectors=adapters.vectors,
                    embedder_of=adapters.embedder_of,
                    settings=settings,
                )
                assert answer.hits

            answered()
            later = [1000 * seconds(answered) for _ in range(SEARCHES)]
        first = _First(settings)
        first()  # compiles what was never imported, as an installation does
        taken = [(seconds(first), first.processor_seconds) for _ in range(PROCESSES)]
    return [
        median_of("first search of a fresh process", [wall for wall, _ in taken], "s", "<= 2"),
        median_of("first search of a fresh process, processor time", [spent for _, spent in taken], "s"),
        median_of("a search after the first", later, "ms"),
    ]


class _First:
    """One search in a process of its own; `processor_seconds` is what the last one took of all cores."""

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, **product_settings(settings)}
        # An installation has its compiled files; a shell that forbids writing them would have every search compile.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.processor_seconds = 0.0

    def __call__(self) -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "concordance", "search", QUERY, "--json"],
            check=True,
            env=self._environment,
            stdout=subprocess.DEVNULL,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.processor_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    show(measure())
