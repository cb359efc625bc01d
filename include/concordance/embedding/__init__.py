"""Texts to vectors: backends behind one port."""

from concordance.embedding.backends import model_folder, open_embedder
from concordance.embedding.hashing import HashEmbedder
from concordance.embedding.port import Embedder

__all__ = ["Embedder", "HashEmbedder", "model_folder", "open_embedder"]
