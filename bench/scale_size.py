"""One size of the scale test, in a process of its own: a corpus of so many chunks through every stage.

Half of the chunks are in many short notes, half in a few books of about a megabyte. Every chunk mentions one name that
all mention and one of thousands, and each note links to the one before: nothing may cost more because a node of the
graph has many edges, or because there are many nodes. Every stage is timed alone and its
peak of memory taken; what was learned so far is written after each stage, so that a run that is broken off has told
something. `bench/scale.py` starts this and says what the figures mean.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from bench.corpora import document
from bench.stacks import files, stack

from concordance import fault_points
from concordance.consistency.verify import verify
from concordance.local import state
from concordance.operations.process import peak_bytes
from concordance.pipeline.adapters import Adapters, open_adapters
from concordance.pipeline.check import check_chunks, check_documents, check_stores
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import PlanReference, RunRequest, ShardReference
from concordance.pipeline.report import report
from concordance.settings import Settings
from concordance.stores.memory import MemoryGraph, MemoryVectors
from support.ledgers import connect
from support.rebuilding import made_ungated, swapped

Result = TypeVar("Result")

SOURCES = ("notes", "books")
# What `bench.corpora.document` makes of so many paragraphs is as many chunks, and one for 150 more; of two it is one.
_NOTE_PARAGRAPHS, _BOOK_PARAGRAPHS = 3, 2500
_NOTES_A_FOLDER = 1000
_NAMES = tuple(f"concordance-part-{number:04}" for number in range(5000))
_SHARD_BYTES = 4_500_000
_BLOCK_BYTES = 512
_SIZES = """
SELECT relname, pg_table_size(relid), pg_indexes_size(relid) FROM pg_stat_user_tables
WHERE schemaname = 'concordance' ORDER BY pg_total_relation_size(relid) DESC LIMIT 8
"""
_READ = """
SELECT relname, seq_tup_read, coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE schemaname = 'concordance'
"""


@dataclass
class Measured:
    """What is known of this size so far; `seconds`, `peak_mb` and `rows_read` (what PostgreSQL read of its tables, with
    an index and without) by stage, `effects` seconds by side effect."""

    size: int
    stores: str
    file: Path
    settings: Settings
    chunks: int = 0
    notes: int = 0
    documents: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    effects: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    rows_read: dict[str, dict[str, int]] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    is_whole: bool = False

    def stage(self, name: str, work: Callable[[], Result]) -> Result:
        """Time it, on top of what the stage has taken for another source."""
        before = self._read()
        _forget_peak()
        began = time.perf_counter()
        result = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
        self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), peak_bytes() / 1e6)
        rows = Counter(self.rows_read.get(name, {}))
        rows.update(self._read() - before)
        self.rows_read[name] = dict(rows)
        self.write()
        print(f"  {name}: {self.seconds[name]:.1f} s", file=sys.stderr, flush=True)
        return result

    def write(self) -> None:
        said = {name: value for name, value in vars(self).items() if name not in ("file", "settings")}
        self.file.write_text(json.dumps(said, indent=1) + "\n")

    def _read(self) -> Counter[str]:
        """By table and way. A server process tells what it read within a second, or when it is idle."""
        with connect(self.settings) as connection:
            return Counter(
                {
                    f"{table}, {way}": int(str(rows))
                    for table, *counted in connection.execute(_READ)
                    for way, rows in zip(("scanned", "by index"), counted, strict=True)
                }
            )


@dataclass
class _Effects:
    """A hook for `fault_points.hooked`: seconds by side effect, also where several threads cause them."""

    seconds: dict[str, float]
    _began: dict[tuple[int, str], float] = field(default_factory=dict)

    def __call__(self, point: str) -> None:
        effect, _, moment = point.rpartition(".")
        key = threading.get_ident(), effect
        if moment == "before":
            self._began[key] = time.perf_counter()
        elif key in self._began:
            self.seconds[effect] = self.seconds.get(effect, 0.0) + time.perf_counter() - self._began.pop(key)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("size", type=int)
    arguments.add_argument("--stores", choices=("embedded", "memory"), default="embedded")
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--result", type=Path, required=True)
    given = arguments.parse_args()
    with _stack(given.folder, given.stores) as (settings, adapters):
        measured = Measured(given.size, given.stores, given.result, settings)
        import great_expectations  # noqa: F401 - its import is not a stage's

        with fault_points.hooked(_Effects(measured.effects)):
            _measure(measured, given.folder, adapters, settings)


@contextmanager
def _stack(folder: Path, stores: str) -> Iterator[tuple[Settings, Adapters]]:
    with (
        stack(
            sources=SOURCES,
            declared=_declared,
            folder=folder,
            lease_seconds=600,
            call_timeout_seconds=300,
            graph_timeout_seconds=120,
            vectors_timeout_seconds=120,
            ledger_timeout_seconds=60,
            sweep_grace_seconds=1200,
            # A shard is as large at each size, the smallest one included: what a task holds in memory is about one.
            shard_bytes=_SHARD_BYTES,
            build_shard_bytes=_SHARD_BYTES,
            max_shards=512,
            build_max_shards=512,
        ) as (up, _),
        open_adapters(up) as adapters,
    ):
        if stores == "memory":
            adapters = replace(adapters, graph=MemoryGraph(), vectors=MemoryVectors())
        yield up, adapters


def _measure(measured: Measured, folder: Path, adapters: Adapters, settings: Settings) -> None:
    measured.notes = _write_corpus(measured.size, folder)
    for source in SOURCES:
        _ingest(measured, source, adapters, settings)
    with adapters.ledger.snapshot() as snapshot:
        counts = snapshot.counts(snapshot.live())
    measured.chunks, measured.documents = counts["chunks"], counts["documents"]
    again = measured.stage("plan without changes", lambda: _planned("notes", "again", adapters, settings))
    assert again.is_noop
    report(again, adapters=adapters)
    measured.stage("verify", lambda: _verified(adapters))
    build = measured.stage("rebuild", lambda: made_ungated("scale", adapters=adapters))
    measured.stage("swap", lambda: swapped(build, adapters=adapters))
    _edit_one(measured, folder, adapters, settings)
    measured.bytes = _sizes(folder, settings)
    measured.is_whole = True
    measured.write()


def _declared(folder: Path, source: str) -> str:
    names = ", ".join(f'{{type = "term", name = "{name}"}}' for name in _NAMES)
    return f"{files(folder, source)}names = [{names}]\n"


def _write_corpus(size: int, folder: Path) -> int:
    """Returns how many notes there are."""
    notes = size // 2 // _NOTE_PARAGRAPHS
    for number in range(notes):
        below = folder / "notes" / f"{number // _NOTES_A_FOLDER:04}"
        below.mkdir(parents=True, exist_ok=True)
        text = document(number, _NOTE_PARAGRAPHS, _NAMES)
        before = f"../{(number - 1) // _NOTES_A_FOLDER:04}/{number - 1:07}.md"
        (below / f"{number:07}.md").write_text(f"{text}\nSee [what came before]({before}).\n" if number else text)
    for number in range(max(1, size // 2 // _BOOK_PARAGRAPHS)):
        paragraphs = min(_BOOK_PARAGRAPHS, size // 2)
        (folder / "books" / f"{number:04}.md").write_text(document(10_000_000 + number, paragraphs, _NAMES))
    return notes


def _ingest(measured: Measured, source: str, adapters: Adapters, settings: Settings) -> None:
    """A whole run, the stages in the order of `pipeline.run`."""
    tools: dict[str, Any] = {"adapters": adapters, "settings": settings}
    plan = measured.stage("plan", lambda: _planned(source, f"scale-{source}", adapters, settings))
    shards = measured.stage("extract", lambda: [extract(plan, each, **tools) for each in range(plan.shards)])
    measured.stage("check_documents", lambda: check_documents(plan, shards, **tools))
    shards = measured.stage("embed", lambda: [embed(plan, each, **tools) for each in shards])
    measured.stage("check_chunks", lambda: check_chunks(plan, shards, **tools))
    loaded: list[ShardReference] = measured.stage("load", lambda: [load(plan, each, **tools) for each in shards])
    measured.stage("check_stores", lambda: check_stores(plan, loaded, **tools))
    measured.stage("publish", lambda: publish(plan, **tools))
    ended = measured.stage("report", lambda: report(plan, loaded, adapters=adapters))
    assert ended.counts["committed"] == plan.counts["discovered"], ended.counts


def _planned(source: str, run_id: str, adapters: Adapters, settings: Settings) -> PlanReference:
    return make_plan(RunRequest(source, run_id, approved=True), adapters=adapters, settings=settings)


def _verified(adapters: Adapters) -> None:
    found = verify(ledger=adapters.ledger, graph=adapters.graph, vectors=adapters.vectors)
    assert found.is_sound, found.findings


def _edit_one(measured: Measured, folder: Path, adapters: Adapters, settings: Settings) -> None:
    """What a run costs that changes one note: beside the listing nothing of it may grow with the index."""
    tools: dict[str, Any] = {"adapters": adapters, "settings": settings}
    path = folder / "notes" / "0000" / f"{0:07}.md"
    path.write_text(path.read_text() + "\nOne more paragraph about a ledger and its gate.\n")
    plan = measured.stage("edit: plan", lambda: _planned("notes", "scale-edit", adapters, settings))

    def rest() -> None:
        loaded = load(plan, embed(plan, extract(plan, 0, **tools), **tools), **tools)
        publish(plan, **tools)
        report(plan, [loaded], adapters=adapters)

    measured.stage("edit: the rest", rest)


def _sizes(folder: Path, settings: Settings) -> dict[str, int]:
    """Bytes on the disk: by store, and the ledger's largest tables with their indexes."""
    place = state.locate(settings).path
    with connect(settings) as connection:
        ledger = {
            f"ledger, {table}, {part}": int(str(size))
            for table, rows, indexes in connection.execute(_SIZES)
            for part, size in (("rows", rows), ("indexes", indexes))
        }
        (whole,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
    stores = {f"folder {each.name}": _folder_bytes(each) for each in sorted(place.iterdir()) if each.is_dir()}
    return {
        "corpus": sum(_folder_bytes(folder / source) for source in SOURCES),
        "ledger": int(str(whole)),
        **ledger,
        **stores,
    }


def _folder_bytes(folder: Path) -> int:
    # As the disk has it: write-ahead logs are files with holes.
    return sum(each.stat().st_blocks * _BLOCK_BYTES for each in folder.rglob("*") if each.is_file())


def _forget_peak() -> None:
    """The next peak is one of what follows, where the system can forget the last one and take back what is free (Linux
    with glibc): a task has a process of its own, in which no stage has left anything."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
