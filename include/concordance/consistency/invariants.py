"""The invariants that can be read off the stores, as pure functions over streams.

The ledger and both stores give their chunks ordered by id, so that three streams are merged side by side and nothing
is held but the present row of each. What differs is tallied by generation, a bounded number of them, with the first
few chunk ids as examples. Words as in Jepsen's set checker: *lost* was committed and is not there, *unexpected* is
there and was never written by anything that the ledger knows, *recovered* is there although its commit is still open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.errors import Corrupt
from concordance.model import GenerationKey, IndexVersion, StoredChunk

MAX_EXAMPLES = 10
MAX_GENERATIONS = 100_000


class Store(StrEnum):
    LEDGER = "ledger"
    GRAPH = "graph"
    VECTORS = "vectors"


class Kind(StrEnum):
    """What is wrong."""

    LOST = "lost"
    UNEXPECTED = "unexpected"
    ALTERED = "altered"
    DUPLICATE = "duplicate"
    ORPHAN = "orphan"
    POINTER = "pointer"


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which one store breaks one invariant. `examples` name chunks (document, generation and ordinal)."""

    invariant: str
    kind: Kind
    store: Store
    count: int
    what: str
    examples: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "invariant": self.invariant,
            "kind": self.kind.value,
            "store": self.store.value,
            "count": self.count,
            "what": self.what,
            "examples": list(self.examples),
        }


@dataclass(slots=True)
class Tally:
    """Suspect rows of one generation in one store: how many, and the first few."""

    rows: int = 0
    examples: list[StoredChunk] = field(default_factory=list)

    def add(self, row: StoredChunk) -> None:
        self.rows += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(row)


Suspects = dict[tuple[Kind, Store, GenerationKey], Tally]


@dataclass(slots=True)
class SetComparison:
    """What the merge saw. `suspects` are findings unless something moved while they were read: see `verify`.

    `untracked` counts differing rows beyond `MAX_GENERATIONS` generations: they are in no tally.
    """

    rows: dict[Store, int] = field(default_factory=lambda: dict.fromkeys(Store, 0))
    duplicates: dict[Store, Tally] = field(default_factory=lambda: {store: Tally() for store in Store})
    recovered: dict[Store, int] = field(default_factory=lambda: dict.fromkeys(Store, 0))
    suspects: Suspects = field(default_factory=dict)
    untracked: int = 0

    def generations(self) -> set[GenerationKey]:
        return {key for _, _, key in self.suspects}

    def suspect(self, kind: Kind, store: Store, row: StoredChunk) -> None:
        name = (kind, store, generation_of(row))
        if name not in self.suspects:
            if len(self.suspects) >= MAX_GENERATIONS:
                self.untracked += 1
                return
            self.suspects[name] = Tally()
        self.suspects[name].add(row)


def compare_sets(
    *,
    version: IndexVersion,
    ledger: Iterable[StoredChunk],
    graph: Iterable[StoredChunk],
    vectors: Iterable[StoredChunk],
    in_flight: Collection[GenerationKey],
) -> SetComparison:
    """I1 and I2: the same chunks with the same digests, each once, in the ledger and both stores.

    The streams are ordered by chunk id; one that is not raises `Corrupt`, because the merge would then see ghosts.
    """
    seen = SetComparison()
    streams = {Store.LEDGER: ledger, Store.GRAPH: graph, Store.VECTORS: vectors}
    for rows in _merged({store: _distinct(stream, store, seen) for store, stream in streams.items()}):
        committed = rows.pop(Store.LEDGER, None)
        if committed is None:
            for store, row in rows.items():
                if generation_of(row) in in_flight:
                    seen.recovered[store] += 1
                else:
                    seen.suspect(Kind.UNEXPECTED, store, row)
            continue
        for store in (Store.GRAPH, Store.VECTORS):
            if store not in rows:
                seen.suspect(Kind.LOST, store, committed)
        for store in _altered(version, committed, rows):
            seen.suspect(Kind.ALTERED, store, committed)
    return seen


def duplicates(seen: SetComparison) -> list[Finding]:
    """I2: every chunk id once in each store."""
    return [
        Finding("I2", Kind.DUPLICATE, store, tally.rows, "rows with an id that another row has", _examples([tally]))
        for store, tally in seen.duplicates.items()
        if tally.rows
    ]


def promised_rows(seen: SetComparison, ledger_counts: Mapping[str, int]) -> list[Finding]:
    """I1: the ledger has as many chunk rows as its generations say. It finds a row that is missing everywhere."""
    rows = seen.rows[Store.LEDGER]
    missing = ledger_counts.get("chunks", rows) - rows
    if not missing:
        return []
    kind = Kind.LOST if missing > 0 else Kind.UNEXPECTED
    return [Finding("I1", kind, Store.LEDGER, abs(missing), "chunk rows, against the counts of their generations")]


def orphans(counts: Mapping[str, int]) -> list[Finding]:
    """I4: no row in the graph that hangs on nothing. (A point without a ledger row is unexpected: I1.)"""
    return [
        Finding("I4", Kind.ORPHAN, Store.GRAPH, count, name.replace("_", " "))
        for name, count in counts.items()
        if count
    ]


def pointers(version: IndexVersion, named: Mapping[Store, int | None]) -> list[Finding]:
    """The pointer node and the alias, by which raw readers find the index, name the live version."""
    return [
        Finding("I1", Kind.POINTER, store, 1, f"points to version {found or 'none'}, live is {version.version}")
        for store, found in named.items()
        if found != version.version
    ]


def set_findings(suspects: Suspects, untracked: int = 0) -> list[Finding]:
    """I1, one finding for each kind and store that has suspects."""
    words = {
        Kind.LOST: "committed chunks that are not there",
        Kind.UNEXPECTED: "chunks that nothing committed",
        Kind.ALTERED: "chunks whose digest or place is not what was committed",
    }
    grouped: dict[tuple[Kind, Store], list[Tally]] = {}
    for (kind, store, _), tally in sorted(suspects.items()):
        grouped.setdefault((kind, store), []).append(tally)
    findings = [
        Finding("I1", kind, store, sum(tally.rows for tally in tallies), words[kind], _examples(tallies))
        for (kind, store), tallies in grouped.items()
    ]
    if untracked:
        what = f"more differing rows in the stores, beyond the first {MAX_GENERATIONS} generations"
        findings.append(Finding("I1", Kind.ALTERED, Store.LEDGER, untracked, what))
    return findings


def generation_of(row: StoredChunk) -> GenerationKey:
    return GenerationKey(row.document_id, row.generation)


def _altered(version: IndexVersion, committed: StoredChunk, others: Mapping[Store, StoredChunk]) -> list[Store]:
    """The stores whose row is not what was committed; the ledger itself where both others agree against it."""
    differing = [store for store, row in others.items() if row != committed]
    named = ids.chunk_id(
        index_version=version.version,
        document_id=committed.document_id,
        generation=committed.generation,
        ordinal=committed.ordinal,
    )
    if named != committed.chunk_id or (len(differing) == 2 and others[Store.GRAPH] == others[Store.VECTORS]):
        return [Store.LEDGER]
    return differing


def _distinct(stream: Iterable[StoredChunk], store: Store, seen: SetComparison) -> Iterator[StoredChunk]:
    """Each id once; counts the rows and notes the duplicates (I2)."""
    last: UUID | None = None
    for row in stream:
        seen.rows[store] += 1
        if last is not None and row.chunk_id < last:
            raise Corrupt(
                f"The {store} stream of chunks is not ordered by id: its adapter is broken, nothing was compared"
            )
        if row.chunk_id == last:
            seen.duplicates[store].add(row)
            continue
        last = row.chunk_id
        yield row


def _merged(streams: Mapping[Store, Iterator[StoredChunk]]) -> Iterator[dict[Store, StoredChunk]]:
    """The rows of each id, by store, in the order of the ids."""
    heads = {store: row for store, stream in streams.items() if (row := next(stream, None)) is not None}
    while heads:
        lowest = min(row.chunk_id for row in heads.values())
        present = {store: row for store, row in heads.items() if row.chunk_id == lowest}
        yield dict(present)
        for store in present:
            following = next(streams[store], None)
            if following is None:
                del heads[store]
            else:
                heads[store] = following


def _examples(tallies: Iterable[Tally]) -> tuple[str, ...]:
    rows = [row for tally in tallies for row in tally.examples][:MAX_EXAMPLES]
    return tuple(
        f"chunk {row.chunk_id} (document {row.document_id}, generation {row.generation}, ordinal {row.ordinal})"
        for row in rows
    )
