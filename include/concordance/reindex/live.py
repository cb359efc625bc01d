"""The live version before a night builds beside it: is it a measure for the next one?"""

from __future__ import annotations

from typing import Any

from concordance.consistency.verify import Scope, verify_version
from concordance.errors import Corrupt
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings


def require_sound(*, adapters: Adapters, settings: Settings) -> dict[str, Any]:
    """Compare the live version in all three stores; its number (None before the first ingest) and rows by store.

    Raises `Corrupt` when they do not agree, saying what and what to do.
    """
    live = adapters.ledger.versions.live()
    if live is None:
        return {"version": None, "rows": {}}
    checked = verify_version(
        live,
        ledger=adapters.ledger,
        graph=adapters.graph,
        vectors=adapters.vectors,
        scope=Scope(stale_after_seconds=settings.stale_after_seconds),
    )
    if checked.findings:
        found = "; ".join(
            f"{each.invariant} {each.kind} in {each.store}: {each.count}" for each in checked.findings[:20]
        )
        raise Corrupt(
            f"Index version {live.version} is not sound ({found}): nothing is built from it. Run "
            "`python -m concordance verify --repair`, or wait for the hourly reconcile, then clear this task"
        )
    return {"version": live.version, "rows": checked.rows}
