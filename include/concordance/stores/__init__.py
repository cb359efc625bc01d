"""The two stores: a graph and a vector index, each behind one port, each adapter in a module of its own.

`open_graph` and `open_vectors` open the stores that the settings name, without a first call to them. The drivers are
imported here inside the functions: they cost 1.6 s, and this package is imported where DAGs are parsed.
"""

from __future__ import annotations

from types import ModuleType

from concordance.lean_imports import changed, without
from concordance.settings import Settings
from concordance.stores.ports import GraphStore, VectorStore

__all__ = ["GraphStore", "VectorStore", "open_graph", "open_vectors"]


def open_graph(settings: Settings) -> GraphStore:
    """The graph at `effective_neo4j_url`. Raises `Misconfigured` for an address that no driver can use."""
    # The driver takes their values as parameters; the product gives it none.
    with without("pandas", "pyarrow"):
        from concordance.stores.neo4j_store import Neo4jGraph

    return Neo4jGraph(settings)


def open_vectors(settings: Settings) -> VectorStore:
    """The vector index at `effective_qdrant_url`. Raises `Misconfigured` for an address that no client can use."""
    # The client builds the validators of all its models, several hundred, when it is imported. Each is built by its
    # first use as well.
    with changed("qdrant_client._pydantic_compat", _build_no_model):
        from concordance.stores.qdrant_store import QdrantVectors

    return QdrantVectors(settings)


def _build_no_model(module: ModuleType) -> None:
    module.update_forward_refs = lambda *_, **__: None  # type: ignore[attr-defined]
