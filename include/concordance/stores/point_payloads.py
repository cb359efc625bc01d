"""What a point holds, read from its JSON: pure.

A point that somebody edited by hand may lack any field or hold any value in it: nothing here may fail for that, the row
that comes out simply equals no row that was ever written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import numpy as np

from concordance import ids
from concordance.model import Anchor, Point, StoredChunk

DENSE, SPARSE = "dense", "bm25"
# What is compared of every batch that was written.
WRITTEN = ["document_id", "generation", "index", "text", "text_digest"]
_NOBODY = UUID(int=0)
_NORM_TOLERANCE = 1e-3


def digest_of_vectors(point: Point) -> str:
    """The digest that is written beside a point's vectors, so that a later reading can tell that they are the same."""
    values = np.asarray(point.sparse.values, dtype="<f4")
    return ids.vectors_digest(point.dense.astype("<f4").tobytes(), point.sparse.indices, values.tobytes())


def wrong_with(vectors: Any, claimed: object, *, dimension: int) -> str:
    """What is wrong with a point's vectors as they were read, against the digest written beside them."""
    try:
        dense = np.asarray(vectors[DENSE], dtype="<f4")
        sparse = vectors.get(SPARSE) or {"indices": [], "values": []}
        order = np.argsort(np.asarray(sparse["indices"], dtype=np.int64))
        indices = [int(sparse["indices"][at]) for at in order]
        values = np.asarray(sparse["values"], dtype="<f4")[order]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
        return "vectors that are missing or unreadable"
    if dense.shape != (dimension,) or not bool(np.isfinite(dense).all()):
        return "a dense vector of the wrong size or with values that are not finite"
    if abs(float(np.linalg.norm(dense)) - 1.0) > _NORM_TOLERANCE:
        return "a dense vector that is not of unit norm"
    if ids.vectors_digest(dense.tobytes(), indices, values.tobytes()) != claimed:
        return "vectors that are not the ones that were written"
    return ""


def stored_point(point_id: object, payload: Mapping[str, Any]) -> StoredChunk:
    """A point as read; what cannot be one of ours becomes values that equal nothing."""
    view = ids.read_view_digest(payload.get("tenant"), payload.get("heading_path"), payload.get("live"))
    return _stored(point_id, payload, _document_digest(payload), view)


def written_point(point_id: object, payload: Mapping[str, Any]) -> StoredChunk:
    """As `stored_point`, of a point whose `WRITTEN` alone were read."""
    return _stored(point_id, payload, None, None)


def _stored(
    point_id: object, payload: Mapping[str, Any], document_digest: bytes | None, view_digest: bytes | None
) -> StoredChunk:
    generation, ordinal = payload.get("generation"), payload.get("index")
    return StoredChunk(
        chunk_id=point_uuid(point_id),
        document_id=_uuid(payload.get("document_id")),
        generation=generation if type(generation) is int else -1,
        ordinal=ordinal if type(ordinal) is int else -1,
        text_digest=ids.read_digest(payload.get("text"), payload.get("text_digest")),
        document_digest=document_digest,
        view_digest=view_digest,
    )


def _document_digest(payload: Mapping[str, Any]) -> bytes:
    title, access = payload.get("title"), payload.get("access")
    return ids.document_digest(
        tenant=str(payload.get("tenant")),
        source=str(payload.get("source")),
        uri=str(payload.get("uri")),
        title=title if title is None else str(title),
        access=list(map(str, access)) if isinstance(access, list) else ["?", str(access)],
    )


def place_of(payload: Mapping[str, Any]) -> Anchor:
    """The document that a point names."""
    return Anchor(
        document_id=_uuid(payload.get("document_id")),
        tenant=str(payload.get("tenant")),
        source=str(payload.get("source")),
        uri=str(payload.get("uri")),
    )


def point_uuid(point_id: object) -> UUID:
    """Ours are UUIDs; a number is somebody else's point."""
    return UUID(int=point_id) if isinstance(point_id, int) else UUID(str(point_id))


def _uuid(value: object) -> UUID:
    try:
        return UUID(value) if isinstance(value, str) else _NOBODY
    except ValueError:
        return _NOBODY
