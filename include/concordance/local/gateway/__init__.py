"""The Qdrant gateway: the part of Qdrant's REST interface that `qdrant-client` needs, on the real engine in-process.

One process owns a data folder and serves any number of clients on loopback. A write that was answered survives a kill
of the process: the engine's write-ahead log has it, and the catalogue of collections and aliases is replaced as a
whole. What is not served answers 501 and names itself, so that nobody takes silence for support.

    python -m concordance.local.gateway --data DIR --port N        (the key: CONCORDANCE_QDRANT_API_KEY)
"""

from __future__ import annotations
