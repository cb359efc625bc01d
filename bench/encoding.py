"""What a prepared model gains: rates against bare torch, a query, memory.

The texts are chunks that the product cuts from READMEs of installed packages. Both sides encode the same ones in one
process, warm, in turns. `python -m bench.encoding` runs this file alone; `PAIRS`, `CHUNKS` and `MEMORY_CHUNKS` change
its size.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata

from bench import effort
from bench.corpora import write_readmes
from bench.figures import Figure, median_of, paired, seconds, show
from bench.stacks import stack

from concordance.chunking.splitter import Chunker
from concordance.chunking.tokens import load_tokenizer
from concordance.embedding import Embedder, model_folder, open_embedder
from concordance.embedding.preparing import prepare
from concordance.pipeline.adapters import open_adapters
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.reindex.relevance import check_relevance
from concordance.settings import Settings
from support.chunking import index_settings
from support.rebuilding import made_ungated

PAIRS = int(os.environ.get("PAIRS", "5"))
CHUNKS = int(os.environ.get("CHUNKS", "256"))
QUERY = "MERGE nodes in a graph database from Python"
RELEVANCE_DOCUMENTS, QUICK_DOCUMENTS = 60, 12  # some 1,000 chunks, and 100
README_CHARACTERS = 20_000  # of one package: many packages, not many chunks of a few
MEMORY_CHUNKS = int(os.environ.get("MEMORY_CHUNKS", "1000"))

# Peak memory of a process that loads the prepared model and encodes what it reads. `getrusage` would begin with
# the peak of this process, which holds torch.
_ENCODING = """
import sys
from concordance.embedding import open_embedder
from concordance.operations.process import peak_bytes
from concordance.settings import Settings
open_embedder(Settings(embedding_runtime="openvino")).encode(sys.stdin.read().split("\\0"))
print(peak_bytes() / 1e6)
"""


def measure() -> list[Figure]:
    """All figures of encoding. Prepares both precisions where that is not done."""
    texts = chunks(CHUNKS)
    fp32, int8 = (_prepared(precision) for precision in ("fp32", "int8"))
    bare = Bare()
    for embedder in (fp32, int8):
        embedder.encode(texts)  # loads, and probes a machine without a profile
    bare(texts[:32])
    return [
        paired(
            "prepared fp32 / bare torch", lambda: fp32.encode(texts), lambda: bare(texts), pairs=PAIRS, bound="<= 0.9"
        ),
        paired(
            "prepared int8 / bare torch", lambda: int8.encode(texts), lambda: bare(texts), pairs=PAIRS, bound="<= 0.55"
        ),
        median_of(
            "one query, loaded", [1000 * seconds(lambda: fp32.encode([QUERY])) for _ in range(50)], "ms", "<= 15"
        ),
        *_relevance(),
        Figure(f"peak memory of encoding {MEMORY_CHUNKS:,} chunks", _peak_mb(chunks(MEMORY_CHUNKS)), "MB", "<= 1000"),
    ]


def chunks(count: int) -> list[str]:
    """So many different texts of chunks, spread over all packages that are installed."""
    chunker = Chunker(index_settings(), load_tokenizer(model_folder(Settings())))
    found: set[str] = set()
    for each in sorted(metadata.distributions(), key=lambda each: each.name):
        text = str(each.metadata.json.get("description", ""))[:README_CHARACTERS]
        found.update(chunk.text for chunk in chunker.chunks(text, title=each.name, max_chunks=20_000))
        if len(found) >= 4 * count:
            break
    ordered = sorted(found)
    return ordered[:: max(len(ordered) // count, 1)][:count]


def _prepared(precision: str) -> Embedder:
    settings = Settings(embedding_runtime="openvino", embedding_precision=precision)
    prepare(settings)
    return open_embedder(settings)


def _relevance() -> list[Figure]:
    """What the relevance gate says of a version of READMEs at int8 beside the live one at fp32, by the limits that are
    shipped, on the embedded stores: 1 if it passes; what is lost."""
    with stack(embedding_backend="sentence-transformers") as (settings, folder):
        write_readmes(folder / "corpus", documents=QUICK_DOCUMENTS if effort.is_quick() else RELEVANCE_DOCUMENTS)
        with open_adapters(settings) as adapters:
            ingest(RunRequest("corpus", "bench-fp32", approved=True), adapters=adapters, settings=settings)
        beside = settings.with_values({"embedding_precision": "int8", "kept_models": "sentence-transformers="})
        with open_adapters(beside) as adapters:
            build = made_ungated("bench-int8", adapters=adapters)
            with adapters.ledger.snapshot() as snapshot:
                live = snapshot.live()
            following = adapters.ledger.versions.get(build.version)
            result = check_relevance(live, following, adapters=adapters, settings=beside, seed=1)
    for failure in result.report.failures:
        print(f"the relevance gate on int8: {failure}", file=sys.stderr)
    losses = [
        Figure(f"int8: {each.ranking} {each.metric}@10, next - live", each.difference.mean, "")
        for each in result.report.comparisons
    ]
    return [Figure("relevance gate admits int8", float(result.passed), "of 1", "== 1"), *losses]


class Bare:
    """`SentenceTransformer.encode` as its documentation shows it."""

    def __init__(self) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(model_folder(Settings())), device="cpu", local_files_only=True)

    def __call__(self, texts: list[str]) -> object:
        return self._model.encode(texts, normalize_embeddings=True, show_progress_bar=False)


def _peak_mb(texts: list[str]) -> float:
    ended = subprocess.run(
        [sys.executable, "-c", _ENCODING], input="\0".join(texts), check=True, capture_output=True, text=True
    )
    return float(ended.stdout)


if __name__ == "__main__":
    show(measure())
