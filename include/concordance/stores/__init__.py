"""The two stores: a graph and a vector index, each behind one port, each adapter in a module of its own."""

from concordance.stores.ports import GraphStore, VectorStore

__all__ = ["GraphStore", "VectorStore"]
