"""Rounds of a build until nothing differs any more: the first makes everything, the later ones what moved meanwhile."""

from __future__ import annotations

from collections import Counter

from concordance.errors import Conflict, Corrupt, Transient
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import PlanReference
from concordance.pipeline.report import report
from concordance.pipeline.run import Tools, walk
from concordance.reindex.build import plan_round
from concordance.reindex.references import BuildReference
from concordance.reindex.remake import remake
from concordance.settings import Settings


def catch_up(build: BuildReference, *, adapters: Adapters, settings: Settings) -> dict[str, int]:
    """Make the next version the same as the live one, as far as it can be made; counts of what that took.

    A repeated call goes on with what is left. Raises `Transient` when the live version keeps moving on for
    `max_build_rounds`, what the stages raise, and `GateFailed` when a gate stops a plan. Where an erase took documents
    or artefacts of a plan away, the next round plans what is left.
    """
    done: Counter[str] = Counter()
    for _ in range(settings.max_build_rounds):
        plans = plan_round(build, adapters=adapters, settings=settings)
        if not plans:
            return dict(done)
        done["rounds"] += 1
        for plan in plans:
            try:
                done.update(carry_out(plan, adapters=adapters, settings=settings))
            except (Conflict, Corrupt):
                if adapters.ledger.building.is_closed(plan.plan_id):
                    raise
                done["planned again"] += 1
    raise Transient(
        f"Index version {build.version} did not catch up with the live one in {settings.max_build_rounds} rounds: "
        "runs keep overtaking it. Try again when fewer are under way, or raise max_build_rounds"
    )


def carry_out(plan: PlanReference, *, adapters: Adapters, settings: Settings) -> dict[str, int]:
    """One plan of a build through all stages; its documents by outcome, and what it cost."""
    tools: Tools = {"adapters": adapters, "settings": settings}
    shards = walk(plan, tools, first=remake)
    counts = report(plan, shards, adapters=adapters).counts
    wanted = ("committed", "deleted", "quarantined", "superseded", "erased", "chunks", "embedded", "reused")
    return {name: counts[name] for name in wanted if counts.get(name)}
