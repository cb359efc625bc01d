"""How good an answer is: recall, reciprocal rank and nDCG within the first ten documents. Pure.

Gains are 0 or 1; nDCG discounts by log2(1 + rank) and divides by the best possible sum (K. Järvelin, J. Kekäläinen,
"Cumulated gain-based evaluation of IR techniques", TOIS 2002).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

DEPTH = 10
METRICS = ("recall", "mrr", "ndcg")


@dataclass(frozen=True, slots=True)
class Measures:
    """Each in 0..1. `rank` is the first relevant document's place, from 1; None when none is within the depth."""

    rank: int | None
    recall: float
    mrr: float
    ndcg: float


def best_documents(document_ids: Iterable[UUID]) -> tuple[UUID, ...]:
    """The first `DEPTH` documents of a ranking of chunks, each once, at the place of its best chunk."""
    return tuple(islice(dict.fromkeys(document_ids), DEPTH))


def measure(found: Sequence[UUID], relevant: Collection[UUID]) -> Measures:
    """`found`: distinct documents, best first; what stands beyond `DEPTH` does not count. `relevant` is not empty."""
    ranks = [rank for rank, document_id in enumerate(found[:DEPTH], start=1) if document_id in relevant]
    if not ranks:
        return Measures(None, 0.0, 0.0, 0.0)
    best = sum(_gain(rank) for rank in range(1, min(len(relevant), DEPTH) + 1))
    return Measures(
        rank=ranks[0],
        recall=len(ranks) / len(relevant),
        mrr=1 / ranks[0],
        ndcg=sum(map(_gain, ranks)) / best,
    )


def _gain(rank: int) -> float:
    return 1 / math.log2(1 + rank)
