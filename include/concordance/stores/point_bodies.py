"""Points as the bytes of upsert requests: pure.

A request's size is known only once it is encoded, and a server refuses bodies over its limit, so each point is encoded
here once and the requests are cut by the bytes that are really sent. (The client's own models would validate every
number of every vector first and encode a second time.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

import pydantic_core

from concordance.model import Point
from concordance.stores.point_payloads import digest_of_vectors

# Rows are written once: a point that is there stays as it is, its flag `live` included, whoever sends it again late.
_HEAD = b'{"update_mode":"insert_only","points":['
# A repair alone puts a point back as it was written, over what stands there.
_OVER = b'{"points":['
_TAIL = b"]}"


class Encoded:
    """Points on their way: each encoded once, when a request has room for it, and gone when the server has it."""

    def __init__(self, points: Sequence[Point], *, over: bool = False) -> None:
        """`over`: what is there is written over."""
        self._coming = iter(points)
        self._rows: deque[bytes] = deque()
        self._head = _OVER if over else _HEAD

    def body(self, *, max_points: int, max_bytes: int) -> tuple[int, bytes]:
        """The next request's number of points and its JSON body; no points when all are gone.

        A single point above `max_bytes` goes alone: whether it is too large is for the server to say.
        """
        count, size = 0, len(self._head) + len(_TAIL)
        while count < max_points and self._is_there(count):
            size += len(self._rows[count]) + 1
            if count and size > max_bytes:
                break
            count += 1
        return count, self._head + b",".join(islice(self._rows, count)) + _TAIL

    def _is_there(self, at: int) -> bool:
        if at == len(self._rows):
            self._rows.extend(pydantic_core.to_json(_row(point)) for point in islice(self._coming, 1))
        return at < len(self._rows)

    def drop(self, count: int) -> None:
        """So many points of the next request are with the server."""
        for _ in range(count):
            self._rows.popleft()


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
