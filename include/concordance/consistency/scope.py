"""How much of the stores a `verify` reads."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

STALE_AFTER_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is read. `sampled`: so many ranges of chunk ids and documents, chosen by `rng`, instead of all;
    `read_vectors`: every number of every vector, in all ranges that are read."""

    sampled: int | None = None
    read_vectors: bool = False
    stale_after_seconds: float = STALE_AFTER_SECONDS
    rng: random.Random = field(default_factory=random.SystemRandom)
