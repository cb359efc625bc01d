"""What another index version costs: its making, its swap, the way back, and its place on the disk.

Ungated, with hash vectors on the embedded stores. What a rebuild is compared with is the packaged model, which would
have to encode every text if vectors were not copied; a sample of the texts tells what that takes, for all of them takes
minutes. `python -m bench.index` runs this file alone.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any
from uuid import uuid4

from bench.corpora import document
from bench.figures import Figure, seconds, show
from bench.shelf import empty_shelf

from concordance.consistency.erase import EraseRequest, erase
from concordance.embedding.backends import open_embedder
from concordance.embedding.hashing import HashEmbedder
from concordance.ledger.erasure_scope import Scope
from concordance.local import state
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import RunRequest
from concordance.pipeline.report import report
from concordance.reindex.drop import begin_drop_of_old, drop_due
from concordance.reindex.swap import SwapReport, rollback
from concordance.settings import Settings
from support import readers, shelves
from support.ledgers import move_clock
from support.rebuilding import made_ungated, swapped

DOCUMENTS, PARAGRAPHS = 250, 20  # 5,000 chunks
SAMPLE = 256
SWAPS = 6
BUILDS = 4
CHANGED, DELETED, ERASED = 20, 10, 5


def measure() -> list[Figure]:
    """All figures of index versions, in one run."""
    with empty_shelf(kept_retired_versions=2) as shelf:
        for number in range(DOCUMENTS):
            _write(shelf, number)
        with shelf.adapters() as adapters:
            texts = _ingested(adapters)
            one = _place(adapters)
            return [
                *_rebuilding(adapters, texts),
                *_swapping(adapters, shelf),
                *_storage(adapters, one),
                *_going_back(adapters, shelf),
                *_cutting_anew(adapters),
            ]


def _write(shelf: shelves.Shelf, number: int, edition: int = 0) -> None:
    """A document that says a word of its own in its title, which is part of each of its chunks."""
    text = document(number + DOCUMENTS * edition, PARAGRAPHS)
    (shelf.notes / _uri(number)).write_text(f"# {_word(number)}\n\n{text.partition(chr(10))[2]}")


def _uri(number: int) -> str:
    return f"{number:04}.md"


def _word(number: int) -> str:
    return "ember" + "".join("abcdefghij"[int(digit)] for digit in f"{number:04}")


def _ingested(adapters: Adapters) -> list[str]:
    """The first version; returns its texts."""
    tools: Any = {"adapters": adapters, "settings": adapters.settings}
    plan = make_plan(RunRequest(shelves.SOURCE, "bench-index", approved=True), **tools)
    shards = shelves.prepared(plan, adapters=adapters)
    for shard in shards:
        load(plan, shard, **tools)
    publish(plan, **tools)
    report(plan, shards, adapters=adapters)
    rows = (tables.from_parquet(adapters.staging.read(shard.chunks), columns=["text"]) for shard in shards)
    return [text for table in rows for text in table.column(0).to_pylist()]


# --- making it --------------------------------------------------------------------------------------------------------


def _rebuilding(adapters: Adapters, texts: Sequence[str]) -> list[Figure]:
    """The same again: every vector is copied."""
    copied = seconds(lambda: swapped(made_ungated("bench-copied", adapters=adapters), adapters=adapters))
    encoding = _packaged(adapters.settings, texts)
    hashing = seconds(lambda: HashEmbedder().encode(texts))
    return [
        Figure("index, chunks", len(texts), "chunks"),
        Figure(f"embedding them with the packaged model, by a sample of {SAMPLE}", encoding, "s"),
        Figure("rebuild with unchanged text, gates aside", copied, "s"),
        Figure("rebuild / embedding", copied / encoding, "x", "<= 0.10"),
        Figure("rebuild / embedding with hash vectors", copied / hashing, "x"),
    ]


def _packaged(settings: Settings, texts: Sequence[str]) -> float:
    """Seconds for all of the texts, once the model is open."""
    embedder = open_embedder(settings.model_copy(update={"embedding_backend": "sentence-transformers"}))
    embedder.encode(texts[:1])
    sample = random.Random(5).sample(texts, SAMPLE)
    return seconds(lambda: embedder.encode(sample)) * len(texts) / SAMPLE


def _cutting_anew(adapters: Adapters) -> list[Figure]:
    """Documents are read and cut otherwise, next to no text is known."""
    most = adapters.settings.chunk_max_tokens * 3 // 4
    taken = seconds(lambda: made_ungated("bench-cut", adapters=adapters, chunk_max_tokens=most))
    with adapters.ledger.snapshot() as snapshot:
        chunks = snapshot.counts(adapters.ledger.versions.unfinished()[-1])["chunks"]
    return [
        Figure("rebuild with chunks cut anew, hash vectors", taken, "s"),
        Figure("  its chunks", chunks, "chunks"),
    ]


# --- swapping it ------------------------------------------------------------------------------------------------------


def _swapping(adapters: Adapters, shelf: shelves.Shelf) -> list[Figure]:
    """Two applications search; how long after the call the slower one answers from the new version."""
    build = made_ungated("bench-swap", adapters=adapters)
    with _searching(shelf) as reading:
        reading.await_answers(3, after=0.0)
        published = _visible(reading, lambda: swapped(build, adapters=adapters))
        back = [_visible(reading, lambda: _back(adapters)) for _ in range(SWAPS)]
    return [
        Figure("publish called until a search elsewhere shows it", published, "s", "<= 1"),
        Figure(f"rollback called until a search elsewhere shows it, median of {SWAPS}", statistics.median(back), "s"),
        Figure("  the slowest", max(back), "s"),
    ]


@contextmanager
def _searching(shelf: shelves.Shelf) -> Iterator[readers.Readers]:
    numbers = range(0, DOCUMENTS, DOCUMENTS // 10)
    model, texts = HashEmbedder(), [_word(number) for number in numbers]
    queries = [
        readers.Query(text, _uri(number), {model.fingerprint.digest: vector})
        for number, text, vector in zip(numbers, texts, model.encode(texts).tolist(), strict=True)
    ]
    folder = shelf.folder / f"readers-{uuid4()}"
    with readers.readers(shelf.settings_file, queries, folder, applications=2, judged=False) as reading:
        yield reading


def _visible(reading: readers.Readers, swap: Callable[[], SwapReport]) -> float:
    began = time.monotonic()
    version = swap().version
    # An answer that began after the swap is of the new version; what counts is the first that ended with it.
    reading.await_answers(1, after=time.monotonic())
    ends = [
        min(one.ended for one in reader.seen() if one.ended > began and one.answer.versions == (version,))
        for reader in reading.all
    ]
    return max(ends) - began


def _back(adapters: Adapters) -> SwapReport:
    """To the version that was live before."""
    version = [each for each in adapters.ledger.versions.all() if each.state == "retired"][-1]
    return rollback(version, adapters=adapters, settings=adapters.settings)


def _going_back(adapters: Adapters, shelf: shelves.Shelf) -> list[Figure]:
    """Rollbacks to versions that have missed edits, deletions and erasures."""
    dice = random.Random(6)
    there, seconds, hidden, stale = list(range(DOCUMENTS)), [], 0, 0
    for edition in range(1, 4):
        dice.shuffle(there)
        erased, deleted = [there.pop() for _ in range(ERASED)], [there.pop() for _ in range(DELETED)]
        for number in there[:CHANGED]:
            _write(shelf, number, edition)
        for number in deleted:
            (shelf.notes / _uri(number)).unlink()
        for number in erased:
            scope = Scope(source=shelves.SOURCE, uri=_uri(number))
            erase(EraseRequest(uuid4(), scope, "bench", "bench"), adapters=adapters, settings=adapters.settings)
        shelves.run_ungated(f"bench-changes-{edition}", adapters=adapters)
        began = time.perf_counter()
        swap = _back(adapters)
        seconds.append(time.perf_counter() - began)
        hidden, stale = hidden + swap.hidden, stale + swap.stale
    return [
        Figure(f"rollback, median of {len(seconds)}", statistics.median(seconds), "s", "<= 2"),
        Figure("  the slowest", max(seconds), "s"),
        Figure("  documents that they hid", hidden, "documents"),
        Figure("  documents that they marked as stale", stale, "documents"),
    ]


# --- its place --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    rows: int
    graph: int
    vectors: int

    def most(self, other: _Place) -> _Place:
        return _Place(*(max(mine, theirs) for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def _storage(adapters: Adapters, one: _Place) -> list[Figure]:
    """Builds one after the other, each with the drop of what is too old; the most that is there after a drop. On disk
    that is one index more than are kept: the graph keeps the room of what was dropped for the next build."""
    most = _Place(0, 0, 0)
    for number in range(BUILDS):
        swapped(made_ungated(f"bench-storage-{number}", adapters=adapters), adapters=adapters)
        begin_drop_of_old(adapters=adapters, settings=adapters.settings)
        move_clock(adapters.settings, adapters.settings.sweep_grace_seconds + adapters.settings.lease_seconds + 1)
        drop_due(adapters=adapters, settings=adapters.settings)
        most = most.most(_place(adapters))
    kept = adapters.settings.kept_retired_versions + 1  # the live one
    both = (most.graph + most.vectors) / (one.graph + one.vectors)
    return [
        Figure("one index, rows", one.rows, "rows"),
        Figure("one index, on disk", (one.graph + one.vectors) / 1e6, "MB"),
        Figure(f"most rows after {BUILDS} builds and drops / one index", most.rows / one.rows, "x", f"<= {kept}"),
        Figure(f"most on disk after {BUILDS} builds and drops / one index", both, "x", f"<= {kept + 1}"),
        Figure("  of the graph", most.graph / one.graph, "x"),
        Figure("  of the vectors", most.vectors / one.vectors, "x"),
        Figure("  the graph's log besides, now", _bytes(adapters, "graph", is_log=True) / 1e6, "MB"),
    ]


def _place(adapters: Adapters) -> _Place:
    """Rows of every version that a store holds anything of, and what both stores take on the disk but for the graph's
    log, which the engine cuts off whenever it has grown large, however much or little the index holds."""
    rows = 0
    for version in adapters.ledger.versions.all():
        if version.version in adapters.graph.kept():
            rows += sum(adapters.graph.counts(version).rows.values())
        if version.version in adapters.vectors.kept():
            rows += sum(adapters.vectors.counts(version).rows.values())
    return _Place(rows, _bytes(adapters, "graph"), _bytes(adapters, "vectors"))


def _bytes(adapters: Adapters, store: str, *, is_log: bool = False) -> int:
    """What a store's files take on the disk: its log's, or all others."""
    files = (path for path in (state.locate(adapters.settings).path / store).rglob("*") if path.is_file())
    return sum(path.stat().st_blocks * 512 for path in files if (path.suffix == ".wal") == is_log)


if __name__ == "__main__":
    show(measure())
