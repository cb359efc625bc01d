"""A next index version, made, swapped and dropped by the product's own steps, but for the gates."""

from __future__ import annotations

from typing import Any

from concordance.pipeline.adapters import Adapters
from concordance.pipeline.embed import embed
from concordance.pipeline.load import load
from concordance.pipeline.publish import publish
from concordance.pipeline.references import PlanReference
from concordance.pipeline.report import report
from concordance.reindex.build import begin, plan_round
from concordance.reindex.references import BuildReference, BuildRequest
from concordance.reindex.remake import remake
from concordance.reindex.swap import SwapReport
from concordance.reindex.swap import publish as publish_version


def made_ungated(build_id: str, *, adapters: Adapters, **overrides: float) -> BuildReference:
    """A version that is ready to go live; the builder's place is taken until `swapped` gives it back."""
    tools: Any = {"adapters": adapters, "settings": adapters.settings}
    build = begin(BuildRequest(build_id, mode="rebuild", overrides=overrides), **tools)
    assert build is not None
    for _ in range(adapters.settings.max_build_rounds):
        if not (plans := plan_round(build, **tools)):
            break
        for plan in plans:
            _carry_out(plan, tools)
    else:
        raise AssertionError("the live version keeps moving on")
    adapters.ledger.versions.ready(adapters.ledger.versions.get(build.version))
    return build


def _carry_out(plan: PlanReference, tools: Any) -> None:
    shards = [load(plan, embed(plan, remake(plan, shard, **tools), **tools), **tools) for shard in range(plan.shards)]
    publish(plan, **tools)
    report(plan, shards, adapters=tools["adapters"])


def swapped(build: BuildReference, *, adapters: Adapters) -> SwapReport:
    """Publish what was made; the build has ended."""
    report = publish_version(build, adapters=adapters, settings=adapters.settings)
    adapters.ledger.building.finish(build.build_id, state="published", said={})
    return report
