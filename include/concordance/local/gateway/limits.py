"""Every limit of the gateway, with its unit in its name."""

from __future__ import annotations

from typing import Final

# The server's own limit; larger bodies answer 400.
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
# An oversized body is read to here and thrown away, so that the client sees the answer and not a broken connection.
MAX_DRAINED_BYTES: Final = 256 * 1024 * 1024
# Bodies in memory at once; further requests wait for their turn.
MAX_CONCURRENT_REQUESTS: Final = 24
MAX_CONNECTIONS: Final = 512
IDLE_CONNECTION_SECONDS: Final = 300
SHUTDOWN_SECONDS: Final = 10

MAX_COLLECTIONS: Final = 1000
MAX_ALIASES: Final = 1000
MAX_NAME_CHARACTERS: Final = 255
MAX_DIMENSION: Final = 65_536
MAX_RESULTS: Final = 100_000
MAX_BATCHED_QUERIES: Final = 256
# Filters and prefetches are recursive, in this process and in the engine.
MAX_NESTING: Final = 16

# The server's default; the log that a restart replays stays short.
FLUSH_SECONDS: Final = 5.0
# An index is built once writes have paused this long, or have not paused this long at all.
OPTIMISE_AFTER_QUIET_SECONDS: Final = 0.5
OPTIMISE_AFTER_BUSY_SECONDS: Final = 30.0
OPTIMISE_RETRY_SECONDS: Final = 30.0
OPTIMISE_TIMEOUT_SECONDS: Final = 3600.0
# Writes kept in memory while an index is built; beyond this the build is given up and tried again later.
MAX_JOURNAL_BYTES: Final = 512 * 1024 * 1024
