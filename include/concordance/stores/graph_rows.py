"""A batch as the query parameters that carry it: pure, sorted by key, values that any Bolt driver can pack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.model import DocumentRow, GenerationKey, GraphBatch, IndexVersion, LinkRow
from concordance.stores import cypher
from concordance.stores.checks import connected_entities

Rows = list[dict[str, Any]]


class Keys:
    """Node keys of one index version, each computed once."""

    def __init__(self, version: IndexVersion) -> None:
        self._version = version.version
        self._known: dict[Any, str] = {}

    def __call__(self, identity: Any) -> str:
        key = self._known.get(identity)
        if key is None:
            key = self._known[identity] = ids.node_key(self._version, identity)
        return key


def write_queries(version: IndexVersion, batch: GraphBatch) -> Iterator[tuple[str, Rows]]:
    """The queries of one write with their rows, in the order in which they are sent: nodes first, then edges."""
    key = Keys(version)
    yield cypher.MERGE_DOCUMENTS, _documents(version, batch, key)
    yield cypher.MERGE_ENTITIES, _entities(version, batch, key)
    yield cypher.MERGE_CHUNKS, _chunks(version, batch, key)
    yield cypher.MERGE_NEXT_CHUNKS, _next_chunks(batch, key)
    yield cypher.MERGE_MENTIONS, _mentions(batch, key)
    yield cypher.MERGE_DOCUMENT_ENTITIES, _document_entities(batch, key)
    yield cypher.MERGE_RELATIONS, _relations(batch, key)
    yield cypher.MERGE_LINKS, link_rows(version, batch.links)


def parts(rows: Rows, most_rows: Callable[[], int], *, max_bytes: int) -> Iterator[Rows]:
    """Consecutive parts of the rows: `most_rows`, which is asked anew for each part, and about `max_bytes` of texts.

    A single row above `max_bytes` goes alone.
    """
    start = 0
    while start < len(rows):
        most, end, size = start + most_rows(), start, 0
        while end < min(most, len(rows)):
            size += _bytes_of_texts(rows[end])
            if size > max_bytes and end > start:
                break
            end += 1
        yield rows[start:end]
        start = end


def _bytes_of_texts(row: dict[str, Any]) -> int:
    """What a node's row weighs; an edge's has short keys only."""
    values = row.get("properties", {}).values()
    texts = (text for value in values for text in (value if isinstance(value, list) else [value]))
    # What cannot be encoded is refused by the driver, not here.
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts if isinstance(text, str))


def _by(rows: Rows, *names: str) -> Rows:
    return sorted(rows, key=lambda row: tuple(row[name] for name in names))


def _documents(version: IndexVersion, batch: GraphBatch, key: Keys) -> Rows:
    rows = [
        {
            "key": key(row.document_id),
            "properties": {
                "document_id": str(row.document_id),
                "index_version": version.version,
                "tenant": row.tenant,
                "source": row.source,
                "uri": row.uri,
            },
        }
        for row in batch.documents
    ]
    return _by(rows, "key")


def _entities(version: IndexVersion, batch: GraphBatch, key: Keys) -> Rows:
    rows = [
        {
            "key": key(row.entity_key),
            "properties": {
                "entity_key": row.entity_key,
                "index_version": version.version,
                "tenant": row.tenant,
                "type": row.type,
                "name": row.name,
            },
        }
        for row in connected_entities(batch)
    ]
    return _by(rows, "key")


def _chunks(version: IndexVersion, batch: GraphBatch, key: Keys) -> Rows:
    tenants = {row.document_id: row.tenant for row in batch.documents}
    rows = [
        {
            "key": key(row.chunk_id),
            "document": key(row.document_id),
            "properties": {
                "id": str(row.chunk_id),
                "document_id": str(row.document_id),
                "index_version": version.version,
                "tenant": tenants[row.document_id],
                "generation": row.generation,
                "index": row.ordinal,
                "text": row.text,
                "text_digest": row.text_digest,
                "heading_path": list(row.heading_path),
                "live": False,
            },
        }
        for row in batch.chunks
    ]
    return _by(rows, "document", "key")


def _next_chunks(batch: GraphBatch, key: Keys) -> Rows:
    """An edge from each chunk to the one that follows it in its generation."""
    ordered = sorted(batch.chunks, key=lambda row: (row.document_id, row.generation, row.ordinal))
    return [
        {"key": key(row.chunk_id), "next": key(following.chunk_id)}
        for row, following in pairwise(ordered)
        if (row.document_id, row.generation, row.ordinal + 1)
        == (following.document_id, following.generation, following.ordinal)
    ]


def _mentions(batch: GraphBatch, key: Keys) -> Rows:
    rows = [{"entity": key(row.entity_key), "chunk": key(row.chunk_id), "count": row.count} for row in batch.mentions]
    return _by(rows, "entity", "chunk")


def _document_entities(batch: GraphBatch, key: Keys) -> Rows:
    rows = [
        {
            "document": key(row.document_id),
            "entity": key(row.entity_key),
            "role": row.role,
            "generation": row.generation,
        }
        for row in batch.document_entities
    ]
    return _by(rows, "document", "entity", "role")


def _relations(batch: GraphBatch, key: Keys) -> Rows:
    rows = [
        {
            "subject": key(row.subject_key),
            "object": key(row.object_key),
            "kind": row.kind,
            "document_id": str(row.document_id),
            "generation": row.generation,
        }
        for row in batch.relations
    ]
    return _by(rows, "subject", "object", "kind", "document_id")


def link_rows(version: IndexVersion, links: Sequence[LinkRow]) -> Rows:
    """Links whose two nodes are found by key; those whose nodes are missing match nothing."""
    key = Keys(version)
    rows = [
        {
            "document": key(row.document_id),
            "target": key(row.target_id),
            "kind": row.kind,
            "generation": row.generation,
        }
        for row in links
    ]
    return _by(rows, "document", "target", "kind")


def settle_rows(version: IndexVersion, documents: Sequence[DocumentRow]) -> Rows:
    """What raw readers see of a settled document."""
    key = Keys(version)
    rows = [
        {
            "key": key(row.document_id),
            "generation": row.generation,
            "properties": {
                "generation": row.generation,
                "title": row.title,
                "fingerprint": row.fingerprint,
                "access": list(row.access),
                "stamp": row.stamp,
                "content_digest": row.content_digest,
                "links": list(row.links),
            },
        }
        for row in documents
    ]
    return _by(rows, "key", "generation")


def generation_rows(version: IndexVersion, generations: Sequence[GenerationKey]) -> Rows:
    """Each generation once, with the key of its Document node."""
    key = Keys(version)
    rows = [
        {"key": key(each.document_id), "document_id": str(each.document_id), "generation": each.generation}
        for each in set(generations)
    ]
    return _by(rows, "key", "generation")


def listed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same generations, or documents, as lists of values, for queries that no row can be given to."""
    return {
        "documents": sorted({row["document_id"] for row in rows}),
        "generations": [[row["document_id"], row["generation"]] for row in rows if "generation" in row],
    }


def document_rows(version: IndexVersion, document_ids: Iterable[UUID]) -> Rows:
    """Each document once, with the key of its node."""
    key = Keys(version)
    return _by([{"key": key(each), "document_id": str(each)} for each in set(document_ids)], "key")
