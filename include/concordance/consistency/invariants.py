"""The invariants that can be read off the stores, as pure functions over rows.

Where the digests of a bucket differ (`buckets.py`), its rows are compared one by one: a few hundred of each store. What
differs is tallied by generation, a bounded number of them, with the first few chunk ids as examples. Words as in
Jepsen's set checker: *lost* was committed and is not there, *unexpected* is there and was never written by anything
that the ledger knows, *recovered* is there although its commit is still open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.model import GenerationKey, IndexVersion, StoredChunk

MAX_EXAMPLES = 10
MAX_GENERATIONS = 100_000


class Store(StrEnum):
    LEDGER = "ledger"
    GRAPH = "graph"
    VECTORS = "vectors"
    STAGING = "staging"


STORES = (Store.LEDGER, Store.GRAPH, Store.VECTORS)


class Kind(StrEnum):
    """What is wrong."""

    LOST = "lost"
    UNEXPECTED = "unexpected"
    ALTERED = "altered"
    DUPLICATE = "duplicate"
    ORPHAN = "orphan"
    POINTER = "pointer"
    STALE = "stale"
    MISSING = "missing"
    FORBIDDEN = "forbidden"


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
    """What the comparison saw. `suspects` are findings unless something moved while they were read: see `verify`.

    `was_current` are those of their generations that were current in the snapshot by which they are suspect;
    `untracked` counts differing rows beyond `MAX_GENERATIONS` generations: they are in no tally; `suspected` counts
    all, and `fresh` are the generations that became suspect since it was last emptied.
    """

    rows: dict[Store, int] = field(default_factory=lambda: dict.fromkeys(STORES, 0))
    duplicates: dict[Store, Tally] = field(default_factory=lambda: {store: Tally() for store in STORES})
    recovered: dict[Store, int] = field(default_factory=lambda: dict.fromkeys(STORES, 0))
    suspects: Suspects = field(default_factory=dict)
    untracked: int = 0
    suspected: int = 0
    fresh: set[GenerationKey] = field(default_factory=set)
    was_current: set[GenerationKey] = field(default_factory=set)

    def generations(self) -> set[GenerationKey]:
        return {key for _, _, key in self.suspects}

    def suspect(self, kind: Kind, store: Store, row: StoredChunk) -> None:
        self.suspected += 1
        name = (kind, store, generation_of(row))
        if name not in self.suspects:
            if len(self.suspects) >= MAX_GENERATIONS:
                self.untracked += 1
                return
            self.suspects[name] = Tally()
            self.fresh.add(name[2])
        self.suspects[name].add(row)


def compare_rows(
    seen: SetComparison,
    *,
    version: IndexVersion,
    ledger: Iterable[StoredChunk],
    graph: Iterable[StoredChunk],
    vectors: Iterable[StoredChunk],
    in_flight: Collection[GenerationKey],
) -> None:
    """I1 and I2 for the rows of one bucket: the same chunks with the same digests, each once, in all three."""
    committed = _by_id(ledger, Store.LEDGER, seen)
    found = {Store.GRAPH: _by_id(graph, Store.GRAPH, seen), Store.VECTORS: _by_id(vectors, Store.VECTORS, seen)}
    for chunk_id, row in committed.items():
        there = {store: rows[chunk_id] for store, rows in found.items() if chunk_id in rows}
        for store in found:
            if store not in there:
                seen.suspect(Kind.LOST, store, row)
        for store in _altered(version, row, there, is_in_flight=generation_of(row) in in_flight):
            seen.suspect(Kind.ALTERED, store, row)
    for store, rows in found.items():
        for chunk_id, row in rows.items():
            if chunk_id in committed:
                continue
            if generation_of(row) in in_flight:
                seen.recovered[store] += 1
            else:
                seen.suspect(Kind.UNEXPECTED, store, row)


def duplicates(seen: SetComparison) -> list[Finding]:
    """I2: every chunk id once in each store."""
    return [
        Finding("I2", Kind.DUPLICATE, store, tally.rows, "rows with an id that another row has", _examples([tally]))
        for store, tally in seen.duplicates.items()
        if tally.rows
    ]


def miscounted(keys: Collection[GenerationKey]) -> list[Finding]:
    """I1: each generation has as many chunk rows as it began with. It finds a row that is missing everywhere."""
    if not keys:
        return []
    what = "generations with another number of chunk rows than they began with"
    return [Finding("I1", Kind.LOST, Store.LEDGER, len(keys), what, named(keys))]


def gaps(store: Store, what: Iterable[str]) -> list[Finding]:
    """I2: constraints, indexes and the collection's shape."""
    return [Finding("I2", Kind.MISSING, store, 1, each) for each in what]


def stray_artefacts(names: Collection[str]) -> list[Finding]:
    """I4: no staged artefact without the reference by which a stage finds it."""
    if not names:
        return []
    what = "staged artefacts that nothing refers to"
    return [Finding("I4", Kind.ORPHAN, Store.STAGING, len(names), what, tuple(sorted(names)[:MAX_EXAMPLES]))]


def history(forbidden: Mapping[str, int]) -> list[Finding]:
    """I8: nothing that no allowed history leaves."""
    return [Finding("I8", Kind.FORBIDDEN, Store.LEDGER, count, what) for what, count in forbidden.items()]


def stale(keys: Collection[GenerationKey]) -> list[Finding]:
    """Rows that should have been swept long ago: nobody sweeps."""
    if not keys:
        return []
    what = "replaced or closed generations that nobody swept since"
    return [Finding("I1", Kind.STALE, Store.LEDGER, len(keys), what, named(keys))]


def named(keys: Iterable[GenerationKey]) -> tuple[str, ...]:
    """Some generations as examples."""
    return tuple(f"document {key.document_id}, generation {key.generation}" for key in sorted(keys)[:MAX_EXAMPLES])


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


def _altered(
    version: IndexVersion, committed: StoredChunk, others: Mapping[Store, StoredChunk], *, is_in_flight: bool
) -> list[Store]:
    """The stores whose row is not what was committed; the ledger itself where both others agree against it."""
    differing = [store for store, row in others.items() if row != committed]
    expected = ids.chunk_id(
        index_version=version.version,
        document_id=committed.document_id,
        generation=committed.generation,
        ordinal=committed.ordinal,
    )
    if expected != committed.chunk_id or (len(differing) == 2 and others[Store.GRAPH] == others[Store.VECTORS]):
        return [Store.LEDGER]
    graph, vectors = others.get(Store.GRAPH), others.get(Store.VECTORS)
    if vectors is not None and vectors.document_digest != committed.document_digest:
        differing.append(Store.VECTORS)
    # Which of the two is wrong cannot be said from here. While a generation is being settled they may well differ.
    if graph and vectors and not is_in_flight and graph.view_digest != vectors.view_digest:
        differing += [Store.GRAPH, Store.VECTORS]
    return list(dict.fromkeys(differing))


def _by_id(rows: Iterable[StoredChunk], store: Store, seen: SetComparison) -> dict[UUID, StoredChunk]:
    """Each id once; notes the duplicates (I2)."""
    found: dict[UUID, StoredChunk] = {}
    for row in rows:
        if row.chunk_id in found:
            seen.duplicates[store].add(row)
        else:
            found[row.chunk_id] = row
    return found


def _examples(tallies: Iterable[Tally]) -> tuple[str, ...]:
    rows = [row for tally in tallies for row in tally.examples][:MAX_EXAMPLES]
    return tuple(
        f"chunk {row.chunk_id} (document {row.document_id}, generation {row.generation}, ordinal {row.ordinal})"
        for row in rows
    )
