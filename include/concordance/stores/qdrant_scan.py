"""Reading points for comparison: whole pages as plain JSON, and what a point holds as our values.

The client's own models would check every field of every point once more, at twice the price of everything else here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from concordance.model import IndexVersion, Span, StoredChunk, VectorFault
from concordance.slices import slices
from concordance.stores.point_payloads import (
    DENSE,
    SPARSE,
    WRITTEN,
    point_uuid,
    stored_point,
    written_point,
    wrong_with,
)
from concordance.stores.qdrant_requests import IDS_PER_REQUEST, Requests

POINTS_PER_PAGE = 2_000
VECTORS_PER_PAGE = 500
_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)


def scan(requests: Requests, version: IndexVersion, span: Span | None) -> Iterator[StoredChunk]:
    """The points of the span in the order of their ids, text digests computed from their texts."""
    for page in _pages(requests, version, span, page_points=POINTS_PER_PAGE, with_vector=False):
        for point in page:
            yield stored_point(point["id"], point.get("payload") or {})


def read_back(requests: Requests, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Iterator[StoredChunk]:
    """What was written of the points among these ids that are there."""
    for ids in slices(list(dict.fromkeys(chunk_ids)), IDS_PER_REQUEST):
        for point in requests.retrieve(version.collection, list(map(str, ids)), fields=WRITTEN):
            yield written_point(point["id"], point.get("payload") or {})


def checked_vectors(requests: Requests, version: IndexVersion, span: Span | None) -> Iterator[VectorFault | None]:
    """One for each point of the span: what is wrong with its vectors, None when nothing is."""
    dimension = version.settings.model.dimension
    for page in _pages(requests, version, span, page_points=VECTORS_PER_PAGE, with_vector=True):
        for point in page:
            claimed = (point.get("payload") or {}).get("vectors_digest")
            what = wrong_with(point.get("vector"), claimed, dimension=dimension)
            yield VectorFault(point_uuid(point["id"]), what) if what else None


def _pages(
    requests: Requests, version: IndexVersion, span: Span | None, *, page_points: int, with_vector: bool
) -> Iterator[list[dict[str, Any]]]:
    last = str(_LAST if span is None else span.last)
    offset: str | None = str(_FIRST if span is None else span.first)
    while offset is not None:
        found = requests.scroll(
            version.collection, offset=offset, limit=page_points, with_vector=[DENSE, SPARSE] if with_vector else False
        )
        page = found["points"]
        inside = page if span is None else [point for point in page if str(point_uuid(point["id"])) <= last]
        if inside:
            yield inside
        offset = None if len(inside) < len(page) else found.get("next_page_offset")
