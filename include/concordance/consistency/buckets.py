"""Streams of rows folded into digests of some thousand buckets: stores are compared without holding or ordering rows.

A bucket is a range of chunk ids. (They are uuid5, so ranges of equal width hold equally many, and a range can be read
again by an index of every store.) A row goes into its bucket as the sum of a 128-bit hash modulo 2^128, which does not
depend on the order of the stream and does not cancel a row that occurs twice, as exclusive-or would. Two streams that
differ agree by accident with a probability of about 2^-128 a bucket. That is no proof against somebody who chooses
texts to collide: the texts' own digests are SHA-256, and a store that lies about all it holds is out of scope.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b
from uuid import UUID

from concordance.model import GenerationKey, Span, StoredChunk

MAX_BUCKETS = 4096
_ROWS_A_BUCKET = 256
_MASK = 2**128 - 1


class Buckets:
    """How the chunk ids are cut: into `count` ranges, a power of two."""

    def __init__(self, expected_rows: int) -> None:
        wanted = max(1, min(MAX_BUCKETS, expected_rows // _ROWS_A_BUCKET))
        self.count = 1 << (wanted.bit_length() - 1)
        self._shift = 128 - (self.count.bit_length() - 1)

    def of(self, chunk_id: UUID) -> int:
        return chunk_id.int >> self._shift

    def span(self, bucket: int) -> Span:
        """The ids of this bucket."""
        first = bucket << self._shift
        return Span(UUID(int=first), UUID(int=first + (1 << self._shift) - 1))


class Fold:
    """The digests of one store's stream: of identity and text, and of what only some stores know of a row."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self.rows = 0
        self.in_flight = 0
        self.counts = [0] * buckets.count
        self.identities = [0] * buckets.count
        self.documents = [0] * buckets.count
        self.views = [0] * buckets.count

    def take(self, stream: Iterable[StoredChunk], *, leave_out: Collection[GenerationKey] = ()) -> Fold:
        """Fold the whole stream in. Rows of the generations in `leave_out` are counted, and nothing else."""
        for row in stream:
            self.rows += 1
            if leave_out and GenerationKey(row.document_id, row.generation) in leave_out:
                self.in_flight += 1
                continue
            bucket = self._buckets.of(row.chunk_id)
            chunk_id = row.chunk_id.bytes
            self.counts[bucket] += 1
            place = b"%d,%d," % (row.generation, row.ordinal)
            hashed = _hash(chunk_id + row.document_id.bytes + place + row.text_digest.encode())
            self.identities[bucket] = (self.identities[bucket] + hashed) & _MASK
            if row.document_digest is not None:
                self.documents[bucket] = (self.documents[bucket] + _hash(chunk_id + row.document_digest)) & _MASK
            if row.view_digest is not None:
                self.views[bucket] = (self.views[bucket] + _hash(chunk_id + row.view_digest)) & _MASK
        return self


def differing(ledger: Fold, graph: Fold, vectors: Fold) -> list[int]:
    """The buckets in which the three do not agree, in their order."""
    return [
        bucket
        for bucket in range(len(ledger.counts))
        if not (
            ledger.counts[bucket] == graph.counts[bucket] == vectors.counts[bucket]
            and ledger.identities[bucket] == graph.identities[bucket] == vectors.identities[bucket]
            and ledger.documents[bucket] == vectors.documents[bucket]
            and graph.views[bucket] == vectors.views[bucket]
        )
    ]


def _hash(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=16).digest(), "big")
