"""Publish and rollback: the swap of the live version, and what follows it in the stores.

The ledger's one transaction decides; alias, pointer and the raw view follow, and are repaired to it by whoever comes
next. A version that runs keep overtaking is caught up while publishing is held, for a moment only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import tenacity

from concordance import fault_points
from concordance.errors import Conflict, Transient
from concordance.ledger.swapping import Swapped
from concordance.model import IndexVersion
from concordance.operations import telemetry
from concordance.pipeline import index
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.lease import build_lease
from concordance.pipeline.publish import hide
from concordance.reindex.catch_up import catch_up
from concordance.reindex.references import BuildReference
from concordance.settings import Settings

_LOOKS_EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class SwapReport:
    """What was live and what is. `hidden` documents are gone, erased or of other access labels by now, `stale` ones are
    older than what was live before: the next ingest brings both up to date. `held_seconds`: how long no run could
    publish; `seconds`: from the decision until alias and pointer followed."""

    version: int
    before: int | None
    hidden: int
    stale: int
    held_seconds: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "before": self.before,
            "hidden": self.hidden,
            "stale": self.stale,
            "held_seconds": round(self.held_seconds, 3),
            "seconds": round(self.seconds, 3),
        }


def publish(build: BuildReference, *, adapters: Adapters, settings: Settings) -> SwapReport:
    """Make the version that was built the live one, caught up to the last document; a repeated call changes nothing.

    Raises `Transient` when runs keep overtaking it, also while publishing is held: then nothing has changed; `Leased`
    when another build is at work by now, `Conflict` when the version was published before and is retired.
    """
    adapters.ledger.building.renew(build.build_id)
    version = adapters.ledger.versions.get(build.version)
    with build_lease(build.build_id, adapters=adapters, settings=settings).kept():
        _await_runs(adapters, settings)
    for _ in range(settings.swap_attempts):
        began = time.monotonic()
        swapped = _swap(version, adapters, settings)
        if not swapped.is_behind:
            return _follow(swapped, began, 0.0, adapters, settings)
        catch_up(build, adapters=adapters, settings=settings)
    return _publish_held(build, version, adapters, settings)


def _await_runs(adapters: Adapters, settings: Settings) -> None:
    """A run that was planned before a swap has to be started again after it: those under way may end first."""
    tenacity.Retrying(
        retry=tenacity.retry_if_result(bool),
        wait=tenacity.wait_fixed(_LOOKS_EVERY_SECONDS),
        stop=tenacity.stop_after_delay(settings.swap_patience_seconds),
        retry_error_callback=lambda _: None,
    )(adapters.ledger.runs.under_way)


def _publish_held(build: BuildReference, version: IndexVersion, adapters: Adapters, settings: Settings) -> SwapReport:
    began = time.monotonic()
    try:
        with fault_points.around("publishing.hold"):
            adapters.ledger.swapping.hold(build.build_id, seconds=settings.swap_hold_seconds)
        catch_up(build, adapters=adapters, settings=settings)
        swapped = _swap(version, adapters, settings)
    finally:
        with fault_points.around("publishing.go"):
            adapters.ledger.swapping.let_go(build.build_id)
    held = time.monotonic() - began
    telemetry.timing("publish.held", held)
    if swapped.is_behind:
        assert swapped.lag is not None
        raise Transient(
            f"Index version {build.version} is {swapped.lag.documents} documents behind after publishing was held for "
            f"{settings.swap_hold_seconds:g} s: nothing was swapped. Try again when fewer runs are under way"
        )
    return _follow(swapped, began, min(held, settings.swap_hold_seconds), adapters, settings)


def rollback(version: IndexVersion, *, adapters: Adapters, settings: Settings) -> SwapReport:
    """Make a retired version the live one again; a repeated call changes nothing.

    Raises `Conflict` when it is in another state.
    """
    if version.state not in ("retired", "live"):
        raise Conflict(
            f"Index version {version.version} is {version.state}: only a retired one can be taken back to. "
            "`python -m concordance index list` shows them"
        )
    began = time.monotonic()
    return _follow(_swap(version, adapters, settings, goes_back=True), began, 0.0, adapters, settings)


def _swap(version: IndexVersion, adapters: Adapters, settings: Settings, *, goes_back: bool = False) -> Swapped:
    with fault_points.around("version.swap"):
        swapped = adapters.ledger.swapping.swap(version, tolerated=settings.max_lost_documents, goes_back=goes_back)
    if swapped.before is not None:
        # Not of a repeated call, which finds the version live.
        telemetry.count("index.swapped")
    return swapped


def _follow(swapped: Swapped, began: float, held_seconds: float, adapters: Adapters, settings: Settings) -> SwapReport:
    live = swapped.live
    index.follow(live, adapters)
    report = SwapReport(
        version=live.version,
        before=None if swapped.before is None else swapped.before.version,
        hidden=swapped.hidden,
        stale=swapped.stale,
        held_seconds=held_seconds,
        seconds=time.monotonic() - began,
    )
    hide(live, adapters.ledger.settling.to_hide(live), adapters=adapters, settings=settings)
    telemetry.gauge("index.version", live.version)
    telemetry.timing("index.swap", report.seconds)
    return report
