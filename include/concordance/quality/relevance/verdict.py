"""The relevance gate's verdict: whether the next index version answers as well as the live one.

**What is judged.** The mean over all queries of next minus live, for recall, MRR and nDCG at 10 of the hybrid ranking
that readers get, and for recall at 10 of its dense and its sparse list alone, because one sound list hides a broken
one. Queries that the live version cannot answer count too: without them the mean would be taken where live happened to
be lucky, and a version as good would look worse.

**What is a loss.** The test is one of non-inferiority (G. Piaggio et al., "Reporting of noninferiority and equivalence
randomized trials", JAMA 2012): a metric passes if the lower bound of the mean difference is not below minus its
tolerance. The next version has to show that it is not worse; that a loss is not significant shows nothing where there
are few queries. The mean is never below its lower bound, so a mean loss beyond the tolerance fails as well. The upper
bound is told and decides nothing.

**Little to judge by.** Below `relevance_min_queries` queries that the live version answers, the bounds say little: the
gate may pass, with a warning in its message and `judges_little` set, for the smallest deployments would never swap
otherwise. If live holds documents and answers nothing at all, the gate fails: it has seen nothing. A leaked point fails
it whatever the tolerances; so do vectors that are not indexed, that HNSW does not find, or that are not its model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from concordance.quality.relevance.bootstrap import Interval, mean_interval
from concordance.quality.relevance.hnsw import HnswRecall
from concordance.quality.relevance.leaks import Leaks
from concordance.quality.relevance.metrics import METRICS, Measures, measure
from concordance.quality.relevance.queries import Pair
from concordance.quality.relevance.vectors import VectorAgreement
from concordance.settings import Settings

# The settings that decide a verdict, kept with it.
_DECIDING = (
    "dense_weight",
    "search_min_candidates",
    "relevance_queries",
    "relevance_sample_documents",
    "relevance_min_queries",
    "relevance_resamples",
    "relevance_confidence",
    "relevance_recall_tolerance",
    "relevance_mrr_tolerance",
    "relevance_ndcg_tolerance",
    "relevance_list_tolerance",
    "relevance_hnsw_queries",
    "relevance_min_hnsw_recall",
    "relevance_unindexed_points",
    "relevance_vector_chunks",
    "relevance_vector_epsilon",
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one ranking, meant over all queries: before is the live version's, after the next one's."""

    ranking: str
    metric: str
    before: float
    after: float
    difference: Interval
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.difference.low >= -self.tolerance

    def as_json(self) -> dict[str, Any]:
        return {
            "ranking": self.ranking,
            "metric": f"{self.metric}@10",
            "live": round(self.before, 6),
            "next": round(self.after, 6),
            "difference": round(self.difference.mean, 6),
            "low": round(self.difference.low, 6),
            "high": round(self.difference.high, 6),
            "tolerance": self.tolerance,
            "passed": self.passed,
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the gate saw: of the live version how many documents it holds, of both what they answered, of the next one
    the rest. `seconds` are by step; `warnings` what its reader has to say."""

    live_version: int
    next_version: int
    live_documents: int
    pairs: tuple[Pair, ...]
    leaks: Leaks
    hnsw: HnswRecall
    agreement: VectorAgreement
    warnings: tuple[str, ...]
    started_at: str
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class RelevanceReport:
    """The verdict with its evidence. `answerable` are the queries whose document the live version finds."""

    evidence: Evidence
    seed: int
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    answerable: int
    judges_little: bool
    comparisons: tuple[Comparison, ...]
    settings: dict[str, float]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def message(self) -> str:
        """For people: what was decided, by which figures, and what makes it doubtful."""
        seen = self.evidence
        names = f"index version {seen.next_version}", f"the live version {seen.live_version}"
        hybrid = [each for each in self.comparisons if each.ranking == "hybrid"]
        figures = ", ".join(f"{each.metric}@10 {each.before:.3f} -> {each.after:.3f}" for each in hybrid)
        if self.passed:
            said = f"The relevance gate passed: {names[0]} answers {len(seen.pairs):,} queries as well as {names[1]}"
        else:
            said = f"The relevance gate failed, version {seen.live_version} stays live: {'; '.join(self.failures)}"
        return ". ".join((f"{said} ({figures})" if figures else said, *self.warnings))

    def as_json(self) -> dict[str, Any]:
        """As it is kept: identities of queries, ids, ranks and figures, no text. Queries whose answer got worse come
        first, then those that got better. `documents` are all that it names, so that an erase finds it."""
        seen = self.evidence
        named = {
            str(document_id)
            for pair in seen.pairs
            for document_id in (*pair.before.hybrid, *pair.after.hybrid, *pair.query.relevant)
        }
        named.update(leak.document_id for leak in seen.leaks.named)
        return {
            "gate": "relevance",
            "passed": self.passed,
            "message": self.message,
            "warnings": list(self.warnings),
            "live_version": seen.live_version,
            "next_version": seen.next_version,
            "seed": self.seed,
            "started_at": seen.started_at,
            "queries_asked": len(seen.pairs),
            "queries_that_live_answers": self.answerable,
            "judges_little": self.judges_little,
            "failures": list(self.failures),
            "comparisons": [each.as_json() for each in self.comparisons],
            "hnsw": seen.hnsw.as_json(),
            "vectors": seen.agreement.as_json(),
            "leaks": seen.leaks.as_json(),
            "leaked": [leak.as_json() for leak in seen.leaks.named],
            "queries": [_as_json(pair, before, after) for pair, before, after in _by_difference(seen.pairs)],
            "settings": self.settings,
            "seconds": {name: round(taken, 3) for name, taken in seen.seconds.items()},
            "documents": sorted(named),
        }


def judge(evidence: Evidence, *, settings: Settings, seed: int) -> RelevanceReport:
    """The verdict; `seed` is what the queries were drawn with, and draws the resamples."""
    comparisons = tuple(_comparisons(evidence.pairs, settings, seed)) if evidence.pairs else ()
    answerable = sum(measure(pair.before.hybrid, pair.query.relevant).rank is not None for pair in evidence.pairs)
    judges_little = answerable < settings.relevance_min_queries
    little = (
        f"it judges little: the live version answers {answerable} queries, fewer than relevance_min_queries = "
        f"{settings.relevance_min_queries}"
    )
    return RelevanceReport(
        evidence=evidence,
        seed=seed,
        failures=tuple(_failures(evidence, comparisons, answerable=answerable, settings=settings)),
        warnings=(*([little] if judges_little else []), *evidence.hnsw.warnings(), *evidence.warnings),
        answerable=answerable,
        judges_little=judges_little,
        comparisons=comparisons,
        settings={name: getattr(settings, name) for name in _DECIDING},
    )


def _failures(
    evidence: Evidence, comparisons: Sequence[Comparison], *, answerable: int, settings: Settings
) -> Iterator[str]:
    for comparison in comparisons:
        if not comparison.passed:
            yield _loss(comparison)
    if evidence.live_documents and not answerable:
        yield (
            f"the live version answers none of {len(evidence.pairs)} queries, so that there is nothing to compare "
            "with: look whether its model and its stores are sound (`verify`), or give golden queries"
        )
    leaks = evidence.leaks
    if leaks.found:
        yield (
            f"{leaks.found:,} of {leaks.checked:,} returned points belong to another tenant, or carry none of the "
            "labels asked for: the version must not be shown. Run `verify --repair`"
        )
    yield from evidence.hnsw.failures(settings)
    yield from evidence.agreement.failures(settings)


def _comparisons(pairs: Sequence[Pair], settings: Settings, seed: int) -> Iterator[Comparison]:
    tolerances = {
        "recall": settings.relevance_recall_tolerance,
        "mrr": settings.relevance_mrr_tolerance,
        "ndcg": settings.relevance_ndcg_tolerance,
    }
    judged = [("hybrid", metric, tolerances[metric]) for metric in METRICS]
    judged += [(ranking, "recall", settings.relevance_list_tolerance) for ranking in ("dense", "sparse")]
    for ranking, metric, tolerance in judged:
        before, after = (
            [getattr(measure(getattr(answer, ranking), pair.query.relevant), metric) for pair, answer in sided]
            for sided in ([(pair, pair.before) for pair in pairs], [(pair, pair.after) for pair in pairs])
        )
        interval = mean_interval(
            [late - early for early, late in zip(before, after, strict=True)],
            confidence=settings.relevance_confidence,
            resamples=settings.relevance_resamples,
            seed=seed,
        )
        yield Comparison(ranking, metric, sum(before) / len(pairs), sum(after) / len(pairs), interval, tolerance)


def _loss(comparison: Comparison) -> str:
    interval = comparison.difference
    return (
        f"{comparison.metric}@10 of the {comparison.ranking} ranking changed by {interval.mean:+.3f}, and may have by "
        f"{interval.low:+.3f}; allowed is {-comparison.tolerance:+.3f}"
    )


def _by_difference(pairs: Sequence[Pair]) -> list[tuple[Pair, Measures, Measures]]:
    measured = [
        (pair, measure(pair.before.hybrid, pair.query.relevant), measure(pair.after.hybrid, pair.query.relevant))
        for pair in pairs
    ]

    def place(one: tuple[Pair, Measures, Measures]) -> tuple[bool, float, str]:
        change = one[2].ndcg - one[1].ndcg
        return change == 0, change, one[0].query.identity

    return sorted(measured, key=place)


def _as_json(pair: Pair, before: Measures, after: Measures) -> dict[str, Any]:
    return {
        "query": pair.query.identity,
        "rank_before": before.rank,
        "rank_after": after.rank,
        "recall_before": round(before.recall, 4),
        "recall_after": round(after.recall, 4),
        "mrr_before": round(before.mrr, 4),
        "mrr_after": round(after.mrr, 4),
        "ndcg_before": round(before.ndcg, 4),
        "ndcg_after": round(after.ndcg, 4),
        "found_before": [str(each) for each in pair.before.hybrid],
        "found_after": [str(each) for each in pair.after.hybrid],
    }
