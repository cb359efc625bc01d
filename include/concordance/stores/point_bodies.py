"""Points as the bytes of upsert requests: pure.

A request's size is known only once it is encoded, and a server refuses bodies over its limit, so each point is encoded
here once and the requests are cut by the bytes that are really sent. (The client's own models would validate every
number of every vector first and encode a second time.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pydantic_core

from concordance.model import Point
from concordance.stores.point_payloads import digest_of_vectors

# Rows are written once: a point that is there stays as it is, its flag `live` included, whoever sends it again late.
_HEAD = b'{"update_mode":"insert_only","points":['
# A repair alone puts a point back as it was written, over what stands there.
_OVER = b'{"points":['
_TAIL = b"]}"


def upsert_bodies(
    points: Sequence[Point], *, max_points: int, max_bytes: int, over: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Each request's number of points and its JSON body, at most `max_points` and `max_bytes` each; `over` what is
    there, if so.

    A single point above `max_bytes` goes alone: whether it is too large is for the server to say.
    """
    encoded: list[bytes] = []
    size = len(_HEAD) + len(_TAIL)
    for point in points:
        row = pydantic_core.to_json(_row(point))
        if encoded and (len(encoded) == max_points or size + len(row) + 1 > max_bytes):
            yield len(encoded), _body(encoded, over)
            encoded, size = [], len(_HEAD) + len(_TAIL)
        encoded.append(row)
        size += len(row) + 1
    if encoded:
        yield len(encoded), _body(encoded, over)


def _body(rows: list[bytes], over: bool) -> bytes:
    return (_OVER if over else _HEAD) + b",".join(rows) + _TAIL


def _row(point: Point) -> dict[str, object]:
    return {
        "id": str(point.chunk_id),
        "vector": {
            "dense": point.dense.tolist(),
            "bm25": {"indices": point.sparse.indices, "values": point.sparse.values},
        },
        "payload": {
            "document_id": str(point.document_id),
            "generation": point.generation,
            "index": point.ordinal,
            "tenant": point.tenant,
            "source": point.source,
            "uri": point.uri,
            "title": point.title,
            "heading_path": point.heading_path,
            "text": point.text,
            "text_digest": point.text_digest,
            "access": point.access,
            "vectors_digest": digest_of_vectors(point),
            "live": False,
        },
    }
