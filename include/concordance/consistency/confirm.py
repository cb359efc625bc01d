"""A suspect becomes a finding when it still holds against a snapshot newer than its reading (see `verify`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from concordance.consistency.invariants import Kind, SetComparison, Store, Suspects
from concordance.consistency.ports import AuditLedger, AuditSnapshot
from concordance.model import GenerationKey, IndexVersion, Span, StoredChunk
from concordance.stores.ports import GraphStore, VectorStore

_KEYS_A_QUESTION = 10_000


def confirmed(
    seen: SetComparison,
    version: IndexVersion,
    *,
    ledger: AuditLedger,
    graph: GraphStore,
    vectors: VectorStore,
) -> Suspects:
    """The suspects that hold against a snapshot newer than their reading."""
    suspects = seen.suspects
    if not suspects:
        return {}
    with ledger.snapshot() as snapshot:
        in_flight = frozenset(snapshot.in_flight(version))
        current = current_of(snapshot, version, {key for _, _, key in suspects})
    holding: Suspects = {}
    for (kind, store, key), tally in suspects.items():
        if kind is not Kind.UNEXPECTED:
            holds = key in current
        elif key in seen.was_current:
            holds = True
        elif key in current or key in in_flight:
            holds = False
        else:
            holds = _is_there(store, version, key, tally.examples, graph=graph, vectors=vectors)
        if holds:
            holding[kind, store, key] = tally
    return holding


def current_of(
    snapshot: AuditSnapshot, version: IndexVersion, keys: Collection[GenerationKey]
) -> frozenset[GenerationKey]:
    """Those of the generations that are current in the snapshot."""
    waiting: Iterator[GenerationKey] = iter(keys)
    found: set[GenerationKey] = set()
    while some := list(islice(waiting, _KEYS_A_QUESTION)):
        found.update(snapshot.current(version, some))
    return frozenset(found)


def _is_there(
    store: Store,
    version: IndexVersion,
    key: GenerationKey,
    examples: list[StoredChunk],
    *,
    graph: GraphStore,
    vectors: VectorStore,
) -> bool:
    """Whether a sweep has not removed the rows meanwhile."""
    if store is Store.GRAPH:
        # Not by the document's node: rows that hang on none are there too.
        wanted = {row.chunk_id for row in examples}
        spans = [Span(row.chunk_id, row.chunk_id) for row in examples]
        return any(row.chunk_id in wanted for span in spans for row in graph.chunks(version, span))
    return bool(vectors.read_back(version, [row.chunk_id for row in examples]))
