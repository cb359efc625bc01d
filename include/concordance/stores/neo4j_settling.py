"""Settle, hide, sweep: what changes the generations of documents that the graph holds, each inside one transaction.

Each locks its documents first, in the order of their keys: writers of the same ones take turns, and never wait in a
circle.
"""

from __future__ import annotations

import neo4j

from concordance.model import IndexVersion
from concordance.stores import cypher
from concordance.stores.graph_rows import Rows, listed


def settle(transaction: neo4j.Transaction, version: IndexVersion, rows: Rows) -> None:
    """`rows` are `graph_rows.settle_rows`."""
    _lock_documents(transaction, version, rows)
    transaction.run(cypher.SETTLE_DOCUMENTS, rows=rows).consume()
    transaction.run(cypher.SETTLE_CHUNKS, rows=rows).consume()


def hide(transaction: neo4j.Transaction, version: IndexVersion, rows: Rows) -> None:
    """`rows` are `graph_rows.generation_rows`."""
    _lock_documents(transaction, version, rows)
    transaction.run(cypher.HIDE_CHUNKS, rows=rows).consume()


def _lock_documents(transaction: neo4j.Transaction, version: IndexVersion, rows: Rows) -> list[str]:
    keys = sorted({row["key"] for row in rows})
    transaction.run(cypher.LOCK_DOCUMENTS, keys=keys, version=version.version).consume()
    return keys


def sweep(transaction: neo4j.Transaction, version: IndexVersion, rows: Rows) -> int:
    """Lock, look, delete: in this order nothing that a concurrent batch counts on is taken away. Returns the chunks.

    The documents' locks keep out batches that bring them back; what the generations touch is then fixed. The
    entities' locks keep out batches that mention them; whether one is unused is asked after that.
    """
    number = version.version
    documents = _lock_documents(transaction, version, rows)
    entities = sorted(entities_of(transaction, version, rows))
    transaction.run(cypher.LOCK_ENTITIES, keys=entities, version=number).consume()
    record = transaction.run(cypher.DELETE_CHUNKS, rows=rows, version=number).single(strict=True)
    delete_edges(transaction, version, rows)
    transaction.run(cypher.DELETE_UNUSED_ENTITIES, keys=entities).consume()
    transaction.run(cypher.DELETE_EMPTY_DOCUMENTS, keys=documents).consume()
    return int(record["deleted"])


def entities_of(transaction: neo4j.Transaction, version: IndexVersion, rows: Rows) -> set[str]:
    """The node keys of the entities that these generations touch."""
    queries = (cypher.ENTITIES_OF_CHUNKS, cypher.ENTITIES_OF_DOCUMENTS, cypher.ENTITIES_OF_RELATIONS)
    given = {"rows": rows, "version": version.version, **listed(rows)}
    return {key for query in queries for key in transaction.run(query, given).value()}


def delete_edges(transaction: neo4j.Transaction, version: IndexVersion, rows: Rows) -> None:
    """What hangs on no chunk of these generations: the edges of their documents, and their relations."""
    transaction.run(cypher.DELETE_DOCUMENT_EDGES, rows=rows).consume()
    transaction.run(cypher.DELETE_RELATIONS, listed(rows), version=version.version).consume()
