"""The gates between the stages, over the whole run: what a gate rejects goes to quarantine, a failed gate ends the run.

The gates' content is in `quality`; here their frames are read from the artefacts, and what they say is carried out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from concordance import fault_points, ids
from concordance.errors import GateFailed
from concordance.model import IndexVersion, Rejection
from concordance.operations import telemetry
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.plan import rejected_under
from concordance.pipeline.references import GateReport, PlanReference, ShardReference
from concordance.pipeline.version import version_of
from concordance.quality import gates
from concordance.settings import Settings
from concordance.staging import Artefact

if TYPE_CHECKING:
    import pandas as pd


def check_documents(
    plan: PlanReference, shards: Sequence[ShardReference], *, adapters: Adapters, settings: Settings
) -> GateReport:
    """What extract left: identity, text, digests, sizes. Raises `GateFailed`."""
    version = version_of(plan, adapters=adapters, settings=settings)
    documents = _frame([shard.documents for shard in shards], adapters, set())
    result = _ask(plan, adapters, lambda: gates.check_documents(documents, settings=settings))
    return _carry_out(result, plan, documents, version, adapters=adapters, settings=settings)


def check_chunks(
    plan: PlanReference, shards: Sequence[ShardReference], *, adapters: Adapters, settings: Settings
) -> GateReport:
    """Chunks and vectors: window, digests, order, unit norm. Raises `GateFailed`."""
    version = version_of(plan, adapters=adapters, settings=settings)
    rejected = {str(document_id) for document_id in adapters.ledger.plans.rejected(plan.plan_id)}
    chunks = _frame([shard.chunks for shard in shards], adapters, rejected)
    vectors = _frame([shard.vectors for shard in shards if shard.vectors is not None], adapters, set())
    documents = _frame([shard.documents for shard in shards], adapters, rejected)
    distinct = vectors.drop_duplicates("text_digest")
    result = _ask(
        plan,
        adapters,
        lambda: gates.check_chunks(chunks, distinct, version_settings=version.settings, settings=settings),
    )
    return _carry_out(result, plan, documents, version, adapters=adapters, settings=settings)


def check_stores(
    plan: PlanReference, shards: Sequence[ShardReference], *, adapters: Adapters, settings: Settings
) -> GateReport:
    """What both stores gave back, before anything is shown. Raises `GateFailed`."""
    version = version_of(plan, adapters=adapters, settings=settings)
    evidence = _frame([shard.evidence for shard in shards if shard.evidence is not None], adapters, set())
    with adapters.ledger.snapshot() as snapshot:
        verified = {str(key.document_id) for key in snapshot.verified_of(plan.plan_id)}
    missing = len(verified - set(evidence["document_id"]))
    if missing:
        _refuse(plan, f"{missing} loaded documents were not read back from the stores", adapters)
    result = _ask(plan, adapters, lambda: gates.check_stores(evidence, settings=settings))
    return _carry_out(result, plan, evidence, version, adapters=adapters, settings=settings)


def _ask(plan: PlanReference, adapters: Adapters, gate: Callable[[], gates.GateResult]) -> gates.GateResult:
    """A gate that raises has failed: the run is closed, as after a verdict against it."""
    try:
        return gate()
    except GateFailed:
        _close(plan, adapters)
        raise


def _frame(artefacts: Sequence[Artefact], adapters: Adapters, left_out: set[str]) -> pd.DataFrame:
    import pandas as pd

    frames = [tables.from_parquet(adapters.staging.read(artefact)).to_pandas() for artefact in artefacts]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"document_id": []})
    return frame[~frame["document_id"].isin(left_out)].reset_index(drop=True) if left_out else frame


def _carry_out(
    result: gates.GateResult,
    plan: PlanReference,
    documents: Any,
    version: IndexVersion,
    *,
    adapters: Adapters,
    settings: Settings,
) -> GateReport:
    stamps = dict(zip(documents["document_id"], documents["stamp"], strict=True)) if "stamp" in documents else {}
    telemetry.count("gate.passed" if result.passed else "gate.failed", 1, gate=result.gate, source=plan.source)
    for reason, rejected in Counter(result.rejected.values()).items():
        telemetry.count("documents.quarantined", rejected, source=plan.source, reason=reason)
    content = ids.canonical_json(result.as_json()).encode()
    kept = adapters.staging.put(
        "gate", [str(plan.plan_id), ids.bytes_digest(content)], content, rows=result.evaluated, suffix=".json"
    )
    rejections = [
        Rejection(
            document_id,
            result.gate,
            reason,
            f"rejected by the gate {result.gate}: {', '.join(result.failed_by[document_id])}",
            stamps.get(str(document_id), ""),
            kept.path,
        )
        for document_id, reason in sorted(result.rejected.items())
    ]
    with fault_points.around("plan.quarantine"):
        adapters.ledger.verdicts.record(
            plan.plan_id,
            result.gate,
            kept.as_json(),
            rejections=rejections,
            rejected_under=rejected_under(version, settings),
        )
    if not result.passed:
        _refuse(plan, f"{result.message} (report: {kept.path} in the staging area)", adapters)
    _require_enough(plan, adapters, settings)
    return GateReport(result.gate, result.evaluated, len(result.rejected), result.message, kept)


def _require_enough(plan: PlanReference, adapters: Adapters, settings: Settings) -> None:
    """What the stages and gates so far rejected together must stay within what is allowed for one run."""
    read = plan.counts["added"] + plan.counts["changed"]
    rejected = adapters.ledger.plans.outcomes(plan.plan_id).get("quarantined", 0)
    most = gates.most_quarantined(read, settings=settings)
    if rejected > most:
        _refuse(plan, f"{rejected} of its {read} documents were rejected, more than the allowed {most}", adapters)


def _close(plan: PlanReference, adapters: Adapters) -> None:
    with fault_points.around("plan.close"):
        adapters.ledger.plans.close(plan.plan_id)


def _refuse(plan: PlanReference, message: str, adapters: Adapters) -> None:
    _close(plan, adapters)
    raise GateFailed(f"Run {plan.run_id!r} stops, and nothing of it is visible: {message}")
