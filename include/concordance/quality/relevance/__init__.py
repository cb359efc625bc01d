"""The relevance gate's content: which queries are asked, how answers are measured, and what is a loss. Pure.

What carries it out over the stores is `concordance.reindex.relevance`.
"""

from concordance.quality.relevance.golden import golden_queries
from concordance.quality.relevance.hnsw import HnswRecall, recall_by_score
from concordance.quality.relevance.known_items import CurrentDocument, KnownItems, sample
from concordance.quality.relevance.leaks import NO_TENANT, Leak, Leaks, leaks_of
from concordance.quality.relevance.metrics import DEPTH, best_documents
from concordance.quality.relevance.queries import Answer, Pair, Query
from concordance.quality.relevance.vectors import VectorAgreement
from concordance.quality.relevance.verdict import Evidence, RelevanceReport, judge

__all__ = [
    "DEPTH",
    "NO_TENANT",
    "Answer",
    "CurrentDocument",
    "Evidence",
    "HnswRecall",
    "KnownItems",
    "Leak",
    "Leaks",
    "Pair",
    "Query",
    "RelevanceReport",
    "VectorAgreement",
    "best_documents",
    "golden_queries",
    "judge",
    "leaks_of",
    "recall_by_score",
    "sample",
]
