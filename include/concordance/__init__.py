"""Concordance: documents into a knowledge graph and a vector index that always agree."""

__version__ = "0.1.0"
