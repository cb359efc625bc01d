"""What is around a chunk in the graph: the entities that it mentions, and the documents that its own one links to."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import neo4j

from concordance.model import EntityRow, Neighbourhood
from concordance.stores import cypher


def neighbourhoods_of(transaction: neo4j.Transaction, keys: Sequence[str]) -> dict[UUID, Neighbourhood]:
    """Of the chunks whose nodes have these keys, by chunk id; what is mentioned most comes first."""
    entities = transaction.run(cypher.CHUNK_ENTITIES, keys=keys).values()
    links = transaction.run(cypher.CHUNK_LINKS, keys=keys).values()
    mentioned: dict[str, list[tuple[int, EntityRow]]] = {}
    for chunk_id, entity_key, tenant, kind, name, count in entities:
        found = mentioned.setdefault(chunk_id, [])
        if entity_key is not None:
            found.append((count, EntityRow(entity_key, tenant, kind, name)))
    linked: dict[str, list[UUID]] = {}
    for chunk_id, target in links:
        linked.setdefault(chunk_id, []).append(UUID(target))
    return {
        UUID(chunk_id): Neighbourhood(
            entities=tuple(row for _, row in sorted(found, key=lambda each: (-each[0], each[1].entity_key))),
            linked_documents=tuple(sorted(linked.get(chunk_id, ()))),
        )
        for chunk_id, found in mentioned.items()
    }
