"""`VectorStore` on a server that speaks Qdrant's REST interface: Qdrant, or the gateway of the local stack.

Writes wait until they are applied. The client itself repeats nothing: that is done in one place, `resilience.py`,
request by request, within the call's time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import models

from concordance.circuit import Circuit
from concordance.model import (
    Anchor,
    GenerationKey,
    IndexState,
    IndexVersion,
    Point,
    ScoredPoint,
    Span,
    SparseVector,
    StoreCounts,
    StoredChunk,
    Vector,
    VectorFault,
)
from concordance.settings import Settings
from concordance.slices import slices
from concordance.stores.checks import check_points, check_query
from concordance.stores.point_bodies import Encoded
from concordance.stores.point_payloads import DENSE, SPARSE, place_of
from concordance.stores.qdrant_collections import Collections
from concordance.stores.qdrant_requests import IDS_PER_REQUEST, Deadline, Requests
from concordance.stores.qdrant_rows import FOUND, SHOWN, hit, is_any_of, query_of
from concordance.stores.qdrant_scan import checked_vectors, read_back, scan
from concordance.stores.sizing import Sizing

POINTS_PER_PAGE = 2_000
DOCUMENTS_PER_FILTER = 200


class QdrantVectors:
    """`VectorStore` over REST. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._requests = Requests(settings)
        self._client = self._requests.client
        self._collections = Collections(self._requests, settings)
        self._upsert_bytes = settings.upsert_bytes
        self._sizing = Sizing(
            least=settings.write_rows_min,
            most=settings.upsert_points,
            start=settings.upsert_points,
            wanted_seconds=settings.write_answer_seconds,
        )
        self._call_seconds = settings.call_timeout_seconds

    @property
    def circuit(self) -> Circuit:
        """Whether this process leaves the vector store alone now."""
        return self._requests.circuit

    def close(self) -> None:
        self._client.close()

    def ping(self) -> str:
        # The greeting is public: only a call that needs the key shows that the key is right.
        self._requests.ask(
            "asking the vector store for its collections", "", lambda seconds: self._client.get_collections()
        )
        found = self._requests.ask("asking the vector store for its version", "", lambda seconds: self._client.info())
        return f"{found.title} {found.version}"

    # --- collections ------------------------------------------------------------------------------------------------

    def prepare(self, version: IndexVersion) -> None:
        self._collections.prepare(version)

    def schema_gaps(self, version: IndexVersion) -> list[str]:
        return self._collections.schema_gaps(version)

    def kept(self) -> set[int]:
        return self._collections.kept()

    def drop(self, version: IndexVersion, *, timeout_seconds: float) -> None:
        self._collections.drop(version, Deadline(timeout_seconds))

    def index_state(self, version: IndexVersion) -> IndexState:
        return self._collections.index_state(version)

    def defer_indexing(self, version: IndexVersion) -> None:
        self._collections.defer_indexing(version)

    def build_hnsw(self, version: IndexVersion, *, timeout_seconds: float) -> None:
        self._collections.build_hnsw(version, Deadline(timeout_seconds))

    def point_to(self, version: IndexVersion) -> None:
        self._collections.point_to(version)

    def pointer(self) -> int | None:
        return self._collections.pointer()

    def counts(self, version: IndexVersion) -> StoreCounts:
        return self._count(version, None)

    def counts_of(self, version: IndexVersion, source: str) -> StoreCounts:
        return self._count(version, models.Filter(must=[is_any_of("source", [source])]))

    def _count(self, version: IndexVersion, chosen: models.Filter | None) -> StoreCounts:
        name = version.collection
        found = self._requests.ask(
            f"counting {name}",
            name,
            lambda seconds: self._client.count(name, count_filter=chosen, exact=True, timeout=seconds),
        )
        return StoreCounts({"points": found.count})

    # --- write ------------------------------------------------------------------------------------------------------

    def upsert(self, version: IndexVersion, points: Sequence[Point], *, timeout_seconds: float) -> None:
        self._send(version, points, Deadline(timeout_seconds), over=False)

    def rewrite(self, version: IndexVersion, points: Sequence[Point], *, timeout_seconds: float) -> None:
        self._send(version, points, Deadline(timeout_seconds), over=True)

    def _send(self, version: IndexVersion, points: Sequence[Point], deadline: Deadline, *, over: bool) -> None:
        check_points(points, dimension=version.settings.model.dimension)
        encoded = Encoded(points, over=over)

        def request(seconds: int) -> int:
            # Each attempt asks for the size anew: what was too much for the server in its time is sent in less.
            count, body = encoded.body(max_points=self._sizing.rows, max_bytes=self._upsert_bytes)
            with self._sizing.measured(count):
                # The generated call sends bytes as they are.
                self._client.http.points_api.upsert_points(
                    version.collection,
                    wait=True,
                    timeout=seconds,
                    point_insert_operations=body,  # type: ignore[arg-type]
                )
            return count

        left = len(points)
        while left:
            sent = self._requests.write(f"writing some of {left} points", version.collection, request, deadline)
            encoded.drop(sent)
            left -= sent

    def settle(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        wanted = {each.document_id: each.generation for each in sorted(generations)}
        deadline = Deadline(timeout_seconds)
        shown = self._shown(version, list(wanted), deadline)
        highest: dict[UUID, int] = {}
        for _, key, is_live in shown:
            if is_live:
                highest[key.document_id] = max(highest.get(key.document_id, key.generation), key.generation)
        current = {
            document_id: generation
            for document_id, generation in wanted.items()
            if highest.get(document_id, generation) <= generation
        }
        off = [each for each, key, live in shown if live and key.generation < current.get(key.document_id, -1)]
        on = [each for each, key, live in shown if not live and key.generation == current.get(key.document_id)]
        # The old first: between the two requests a raw reader sees none of the document rather than two of it.
        self._set_live(version, off, False, deadline)
        self._set_live(version, on, True, deadline)

    def hide(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        wanted = {each.document_id: each.generation for each in sorted(generations)}
        deadline = Deadline(timeout_seconds)
        shown = self._shown(version, list(wanted), deadline)
        off = [each for each, key, live in shown if live and key.generation <= wanted[key.document_id]]
        self._set_live(version, off, False, deadline)

    def _shown(
        self, version: IndexVersion, documents: Sequence[UUID], deadline: Deadline
    ) -> list[tuple[str, GenerationKey, bool]]:
        """Id, generation and `live` of every point of these documents."""
        found = []
        for part in slices(documents, DOCUMENTS_PER_FILTER):
            chosen = models.Filter(must=[is_any_of("document_id", [str(each) for each in part])])
            for page in self._pages(version, SHOWN, chosen=chosen, deadline=deadline):
                for record in page:
                    payload = record.payload or {}
                    key = GenerationKey(UUID(payload["document_id"]), payload["generation"])
                    found.append((str(record.id), key, payload.get("live") is True))
        return found

    def _set_live(self, version: IndexVersion, point_ids: Sequence[str], is_live: bool, deadline: Deadline) -> None:
        for part in slices(point_ids, IDS_PER_REQUEST):
            self._requests.write(
                f"setting live on {len(part)} points",
                version.collection,
                lambda seconds, part=part: self._client.set_payload(  # type: ignore[misc]
                    version.collection, {"live": is_live}, points=list(part), wait=True, timeout=seconds
                ),
                deadline,
            )

    def sweep(self, version: IndexVersion, generations: Sequence[GenerationKey], *, timeout_seconds: float) -> None:
        deadline = Deadline(timeout_seconds)
        ordered = sorted(set(generations), key=lambda each: (each.generation, each.document_id))
        for number, keys in groupby(ordered, key=lambda each: each.generation):
            for part in slices([str(each.document_id) for each in keys], DOCUMENTS_PER_FILTER):
                generation = models.FieldCondition(key="generation", match=models.MatchValue(value=number))
                chosen = models.Filter(must=[is_any_of("document_id", part), generation])
                self._requests.write(
                    f"sweeping {len(part)} generations",
                    version.collection,
                    lambda seconds, chosen=chosen: self._client.delete(  # type: ignore[misc]
                        version.collection, models.FilterSelector(filter=chosen), wait=True, timeout=seconds
                    ),
                    deadline,
                )

    def remove(self, version: IndexVersion, chunk_ids: Sequence[UUID], *, timeout_seconds: float) -> None:
        deadline = Deadline(timeout_seconds)
        for part in slices([str(each) for each in chunk_ids], IDS_PER_REQUEST):
            self._requests.write(
                f"removing {len(part)} points",
                version.collection,
                lambda seconds, part=part: self._client.delete(  # type: ignore[misc]
                    version.collection, models.PointIdsList(points=list(part)), wait=True, timeout=seconds
                ),
                deadline,
            )

    # --- read -------------------------------------------------------------------------------------------------------

    def read_back(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> list[StoredChunk]:
        return list(read_back(self._requests, version, chunk_ids))

    def places(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Anchor]:
        found = (place_of(record.payload or {}) for record in self._retrieve(version, chunk_ids, with_payload=True))
        return {each.document_id: each for each in found}

    def vectors(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Vector]:
        return {
            UUID(str(record.id)): np.asarray(record.vector[DENSE], dtype=np.float32)
            for record in self._retrieve(version, chunk_ids, with_payload=False, with_vectors=[DENSE])
            if isinstance(record.vector, dict) and DENSE in record.vector
        }

    def _retrieve(
        self,
        version: IndexVersion,
        chunk_ids: Sequence[UUID],
        *,
        with_payload: Any,
        with_vectors: Any = False,
    ) -> Iterator[models.Record]:
        name = version.collection
        for part in slices(list(dict.fromkeys(chunk_ids)), IDS_PER_REQUEST):
            yield from self._requests.ask(
                f"reading {len(part)} points back",
                name,
                lambda seconds, part=part: self._client.retrieve(  # type: ignore[misc]
                    name,
                    [str(each) for each in part],
                    with_payload=with_payload,
                    with_vectors=with_vectors,
                    timeout=seconds,
                ),
            )

    def generations_of(self, version: IndexVersion, document_ids: Sequence[UUID]) -> Mapping[GenerationKey, int]:
        wanted = list(dict.fromkeys(document_ids))
        shown = self._shown(version, wanted, Deadline(self._call_seconds))
        return dict(Counter(key for _, key, _ in shown))

    def points(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        return scan(self._requests, version, span)

    def checked_vectors(self, version: IndexVersion, span: Span | None = None) -> Iterator[VectorFault | None]:
        return checked_vectors(self._requests, version, span)

    def _pages(
        self,
        version: IndexVersion,
        fields: list[str],
        *,
        chosen: models.Filter,
        deadline: Deadline,
    ) -> Iterator[list[models.Record]]:
        """The points in the order of their ids; a scroll goes on from an id, so a page may be asked for again."""
        name, offset = version.collection, None
        while True:
            page, offset = self._requests.ask(
                f"streaming {name}",
                name,
                lambda seconds, offset=offset: self._client.scroll(  # type: ignore[misc]
                    name,
                    scroll_filter=chosen,
                    limit=POINTS_PER_PAGE,
                    offset=offset,
                    with_payload=fields,
                    with_vectors=False,
                    timeout=seconds,
                ),
                deadline,
            )
            yield page
            if offset is None:
                return

    def search(
        self,
        version: IndexVersion,
        query: Vector | SparseVector,
        *,
        tenant: str,
        access: Sequence[str],
        limit: int,
        timeout_seconds: float,
        exact: bool = False,
    ) -> list[ScoredPoint]:
        check_query(query, dimension=version.settings.model.dimension)
        if not access or (isinstance(query, SparseVector) and not query.indices):
            return []
        is_tenant = models.FieldCondition(key="tenant", match=models.MatchValue(value=tenant))
        name = version.collection
        found = self._requests.ask(
            f"searching {name}",
            name,
            lambda seconds: self._client.query_points(
                name,
                query=query_of(query),
                using=SPARSE if isinstance(query, SparseVector) else DENSE,
                query_filter=models.Filter(must=[is_tenant, is_any_of("access", list(access))]),
                search_params=models.SearchParams(exact=exact),
                limit=limit,
                with_payload=FOUND,
                timeout=seconds,
            ),
            Deadline(timeout_seconds),
        )
        return [hit(point) for point in found.points]
