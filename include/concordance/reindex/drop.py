"""Drop: an index version leaves stores and ledger in small steps, once nobody can read or write it any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from concordance import fault_points
from concordance.errors import Conflict
from concordance.model import IndexVersion
from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings


@dataclass(frozen=True, slots=True)
class DropReport:
    """Versions that are gone now, and those whose grace still runs, with the seconds that are left of it."""

    dropped: tuple[int, ...]
    waiting: dict[int, float]

    def as_json(self) -> dict[str, Any]:
        return {
            "dropped": list(self.dropped),
            "waiting": {str(version): round(seconds, 1) for version, seconds in self.waiting.items()},
        }


def begin_drop(version: IndexVersion, *, adapters: Adapters) -> None:
    """Say that a version is to go; `drop_due` takes it away after the grace. A repeated call changes nothing.

    Raises `Conflict` for the live version.
    """
    with fault_points.around("version.retire"):
        adapters.ledger.swapping.retire(version)


def begin_drop_of_old(*, adapters: Adapters, settings: Settings) -> list[int]:
    """Say so of retired versions beyond the `kept_retired_versions` that were live last."""
    retired = adapters.ledger.swapping.retired()
    old = retired[: max(0, len(retired) - settings.kept_retired_versions)]
    for version in old:
        begin_drop(version, adapters=adapters)
    return [version.version for version in old]


def drop_due(*, adapters: Adapters, settings: Settings) -> DropReport:
    """Take away every version that is to go and whose grace has passed. A repeated call goes on where one stopped."""
    dropped: list[int] = []
    waiting: dict[int, float] = {}
    for version in adapters.ledger.versions.all():
        if version.state != "dropping":
            continue
        seconds = adapters.ledger.swapping.droppable_in(version)
        if seconds > 0:
            waiting[version.version] = seconds
            continue
        _drop(version, adapters, settings)
        dropped.append(version.version)
        telemetry.count("index.dropped")
    return DropReport(tuple(dropped), waiting)


def _drop(version: IndexVersion, adapters: Adapters, settings: Settings) -> None:
    if version.version in (adapters.graph.pointer(), adapters.vectors.pointer()):
        raise Conflict(
            f"Index version {version.version} is still named by the pointer or the alias: run an ingest, which points "
            "both to the live version"
        )
    seconds = settings.call_timeout_seconds
    # The points first: for raw readers they are a subset of the chunks until the end.
    with fault_points.around("vectors.drop"):
        adapters.vectors.drop(version, timeout_seconds=seconds)
    deleted = 1
    while deleted:
        with fault_points.around("graph.drop"):
            deleted = adapters.graph.drop(version, limit=settings.drop_page_rows, timeout_seconds=seconds)
    # The ledger last: until then it says what the stores may still hold, to an erase too.
    deleted = 1
    while deleted:
        with fault_points.around("version.forget"):
            deleted = adapters.ledger.swapping.forget(version, limit=settings.drop_page_rows)
    with fault_points.around("version.dropped"):
        adapters.ledger.swapping.dropped(version)
