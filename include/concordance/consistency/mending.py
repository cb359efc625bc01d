"""One index version put right, by what a verify found in it.

Every step is safe beside running ingests and safe to repeat. A generation's rows are only ever written again as the
ledger's digests name them, while its document is held in the ledger; rows are only deleted when no generation can ever
be allotted their number again. What cannot be put right in place is marked, and the next ingest of its source loads
the document as a new generation, by the ordinary protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from concordance import fault_points, ids
from concordance.consistency.invariants import Kind, Store, generation_of
from concordance.consistency.verify import VersionReport
from concordance.errors import Misconfigured, PoisonDocument
from concordance.ledger.reading import Promise
from concordance.ledger.repairing import Floor
from concordance.model import ChunkRow, GenerationKey, GraphBatch, IndexVersion, Point
from concordance.pipeline import originals
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.publish import settle, sweep
from concordance.settings import Settings
from concordance.slices import slices, weighed_slices

_PREPARED_AT_ONCE = 500
_HELD_AT_ONCE = 20
_SWEPT_AT_ONCE = 50
_MAX_ORPHAN_PAGES = 1000


@dataclass(slots=True)
class _Broken:
    """Generations by what is wrong with them: `ledger` cannot be put right in place."""

    graph: set[GenerationKey] = field(default_factory=set)
    vectors: set[GenerationKey] = field(default_factory=set)
    ledger: set[GenerationKey] = field(default_factory=set)

    def every(self) -> set[GenerationKey]:
        return self.graph | self.vectors | self.ledger


@dataclass(slots=True)
class Mending:
    """Repairs one version; `done` counts what was done, by what it was."""

    report: VersionReport
    adapters: Adapters
    settings: Settings
    done: Counter[str] = field(default_factory=Counter)

    @property
    def version(self) -> IndexVersion:
        return self.report.version

    def mend(self) -> None:
        """Everything that can be put right in place; the rest is marked for a reload."""
        self._relist()
        broken = self._broken()
        self._settle_again(broken.every())
        for keys in slices(sorted(broken.graph | broken.vectors), _PREPARED_AT_ONCE):
            self._write_over(keys, broken)
        settle(self.version, adapters=self.adapters, settings=self.settings)
        self._remove_unexpected(broken)
        self._drop_orphans()
        self.done["generations swept"] += sweep(self.version, adapters=self.adapters, settings=self.settings)
        self._mark(broken.ledger)

    # --- what is broken ---------------------------------------------------------------------------------------------

    def _broken(self) -> _Broken:
        broken = _Broken()
        of_store = {Store.GRAPH: broken.graph, Store.VECTORS: broken.vectors, Store.LEDGER: broken.ledger}
        for kind, store, key in self.report.suspects:
            if kind is not Kind.UNEXPECTED:
                of_store[store].add(key)
        for damage in self.report.damages:
            of_store[damage.store].add(damage.key)
        broken.graph |= self.report.duplicated
        broken.graph |= set(self.adapters.graph.loose(self.version))
        altered = list(self.adapters.graph.altered_entities(self.version))
        broken.graph |= set(self.adapters.graph.mentioning(self.version, altered))
        faulty = [fault.chunk_id for fault in self.report.vector_faults]
        broken.vectors |= {generation_of(row) for row in self.adapters.vectors.read_back(self.version, faulty)}
        with self.adapters.ledger.snapshot() as snapshot:
            broken.ledger |= set(snapshot.miscounted(self.version))
            current = set(snapshot.current(self.version, sorted(broken.every())))
        broken.graph &= current
        broken.vectors &= current
        broken.ledger &= current
        # Rows of a generation that the ledger names wrongly cannot be told right from wrong.
        broken.graph -= broken.ledger
        broken.vectors -= broken.ledger
        return broken

    def _relist(self) -> None:
        with fault_points.around("repair.list"):
            listed = self.adapters.ledger.repairing.relist(self.version)
        self.done["generations listed again"] += listed

    def _settle_again(self, keys: Collection[GenerationKey]) -> None:
        """Marked before anything is written over: whoever finds the mark shows the rows again."""
        if keys:
            with fault_points.around("repair.mark"):
                self.adapters.ledger.repairing.resettle(self.version, sorted(keys))

    # --- rows of current generations --------------------------------------------------------------------------------

    def _write_over(self, keys: Sequence[GenerationKey], broken: _Broken) -> None:
        with self.adapters.ledger.snapshot() as snapshot:
            promises = {promise.key: promise for promise in snapshot.promises_of(self.version, keys)}
        # What a generation wrote does not change: it is made again before anything is held.
        made = originals.from_artefacts(self.version, list(promises.values()), self.adapters)
        for some in slices(sorted(promises), _HELD_AT_ONCE):
            # Encoding takes its time, too.
            points = self._points([promises[key] for key in some if key in broken.vectors], made, broken)
            with self.adapters.ledger.repairing.holding(self.version, some) as states:
                held = [promises[key] for key, state in states.items() if (state or "").startswith("current")]
                self._write_graph([promise for promise in held if promise.key in broken.graph], made)
                self._write_vectors([points[promise.key] for promise in held if promise.key in points])
                # A generation whose graph rows cannot be made again is loaded anew.
                broken.ledger |= {promise.key for promise in held if promise.key in broken.graph} - made.keys()

    def _write_graph(self, promises: Sequence[Promise], made: dict[GenerationKey, GraphBatch]) -> None:
        seconds = self.settings.call_timeout_seconds
        for promise in promises:
            batch = made.get(promise.key)
            if batch is None:
                continue
            with fault_points.around("repair.graph"):
                self.adapters.graph.rewrite(self.version, batch, [promise.row], timeout_seconds=seconds)
            plan_id = self.adapters.ledger.repairing.plans_of(self.version, [promise.key])[promise.key]
            waiting = self.adapters.ledger.batches.links_to(plan_id, [promise.row.document_id])
            if waiting:
                with fault_points.around("repair.links"):
                    self.adapters.graph.write_links(self.version, waiting, timeout_seconds=seconds)
            self.done["documents written over in the graph"] += 1

    def _points(
        self, promises: Sequence[Promise], made: dict[GenerationKey, GraphBatch], broken: _Broken
    ) -> dict[GenerationKey, list[Point]]:
        """The points of these generations, made again; those that cannot be are entered in `broken.ledger`."""
        found: dict[GenerationKey, list[Point]] = {}
        for promise in promises:
            chunks = self._chunks(promise, made, trusts_graph=promise.key not in broken.graph)
            # The version's model may be none of those that are here, or it gives no vector for a text.
            with suppress(Misconfigured, PoisonDocument):
                if chunks is not None:
                    vectors = originals.embedded(self.version, chunks, self.adapters)
                    found[promise.key] = originals.points_of(promise.row, chunks, vectors, self.version)
            if promise.key not in found:
                broken.ledger.add(promise.key)
        return found

    def _write_vectors(self, generations: Sequence[list[Point]]) -> None:
        for points in generations:
            with fault_points.around("repair.vectors"):
                self.adapters.vectors.rewrite(self.version, points, timeout_seconds=self.settings.call_timeout_seconds)
            self.done["points written over"] += len(points)

    def _chunks(
        self, promise: Promise, made: dict[GenerationKey, GraphBatch], *, trusts_graph: bool
    ) -> list[ChunkRow] | None:
        """The generation's chunks: from its artefacts, else from the graph if nothing is wrong with them there."""
        if promise.key in made:
            return originals.whole_chunks(promise, made[promise.key].chunks)
        if not trusts_graph:
            return None
        return originals.whole_chunks(promise, self.adapters.graph.chunk_rows(self.version, [promise.key]))

    # --- rows of nobody ---------------------------------------------------------------------------------------------

    def _remove_unexpected(self, broken: _Broken) -> None:
        examples: dict[GenerationKey, list[UUID]] = {key: [] for key in self.adapters.graph.loose(self.version)}
        for (kind, _, key), tally in self.report.suspects.items():
            if kind is Kind.UNEXPECTED:
                examples.setdefault(key, []).extend(row.chunk_id for row in tally.examples)
        for some in slices(sorted(examples.keys() - broken.ledger), _SWEPT_AT_ONCE):
            with fault_points.around("repair.floor"):
                self.adapters.ledger.repairing.raise_floors(self._floors(some, examples))
            with self.adapters.ledger.repairing.holding(self.version, some) as states:
                # On the dirty list a sweep takes them, in its time.
                nobodys = [key for key, state in states.items() if state in (None, "swept")]
                current = [key for key, state in states.items() if (state or "").startswith("current")]
                with self.adapters.ledger.snapshot() as snapshot:
                    named = {row.chunk_id for row in snapshot.chunks_of(self.version, current)}
                strays = [each for key in (*nobodys, *current) for each in examples[key] if each not in named]
                self._remove(nobodys, strays)

    def _floors(self, keys: Sequence[GenerationKey], examples: dict[GenerationKey, list[UUID]]) -> list[Floor]:
        """The highest number of each document, so that none of them is ever allotted to a batch."""
        highest: dict[UUID, int] = {}
        for key in keys:
            highest[key.document_id] = max(key.generation, highest.get(key.document_id, 0))
        chunk_ids = [each for key in keys for each in examples[key]]
        places = {
            **self.adapters.vectors.places(self.version, chunk_ids),
            **self.adapters.graph.anchors(self.version, sorted(highest)),
        }
        return [
            Floor(document_id, place.tenant, place.source, place.uri, highest[document_id])
            for document_id, place in places.items()
            if document_id in highest
            # A document id that its names do not give can never come from a plan.
            and ids.document_id(tenant=place.tenant, source=place.source, uri=place.uri) == document_id
        ]

    def _remove(self, keys: Sequence[GenerationKey], chunk_ids: Sequence[UUID]) -> None:
        seconds = self.settings.call_timeout_seconds
        with fault_points.around("repair.remove"):
            for some in self._in_transactions(keys):
                self.adapters.vectors.sweep(self.version, some, timeout_seconds=seconds)
                self.adapters.graph.sweep(self.version, some, timeout_seconds=seconds)
            if chunk_ids:
                self.adapters.vectors.remove(self.version, chunk_ids, timeout_seconds=seconds)
                self.adapters.graph.remove(self.version, chunk_ids, timeout_seconds=seconds)
        self.done["generations of nobody removed"] += len(keys)
        self.done["rows of nobody removed"] += len(chunk_ids)

    def _in_transactions(self, keys: Sequence[GenerationKey]) -> Iterator[Sequence[GenerationKey]]:
        """What nobody knows may be of any size: the graph tells."""
        stored = self.adapters.graph.generations_of(self.version, [key.document_id for key in keys]) if keys else {}
        return weighed_slices(
            keys, lambda key: stored.get(key, 0), size=_SWEPT_AT_ONCE, heaviest=self.settings.settle_chunks
        )

    def _drop_orphans(self) -> None:
        for _ in range(_MAX_ORPHAN_PAGES):
            with fault_points.around("repair.orphans"):
                seen = self.adapters.graph.drop_unused(self.version, timeout_seconds=self.settings.call_timeout_seconds)
            self.done["orphans looked at"] += seen
            if not seen:
                return

    def _mark(self, keys: Collection[GenerationKey]) -> None:
        if keys:
            with fault_points.around("repair.reload"):
                marked = self.adapters.ledger.repairing.damaged(self.version, sorted(keys))
            self.done["documents marked for a reload"] += sum(marked.values())
