"""What the schedule does every hour: end erasures that are due, verify, put right what is safe, fail on the rest."""

from __future__ import annotations

from typing import Any

from concordance.consistency.erase import finish_due
from concordance.consistency.repair import repair
from concordance.consistency.verify import Scope
from concordance.errors import Corrupt
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.publish import settle, sweep
from concordance.settings import Settings


def reconcile(*, adapters: Adapters, settings: Settings) -> dict[str, Any]:
    """Settle, sweep and erase what is due, verify, repair in place; counts and ids for the orchestrator.

    Documents that can only be loaded anew are marked for the next ingest of their source: an hourly task does not
    encode for hours. Raises `Corrupt` when drift is left, naming what, where and what to do.
    """
    with adapters.ledger.snapshot() as snapshot:
        versions = list(snapshot.kept())
    if not versions:
        return {"sound": True, "versions": []}  # nothing was ever published
    erased = finish_due(adapters=adapters, settings=settings)
    for version in versions:
        settle(version, adapters=adapters, settings=settings)
        sweep(version, adapters=adapters, settings=settings)
    scope = Scope(stale_after_seconds=settings.stale_after_seconds)
    report = repair(adapters=adapters, settings=settings, scope=scope, reloads=False)
    if not report.is_sound or report.waiting:
        left = [
            f"{finding.invariant} {finding.kind} in {finding.store}: {finding.count} {finding.what}"
            for finding in report.after.findings
        ]
        left += [f"{count} documents of {source} wait for its next ingest" for source, count in report.waiting.items()]
        raise Corrupt(
            f"The index is not sound, and it could not all be put right: {'; '.join(left[:20])}. Run an ingest "
            "of the sources that are named, or `python -m concordance verify --repair`"
        )
    return {**report.as_json(), "erased": [str(erasure.erasure_id) for erasure in erased]}
