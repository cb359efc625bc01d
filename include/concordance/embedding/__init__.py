"""Texts to vectors: backends behind one port."""

from concordance.embedding.port import Embedder

__all__ = ["Embedder"]
