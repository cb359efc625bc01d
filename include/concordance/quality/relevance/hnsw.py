"""Whether the index of vectors finds what comparing with every vector finds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from concordance.model import IndexState
from concordance.settings import Settings

# Equal vectors may come in any order, and one engine may add up a product in two orders.
_SCORE_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class HnswRecall:
    """`recall` is the mean over the `queries` compared, None without any; `state` tells how many vectors are indexed:
    those that are not are searched exactly, and a comparison over none proves nothing."""

    state: IndexState
    queries: int
    recall: float | None

    @classmethod
    def of(cls, state: IndexState, recalls: Sequence[float]) -> HnswRecall:
        return cls(state, len(recalls), sum(recalls) / len(recalls) if recalls else None)

    @property
    def unindexed(self) -> int:
        return self.state.points - self.state.indexed

    def failures(self, settings: Settings) -> list[str]:
        """What is wrong with the index, in sentences; empty when it may go live."""
        found = []
        if self.unindexed > settings.relevance_unindexed_points:
            found.append(
                f"{self.unindexed:,} of {self.state.points:,} vectors are not indexed, more than the allowed "
                f"{settings.relevance_unindexed_points:,}: searches would compare with each of them"
            )
        if self.recall is not None and self.recall < settings.relevance_min_hnsw_recall:
            found.append(
                f"HNSW finds {self.recall:.3f} of what exact search finds, less than "
                f"{settings.relevance_min_hnsw_recall:g}: look at the collection's HNSW in the vector store "
                "(m, ef_construct), and build the version again"
            )
        return found

    def warnings(self) -> list[str]:
        if self.state.points and not self.state.indexed:
            return [
                f"none of the {self.state.points:,} vectors is indexed, the engine searches so few exactly: HNSW was "
                "not judged"
            ]
        return []

    def as_json(self) -> dict[str, Any]:
        return {
            "points": self.state.points,
            "indexed": self.state.indexed,
            "unindexed": self.unindexed,
            "queries": self.queries,
            "recall": self.recall,
        }


def recall_by_score(approximate: Sequence[float], exact: Sequence[float]) -> float:
    """The share of an exact answer's places that the approximate one fills with hits as good: by score, so that equal
    vectors in another order are no loss. `exact` is not empty; both best first."""
    worst = min(exact) - _SCORE_EPSILON
    return min(1.0, sum(score >= worst for score in approximate) / len(exact))
