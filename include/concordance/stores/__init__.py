"""The two stores: a graph and a vector index, each behind one port, each adapter in a module of its own.

`open_graph` and `open_vectors` open the stores that the settings name, without a first call to them. The drivers are
imported here inside the functions: they cost 1.6 s, and this package is imported where DAGs are parsed.
"""

from __future__ import annotations

from concordance.settings import Settings
from concordance.stores.ports import GraphStore, VectorStore

__all__ = ["GraphStore", "VectorStore", "open_graph", "open_vectors"]


def open_graph(settings: Settings) -> GraphStore:
    """The graph at `effective_neo4j_url`. Raises `Misconfigured` for an address that no driver can use."""
    from concordance.stores.neo4j_store import Neo4jGraph

    return Neo4jGraph(settings)


def open_vectors(settings: Settings) -> VectorStore:
    """The vector index at `effective_qdrant_url`. Raises `Misconfigured` for an address that no client can use."""
    from concordance.stores.qdrant_store import QdrantVectors

    return QdrantVectors(settings)
