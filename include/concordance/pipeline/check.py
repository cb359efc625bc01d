"""The gates between the stages, over the whole run: what a gate rejects goes to quarantine, a failed gate ends the run.

The gates' content is in `quality`, what they look at in `gate_frames`; here what they say is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from concordance import fault_points, ids
from concordance.errors import GateFailed
from concordance.model import IndexVersion, Rejection
from concordance.operations import telemetry
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.counted import count_work
from concordance.pipeline.gate_frames import ArtefactFrames, counts_frame, current_frames, shard_frames
from concordance.pipeline.index import canaries_of
from concordance.pipeline.lease import Lease, run_lease
from concordance.pipeline.plan import rejected_under
from concordance.pipeline.references import GateReport, PlanReference, ShardReference
from concordance.pipeline.rejected import tell_rejected
from concordance.pipeline.version import version_of
from concordance.quality import GateResult, Origin, gates
from concordance.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


def check_documents(
    plan: PlanReference, shards: Sequence[ShardReference], *, adapters: Adapters, settings: Settings
) -> GateReport:
    """What extract left: identity, provenance, text, language, duplicates, entities. Raises `GateFailed`."""
    version = version_of(plan, adapters=adapters, settings=settings)
    with _lease(plan, adapters, settings).kept():
        result = documents_verdict(plan, shards, adapters=adapters, settings=settings)
    return _carry_out(result, plan, shards, version, adapters=adapters, settings=settings)


def documents_verdict(
    plan: PlanReference, shards: Sequence[ShardReference], *, adapters: Adapters, settings: Settings
) -> GateResult:
    """What the first gate says, without its consequences."""
    declaration = adapters.declarations[plan.source]
    documents = ArtefactFrames(
        [shard.documents for shard in shards],
        adapters,
        settings,
        columns=gates.DOCUMENT_COLUMNS,
        left_out=_passed_before(plan, shards, adapters),
    )
    return _judged(
        "documents",
        lambda: gates.check_documents(
            documents,
            origin=Origin(declaration.tenant, plan.source, declaration.access, declaration.languages),
            settings=settings,
            discovered=plan.counts["discovered"],
            earlier=adapters.ledger.verdicts.earlier_figures(plan.run_id, limit=settings.max_jump_runs),
        ),
    )


def check_chunks(
    plan: PlanReference, shards: Sequence[ShardReference], *, adapters: Adapters, settings: Settings
) -> GateReport:
    """Chunks and vectors: window, headers, coverage, unit norm, the model's canaries. Raises `GateFailed`."""
    version = version_of(plan, adapters=adapters, settings=settings)
    rejected = frozenset(str(document_id) for document_id in adapters.ledger.plans.rejected(plan.plan_id))
    with _lease(plan, adapters, settings).kept():
        taken_over = _passed_before(plan, shards, adapters)
        result = _judged(
            "chunks",
            lambda: gates.check_chunks(
                shard_frames(shards, rejected, taken_over, adapters=adapters, settings=settings),
                canaries=canaries_of(version, adapters),
                version_settings=version.settings,
                settings=settings,
                earlier=adapters.ledger.verdicts.earlier_figures(plan.run_id, limit=settings.max_jump_runs),
            ),
        )
    return _carry_out(result, plan, shards, version, adapters=adapters, settings=settings)


def check_stores(
    plan: PlanReference, shards: Sequence[ShardReference], *, adapters: Adapters, settings: Settings
) -> GateReport:
    """What both stores gave back, what they hold of the source, and what is current of the run's documents, before
    anything is shown. Raises `GateFailed`."""
    version = version_of(plan, adapters=adapters, settings=settings)
    loaded = ArtefactFrames([shard.evidence for shard in shards if shard.evidence is not None], adapters, settings)
    with adapters.ledger.snapshot() as snapshot:
        verified = {str(key.document_id) for key in snapshot.verified_of(plan.plan_id)}
    missing = len(verified.difference(*(frame["document_id"] for frame in loaded)))
    if missing:
        message = f"{missing} loaded documents were not read back from the stores"
        result = GateResult("stores", passed=False, message=message)
        return _carry_out(result, plan, shards, version, adapters=adapters, settings=settings)
    with _lease(plan, adapters, settings).kept():
        result = _judged(
            "stores",
            lambda: gates.check_stores(
                loaded,
                settings=settings,
                current=current_frames(plan, version, adapters=adapters),
                counts=counts_frame(plan.source, version, adapters=adapters),
            ),
        )
    return _carry_out(result, plan, shards, version, adapters=adapters, settings=settings)


def _passed_before(plan: PlanReference, shards: Sequence[ShardReference], adapters: Adapters) -> frozenset[str]:
    """Documents that a build copied from the live version: they passed these gates there. Their vectors are judged."""
    if not plan.is_build:
        return frozenset()
    wanted = [("is_copied", "=", True)]
    copied = (
        tables.from_parquet(adapters.staging.read(shard.documents), filters=wanted, columns=["document_id"])
        for shard in shards
    )
    return frozenset(document_id for table in copied for document_id in table.column(0).to_pylist())


def _lease(plan: PlanReference, adapters: Adapters, settings: Settings) -> Lease:
    return run_lease(plan.run_id, plan.source, adapters=adapters, settings=settings)


def _judged(name: str, gate: Callable[[], GateResult]) -> GateResult:
    """A gate that raises has failed: that is its verdict, and is kept like any other."""
    try:
        return gate()
    except GateFailed as error:
        return GateResult(name, passed=False, message=str(error))


def _carry_out(
    result: GateResult,
    plan: PlanReference,
    shards: Sequence[ShardReference],
    version: IndexVersion,
    *,
    adapters: Adapters,
    settings: Settings,
) -> GateReport:
    telemetry.count("gate.passed" if result.passed else "gate.failed", 1, gate=result.gate, source=plan.source)
    content = ids.canonical_json(result.as_json(max_documents=settings.gate_report_documents)).encode()
    kept = adapters.staging.put(
        "gate", [str(plan.plan_id), ids.bytes_digest(content)], content, rows=result.evaluated, suffix=".json"
    )
    stamps = _stamps(result, ArtefactFrames([shard.documents for shard in shards], adapters, settings, _STAMPED))
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
            figures=result.figures,
            warnings=result.warnings,
            rejections=rejections,
            rejected_under=rejected_under(version, settings, adapters.declarations[plan.source]),
        )
    tell_rejected(rejections, source=plan.source)
    count_work(plan, (), adapters=adapters)
    if not result.passed:
        _refuse(plan, f"{result.message} (report: {kept.path} in the staging area)", adapters)
    _require_enough(plan, adapters, settings)
    return GateReport(result.gate, result.evaluated, len(result.rejected), result.message, kept)


_STAMPED = ("document_id", "stamp")


def _stamps(result: GateResult, documents: Iterable[pd.DataFrame]) -> dict[str, str]:
    """The stamps of what was rejected, by document id."""
    wanted = {str(document_id) for document_id in result.rejected}
    if not wanted:
        return {}
    return {
        document_id: stamp
        for frame in documents
        for document_id, stamp in zip(frame["document_id"], frame["stamp"], strict=True)
        if document_id in wanted
    }


def _require_enough(plan: PlanReference, adapters: Adapters, settings: Settings) -> None:
    rejected = adapters.ledger.plans.outcomes(plan.plan_id).get("quarantined", 0)
    if message := too_many(plan, rejected, settings):
        _refuse(plan, message, adapters)


def too_many(plan: PlanReference, rejected: int, settings: Settings) -> str:
    """What the stages and gates rejected together must stay within what is allowed for one run: empty if it does."""
    read = plan.counts["added"] + plan.counts["changed"]
    most = gates.most_quarantined(read, settings=settings)
    return f"{rejected} of its {read} documents were rejected, more than the allowed {most}" if rejected > most else ""


def _refuse(plan: PlanReference, message: str, adapters: Adapters) -> None:
    with fault_points.around("plan.close"):
        adapters.ledger.plans.close(plan.plan_id)
    raise GateFailed(f"Run {plan.run_id!r} stops, and nothing of it is visible: {message}")
