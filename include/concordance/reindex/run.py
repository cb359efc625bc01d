"""A whole build in one process: the steps in their order. Airflow walks the same steps, each as a task."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from concordance import fault_points
from concordance.errors import ConcordanceError, Conflict, GateFailed, Terminal
from concordance.model import IndexVersion
from concordance.operations import correlation
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.lease import build_lease
from concordance.reindex.build import begin
from concordance.reindex.catch_up import catch_up
from concordance.reindex.drop import begin_drop, begin_drop_of_old, drop_due
from concordance.reindex.parity import check_parity
from concordance.reindex.references import BuildReference, BuildReport, BuildRequest
from concordance.reindex.relevance import check_relevance
from concordance.reindex.swap import publish, rollback
from concordance.settings import Settings


def build(request: BuildRequest, *, adapters: Adapters, settings: Settings) -> BuildReport:
    """Build, check and, if it is asked for, publish; a repeated call with the same id goes on where it stopped.

    Raises what the steps raise: after a `Transient` error the same call may succeed. A gate that fails raises
    `GateFailed`: the live version is as it was, and the report says what was found.
    """
    with (
        correlation.bound(correlation_id=request.correlation_id, run=request.build_id),
        ending(request.build_id, adapters=adapters),
    ):
        begun = begin(request, adapters=adapters, settings=settings)
        if begun is None:
            return finish(request.build_id, "nothing", adapters=adapters)
        make(begun, adapters=adapters, settings=settings)
        check(begun, request, adapters=adapters, settings=settings)
        if not request.publish:
            return finish(request.build_id, "held", adapters=adapters)
        return go_live(begun, adapters=adapters, settings=settings)


def make(build: BuildReference, *, adapters: Adapters, settings: Settings) -> None:
    """Make every document of the next version that can be made."""
    began = time.monotonic()
    counts = catch_up(build, adapters=adapters, settings=settings)
    _record(build, {"made": counts, "make_seconds": round(time.monotonic() - began, 3)}, adapters)


def check(build: BuildReference, request: BuildRequest, *, adapters: Adapters, settings: Settings) -> None:
    """The gates before the swap; what passed them is ready. Raises `GateFailed`."""
    parity_gate(build, adapters=adapters, settings=settings)
    relevance_gate(build, request, adapters=adapters, settings=settings)


def parity_gate(build: BuildReference, *, adapters: Adapters, settings: Settings) -> str:
    """The next version holds what the live one holds. Returns what is said of it. Raises `GateFailed`, and `Leased`
    when another build is at work by now."""
    with _holding_the_place(build, adapters, settings):
        live, version = _pair(build, adapters)
        result = check_parity(live, version, adapters=adapters, settings=settings)
    _record(build, {"parity": result.as_json()}, adapters)
    if not result.passed:
        raise GateFailed(f"Index version {build.version} is not published, parity: {result.message}")
    return result.message


def relevance_gate(build: BuildReference, request: BuildRequest, *, adapters: Adapters, settings: Settings) -> str:
    """The next version finds as well as the live one, or a person `accepts` that it does not: it is ready then. Returns
    what is said of it. Raises `GateFailed`, and `Leased` when another build is at work by now."""
    with _holding_the_place(build, adapters, settings):
        live, version = _pair(build, adapters)
        result = check_relevance(live, version, adapters=adapters, settings=settings, seed=build.version)
    accepted = {"by": request.requested_by, "why": request.accepts}
    is_accepted = not result.passed and bool(request.accepts)
    _record(build, {"relevance": result.as_json(), **({"accepted": accepted} if is_accepted else {})}, adapters)
    if not (result.passed or is_accepted):
        raise GateFailed(f"Index version {build.version} is not published, relevance: {result.message}")
    if version.state == "building":
        with fault_points.around("version.ready"):
            adapters.ledger.versions.ready(version)
    return result.message


@contextmanager
def _holding_the_place(build: BuildReference, adapters: Adapters, settings: Settings) -> Iterator[None]:
    """A gate takes its time: nobody else may take the version up, or drop it, meanwhile."""
    adapters.ledger.building.renew(build.build_id)
    with build_lease(build.build_id, adapters=adapters, settings=settings).kept():
        yield


def _pair(build: BuildReference, adapters: Adapters) -> tuple[IndexVersion, IndexVersion]:
    live = adapters.ledger.versions.live()
    assert live is not None
    return live, adapters.ledger.versions.get(build.version)


def go_live(build: BuildReference, *, adapters: Adapters, settings: Settings) -> BuildReport:
    """Swap, and begin to drop what is too old to go back to."""
    swapped = publish(build, adapters=adapters, settings=settings)
    _record(build, {"swap": swapped.as_json()}, adapters)
    old = begin_drop_of_old(adapters=adapters, settings=settings)
    dropped = drop_due(adapters=adapters, settings=settings)
    _record(build, {"to_be_dropped": old, "drop": dropped.as_json()}, adapters)
    return finish(build.build_id, "published", adapters=adapters)


def act(
    action: str,
    number: int,
    *,
    build_id: str,
    accepts: str = "",
    requested_by: str = "",
    adapters: Adapters,
    settings: Settings,
) -> dict[str, Any]:
    """Publish an unfinished or held version, roll back to a retired one, or drop one; a repeated call changes nothing.

    Raises what `build`, `rollback` and `begin_drop` raise.
    """
    if action == "publish":
        request = BuildRequest(
            build_id, mode="rebuild", version=number, accepts=accepts, requested_by=requested_by[:200]
        )
        return build(request, adapters=adapters, settings=settings).as_json()
    version = adapters.ledger.versions.get(number)
    if action == "rollback":
        return rollback(version, adapters=adapters, settings=settings).as_json()
    begin_drop(version, adapters=adapters)
    return drop_due(adapters=adapters, settings=settings).as_json()


def finish(build_id: str, state: str, *, adapters: Adapters, why: str = "") -> BuildReport:
    """Record how the build ended; the builder's place is free."""
    with fault_points.around("build.finish"):
        adapters.ledger.building.finish(build_id, state=state, said={"why": why} if why else {})
    ended = adapters.ledger.building.get(build_id)
    return BuildReport(build_id, ended.state, ended.version, ended.report or {})


@contextmanager
def ending(build_id: str, *, adapters: Adapters, gives_up: bool = True) -> Iterator[None]:
    """What no further attempt can mend ends the build in the ledger, but for a `Conflict`: another attempt of it may be
    going on. Where nobody tries again (`gives_up`), a build that stops gives the builder's place back; it can be taken
    up again."""
    try:
        yield
    except BaseException as error:
        # The ledger may be what fails: the error that the caller sees must be the first one.
        with suppress(ConcordanceError):
            if isinstance(error, GateFailed):
                finish(build_id, "refused", adapters=adapters, why=str(error))
            elif isinstance(error, Terminal) and not isinstance(error, Conflict):
                finish(build_id, "failed", adapters=adapters, why=type(error).__name__)
            elif gives_up or isinstance(error, Conflict):
                adapters.ledger.building.release(build_id)
        raise


def _record(build: BuildReference, said: dict[str, object], adapters: Adapters) -> None:
    with fault_points.around("build.record"):
        adapters.ledger.building.record(build.build_id, said)
