"""Both ports in memory: the reference that every adapter is measured against.

The simulator runs on these, and the contract suites hold them and the real adapters to the same promises. One lock a
store makes every method one transaction. They are references, not caches: nothing here is bounded or durable.
"""

from __future__ import annotations

from concordance.model import Anchor
from concordance.stores.memory_graph import MemoryGraph
from concordance.stores.memory_vectors import MemoryVectors

__all__ = ["Anchor", "MemoryGraph", "MemoryVectors"]
