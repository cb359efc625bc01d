"""Collections that come and go: made, found, indexed, named by the alias, dropped.

The server builds an HNSW by itself where enough vectors are without one (`hnsw_threshold_kb`). To have all of them in
it, that threshold is lowered until it is so, and raised again: left low, every small write would be indexed at once.
While a version is built the threshold says never: the HNSW is made once, of all vectors, and not again and again.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from qdrant_client import models

from concordance.errors import Conflict, Misconfigured, Unavailable
from concordance.model import IndexState, IndexVersion
from concordance.settings import Settings
from concordance.stores.point_payloads import DENSE, SPARSE
from concordance.stores.qdrant_requests import Deadline, Requests
from concordance.stores.qdrant_rows import ALIAS, COLLECTION, PAYLOAD_INDEXES, check_shape, has_shape

# The server compares it with the vectors of each segment: what is below it stays without an index.
_INDEX_ALL_KB = 1
# To the server this is no size: it indexes nothing by itself.
_INDEX_NOTHING_KB = 0
_POLL_SECONDS = 0.1
_POLL_MAX_SECONDS = 2.0
_LOOK_SECONDS = 1.0


class Collections:
    """The collections of one server, each call within the time of a call by the settings where it gives none."""

    def __init__(self, requests: Requests, settings: Settings) -> None:
        self._requests = requests
        self._client = requests.client
        self._threshold_kb = settings.hnsw_threshold_kb
        self._full_scan_kb = settings.hnsw_full_scan_kb

    def prepare(self, version: IndexVersion) -> None:
        """The collection with its payload indexes. Raises `Misconfigured` for one of another shape."""
        name, dimension = version.collection, version.settings.model.dimension
        what = f"preparing {name}"
        if not self._exists(name, what):
            self._requests.change(what, name, lambda seconds: self._create(name, dimension, seconds))
        found = self._describe(name, what)
        check_shape(name, found.config.params, dimension)
        for field in PAYLOAD_INDEXES.keys() - found.payload_schema.keys():
            self._requests.change(what, name, partial(self._index, name, field))

    def schema_gaps(self, version: IndexVersion) -> list[str]:
        """What is missing or of another shape, in words."""
        name = version.collection
        what = f"reading the shape of {name}"
        if not self._exists(name, what):
            return [f"the collection {name} is missing"]
        found = self._describe(name, what)
        gaps = [
            f"the payload index on {field} is missing or of another type"
            for field, kind in sorted(PAYLOAD_INDEXES.items())
            if field not in found.payload_schema or found.payload_schema[field].data_type != kind
        ]
        if not has_shape(found.config.params, version.settings.model.dimension):
            gaps.append(f"the collection {name} has vectors of another shape")
        return gaps

    def kept(self) -> set[int]:
        """Versions that have a collection."""
        found = self._requests.ask("listing the collections", "", lambda seconds: self._client.get_collections())
        return {int(match[1]) for each in found.collections if (match := COLLECTION.fullmatch(each.name))}

    def drop(self, version: IndexVersion, deadline: Deadline) -> None:
        """The collection and its points are gone. Raises `Conflict` while the alias names it."""
        name = version.collection
        if self._aliased(deadline) == name:
            raise Conflict(
                f"{name} is not dropped, because the alias {ALIAS!r} of the vector store at {self._requests.url} "
                "names it: let it name another version first"
            )
        what = f"dropping {name}"
        if self._exists(name, what, deadline):
            self._requests.change(
                what, name, lambda seconds: self._client.delete_collection(name, timeout=seconds), deadline
            )

    def _create(self, name: str, dimension: int, seconds: int) -> None:
        try:
            self._client.create_collection(
                name,
                vectors_config={DENSE: models.VectorParams(size=dimension, distance=models.Distance.DOT)},
                sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                hnsw_config=models.HnswConfigDiff(full_scan_threshold=self._full_scan_kb),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=self._threshold_kb),
                timeout=seconds,
            )
        except Exception:
            # Another worker made it in between, or a repeated request did: its shape is checked like any other's.
            if not self._client.collection_exists(name):
                raise

    def _index(self, name: str, field: str, seconds: int) -> None:
        self._client.create_payload_index(name, field, PAYLOAD_INDEXES[field], wait=True, timeout=seconds)

    def _exists(self, name: str, what: str, deadline: Deadline | None = None) -> bool:
        return self._requests.ask(what, name, lambda seconds: self._client.collection_exists(name), deadline)

    def _describe(self, name: str, what: str, deadline: Deadline | None = None) -> models.CollectionInfo:
        return self._requests.ask(what, name, lambda seconds: self._client.get_collection(name), deadline)

    # --- the alias --------------------------------------------------------------------------------------------------

    def point_to(self, version: IndexVersion) -> None:
        """Move the alias in one request, which the server applies as a whole."""
        name = version.collection
        create = models.CreateAlias(collection_name=name, alias_name=ALIAS)
        changes: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        if self._aliased() is not None:
            gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=ALIAS))
            changes.insert(0, gone)
        self._describe(name, f"checking {name}")
        self._requests.change(
            f"moving the alias to {name}",
            name,
            lambda seconds: self._client.update_collection_aliases(changes, timeout=seconds),
        )

    def pointer(self) -> int | None:
        """The version that the alias names. Raises `Misconfigured` when it names something else."""
        name = self._aliased()
        if name is None:
            return None
        found = COLLECTION.fullmatch(name)
        if found is None:
            raise Misconfigured(
                f"the alias {ALIAS!r} of the vector store at {self._requests.url} names {name!r}, which is no index "
                "version: remove the alias, or use another server"
            )
        return int(found[1])

    def _aliased(self, deadline: Deadline | None = None) -> str | None:
        found = self._requests.ask("reading the aliases", "", lambda seconds: self._client.get_aliases(), deadline)
        return next((each.collection_name for each in found.aliases if each.alias_name == ALIAS), None)

    # --- the HNSW ---------------------------------------------------------------------------------------------------

    def index_state(self, version: IndexVersion) -> IndexState:
        """Points, and dense vectors in the HNSW."""
        return self._look(version)[1]

    def defer_indexing(self, version: IndexVersion) -> None:
        """Nothing is indexed until `build_hnsw`, which sets the usual threshold again. An index whose build goes on, as
        `build_hnsw` leaves it when its time is over, goes on here too: put off, it would begin anew each time."""
        name = version.collection
        what = f"deferring the index of {name}"
        found = self._describe(name, what)
        if found.config.optimizer_config.indexing_threshold not in (_INDEX_NOTHING_KB, _INDEX_ALL_KB):
            never = models.OptimizersConfigDiff(indexing_threshold=_INDEX_NOTHING_KB)
            self._requests.change(
                what,
                name,
                lambda seconds: self._client.update_collection(name, optimizers_config=never, timeout=seconds),
            )

    def build_hnsw(self, version: IndexVersion, deadline: Deadline) -> None:
        """Every dense vector is in the HNSW. Raises `Unavailable` with the counts when that takes too long."""
        found, state = self._look(version, deadline)
        is_tuned = found.config.hnsw_config.full_scan_threshold == self._full_scan_kb
        if not (is_tuned and _is_built(version, found, state)):
            self._tune(version, _INDEX_ALL_KB, deadline)
            found = self._await_hnsw(version, deadline)
        if found.config.optimizer_config.indexing_threshold != self._threshold_kb:
            self._tune(version, self._threshold_kb, deadline)

    def _await_hnsw(self, version: IndexVersion, deadline: Deadline) -> models.CollectionInfo:
        wait = _POLL_SECONDS
        while True:
            found, state = self._look(version, deadline)
            if _is_built(version, found, state):
                return found
            if deadline.seconds_left() <= wait + _LOOK_SECONDS:
                # The threshold stays low: another change would stop the server in the middle of its work.
                raise Unavailable(
                    f"the HNSW of {version.collection} has {state.indexed} of {state.points} vectors and the time to "
                    f"build it is over (the server says {found.status.value}): it goes on, call again later"
                )
            time.sleep(wait)
            wait = min(2 * wait, _POLL_MAX_SECONDS)

    def _look(
        self, version: IndexVersion, deadline: Deadline | None = None
    ) -> tuple[models.CollectionInfo, IndexState]:
        name = version.collection
        what = f"reading the state of {name}"
        found = self._describe(name, what, deadline)

        def count(*conditions: models.Condition) -> int:
            chosen = models.Filter(must=list(conditions))
            return self._requests.ask(
                what,
                name,
                lambda seconds: self._client.count(name, count_filter=chosen, exact=True, timeout=seconds).count,
                deadline,
            )

        points = count()
        # Sparse vectors count as indexed from the start.
        indexed = (found.indexed_vectors_count or 0) - count(models.HasVectorCondition(has_vector=SPARSE))
        return found, IndexState(points=points, indexed=min(points, max(0, indexed)))

    def _tune(self, version: IndexVersion, threshold_kb: int, deadline: Deadline) -> None:
        name = version.collection
        self._requests.change(
            f"setting when {name} is indexed",
            name,
            lambda seconds: self._client.update_collection(
                name,
                hnsw_config=models.HnswConfigDiff(full_scan_threshold=self._full_scan_kb),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=threshold_kb),
                timeout=seconds,
            ),
            deadline,
        )


def _is_built(version: IndexVersion, found: models.CollectionInfo, state: IndexState) -> bool:
    never_indexed = found.segments_count * (_INDEX_ALL_KB * 1024 // (4 * version.settings.model.dimension))
    return found.status == models.CollectionStatus.GREEN and state.points - state.indexed <= never_indexed
