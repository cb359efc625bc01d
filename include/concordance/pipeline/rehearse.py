"""Rehearse: extract and cut everything that a dry run's plan names, so that what it says is exact and not estimated.

The first gate is asked too: what it would reject is neither embedded nor committed. Only artefacts are written: no
store, and nothing of the ledger but the kept plan itself. A run that does exactly this plan takes them up.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID

from concordance import fault_points, ids
from concordance.errors import Conflict
from concordance.model import IndexVersion
from concordance.pipeline import index, tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.barred import take_back_erased
from concordance.pipeline.check import documents_verdict, too_many
from concordance.pipeline.extract import Extracted, extract_shard
from concordance.pipeline.forecast import exactly
from concordance.pipeline.references import PlanReference, Rehearsed, ShardReference
from concordance.settings import Settings
from concordance.slices import slices

_LOOKUP_TEXTS = 1000


def rehearse(plan: PlanReference, *, adapters: Adapters, settings: Settings) -> PlanReference:
    """The plan with exact numbers of chunks, of texts to embed and to reuse, and of documents that cannot pass.

    A repeated call returns the plan as it is. Raises `Conflict` when another index version is live by now,
    `Unavailable` when the source or the staging area does not answer.
    """
    if plan.rehearsed:
        return plan
    version = _version(plan, adapters)
    kept: list[Rehearsed] = []
    for shard in range(plan.shards):
        extracted = extract_shard(plan, shard, version, adapters=adapters, settings=settings, renew=lambda: None)
        kept.append(_keep(plan, shard, extracted, adapters))
    shards = [ShardReference(number, shard.documents, shard.chunks) for number, shard in enumerate(kept)]
    verdict = documents_verdict(plan, shards, adapters=adapters, settings=settings)
    found = Counter(quarantined=len(verdict.rejected))
    for one in kept:
        texts = _texts(one, {str(document_id) for document_id in verdict.rejected}, adapters)
        known = _known(texts, version, adapters)
        found.update(chunks=one.chunks.rows, reuse=known, embed=len(texts) - known, quarantined=one.rejections.rows)
    stops = too_many(plan, found["quarantined"], settings) if verdict.passed else verdict.message
    exact = exactly(plan.estimates["bytes"], found, adapters.ledger.runs.measured(plan.source))
    rehearsed = replace(
        plan,
        counts={**plan.counts, "quarantined": found["quarantined"]},
        estimates=exact.as_json(),
        estimated_from=exact.basis,
        rehearsed=tuple(kept),
        notices=(*plan.notices, *([f"The run would stop: {stops}"] if stops else ())),
    )
    with fault_points.around("plan.close"):
        adapters.ledger.plans.close(plan.plan_id, reference=rehearsed.as_json())
    return rehearsed


def _version(plan: PlanReference, adapters: Adapters) -> IndexVersion:
    live = adapters.ledger.versions.live()
    if live is None or live.version != plan.index_version:
        raise Conflict(f"Index version {plan.index_version} is no longer live: make the plan again")
    index.require_model(adapters, live)
    return live


def _keep(plan: PlanReference, shard: int, extracted: Extracted, adapters: Adapters) -> Rehearsed:
    staging = adapters.staging
    documents = tables.to_parquet(extracted.documents, tables.DOCUMENTS)
    chunks = tables.to_parquet(extracted.chunks, tables.CHUNKS)
    rejections = tables.to_parquet(tables.rejection_rows(extracted.rejections), tables.REJECTIONS)

    def own(content: bytes) -> list[str | int]:
        # What another attempt staged may be of another reading, and all three go together.
        return [str(plan.plan_id), shard, ids.bytes_digest(content)]

    kept = Rehearsed(
        documents=staging.put("documents", own(documents), documents, rows=len(extracted.documents), suffix=".parquet"),
        chunks=staging.put("chunks", own(chunks), chunks, rows=len(extracted.chunks), suffix=".parquet"),
        rejections=staging.put(
            "rejections", own(rejections), rejections, rows=len(extracted.rejections), suffix=".parquet"
        ),
    )
    named = {UUID(row["document_id"]) for row in extracted.documents} | {
        rejection.document_id for rejection in extracted.rejections
    }
    take_back_erased([kept.documents, kept.chunks, kept.rejections], named, adapters=adapters)
    return kept


def _texts(shard: Rehearsed, rejected: set[str], adapters: Adapters) -> list[str]:
    """Digests of the different texts that would be embedded or reused."""
    rows = tables.from_parquet(adapters.staging.read(shard.chunks), columns=["document_id", "text_digest"]).to_pylist()
    return sorted({row["text_digest"] for row in rows if row["document_id"] not in rejected})


def _known(texts: list[str], version: IndexVersion, adapters: Adapters) -> int:
    """How many of the texts a current chunk embeds already."""
    known = 0
    for page in slices(texts, _LOOKUP_TEXTS):
        with adapters.ledger.snapshot() as snapshot:
            known += len(snapshot.known_texts(version, page))
    return known
