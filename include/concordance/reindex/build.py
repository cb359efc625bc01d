"""A build: what the next index version is made of, and one round of making it, by the plans and stages of every run.

A round compares the two versions in the ledger and makes one plan for each source in which they differ. What is done is
therefore never done again, whenever a build stopped, and catching up with what was published, deleted or erased
meanwhile is simply another round.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import structlog

from concordance import fault_points
from concordance.errors import Conflict, Misconfigured
from concordance.ledger.building import CARRY, Difference
from concordance.ledger.plans import PlanCounts
from concordance.model import Action, IndexSettings, IndexVersion, PlanEntry
from concordance.operations import correlation
from concordance.pipeline import index, tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.compare import cut_into_shards
from concordance.pipeline.lease import Lease, build_lease
from concordance.pipeline.references import PlanReference
from concordance.reindex.references import OVERRIDES, BuildReference, BuildRequest
from concordance.settings import Settings

log = structlog.get_logger(__name__)

MODES = ("auto", "rebuild")
# A token of a text takes about so many bytes.
_BYTES_A_TOKEN = 4


def begin(request: BuildRequest, *, adapters: Adapters, settings: Settings) -> BuildReference | None:
    """Take the builder's place and the version to build; None when there is no reason to build one.

    A repeated call takes up what it had begun; another build goes on with an unfinished version if it would be made of
    the same, and drops it if not. Raises `Leased` while another build is at work, `Misconfigured` for a wrong request,
    before the first ingest, and when documents belong to a source that is no longer declared.
    """
    _check(request, settings)
    with fault_points.around("build.begin"):
        begun = adapters.ledger.building.begin(request.build_id, request.as_json())
    live = _live(adapters)
    _require_declared(live, adapters)
    if begun.version is not None:
        version = adapters.ledger.versions.get(begun.version)
        if version.state in ("building", "ready", "live"):
            return BuildReference(request.build_id, version.version, live.version, _recorded(begun.report))
    # What is asked of every source here, its names and its boilerplate, takes as long as they take to read.
    lease = build_lease(request.build_id, adapters=adapters, settings=settings)
    with lease.kept():
        reasons = _reasons(request, live, adapters, settings)
        if not reasons:
            return None
        if request.version is None:
            version = _version(request, live, lease, adapters, settings)
        else:
            version = _unfinished(request.version, adapters)
    with fault_points.around("build.attach"):
        adapters.ledger.building.builds(request.build_id, version)
    with fault_points.around("build.record"):
        adapters.ledger.building.record(request.build_id, {"reasons": reasons, "from_version": live.version})
    return BuildReference(request.build_id, version.version, live.version, tuple(reasons))


def plan_round(build: BuildReference, *, adapters: Adapters, settings: Settings) -> list[PlanReference]:
    """One plan for each source in which the version that is built and the live one differ; none when they do not.

    Left out is what nobody can make: the parity gate counts it. Raises `Conflict` when the version is no longer built.
    """
    adapters.ledger.building.renew(build.build_id)
    version, live = adapters.ledger.versions.get(build.version), _live(adapters)
    if version.version == live.version:
        return []
    if version.state not in ("building", "ready"):
        raise Conflict(f"Index version {version.version} is {version.state}, and no longer built: start a new build")
    with build_lease(build.build_id, adapters=adapters, settings=settings).kept():
        return _plans(build, version, live, adapters=adapters, settings=settings)


def _plans(
    build: BuildReference, version: IndexVersion, live: IndexVersion, *, adapters: Adapters, settings: Settings
) -> list[PlanReference]:
    sources = adapters.ledger.building.sources([live, version])
    made: list[PlanReference] = []
    for source, tenant in sources.items():
        differences = [
            each for each in adapters.ledger.building.differences(live, version, source) if not is_lost(each)
        ]
        if differences:
            most = max(1, settings.build_max_shards // len(sources))
            entries, shards = cut_into_shards(
                [_entry(each, version) for each in differences],
                shard_bytes=settings.build_shard_bytes,
                max_shards=most,
            )
            made.append(
                _plan(build, source, tenant, entries, shards, version, live, adapters=adapters, settings=settings)
            )
    return made


def is_lost(difference: Difference) -> bool:
    """The live version has the document, and neither its source nor its artefacts give it again."""
    return difference.in_live is not None and difference.rejected_in == CARRY


def _check(request: BuildRequest, settings: Settings) -> None:
    if request.mode not in MODES:
        raise Misconfigured(f"mode is {request.mode!r}; allowed: {', '.join(MODES)}")
    if unknown := sorted(request.overrides.keys() - set(OVERRIDES)):
        raise Misconfigured(f"{', '.join(unknown)} cannot be chosen for a new version; allowed: {', '.join(OVERRIDES)}")
    settings.with_values(request.overrides)


def _live(adapters: Adapters) -> IndexVersion:
    live = adapters.ledger.versions.live()
    if live is None:
        raise Misconfigured("There is no live index yet: the first ingest makes one, from the settings as they are")
    return live


def _require_declared(live: IndexVersion, adapters: Adapters) -> None:
    unknown = sorted(adapters.ledger.building.sources([live]).keys() - adapters.declarations.keys())
    if unknown:
        raise Misconfigured(
            f"The live index has documents of {', '.join(unknown)}, which no declaration names: a new version would "
            "lose them. Declare the source again, or erase its documents"
        )


def _recorded(report: dict[str, Any] | None) -> tuple[str, ...]:
    return tuple((report or {}).get("reasons", ()))


def _reasons(request: BuildRequest, live: IndexVersion, adapters: Adapters, settings: Settings) -> list[str]:
    if request.mode == "rebuild" or request.version is not None:
        return [f"asked for by {request.requested_by or 'somebody'}"]
    # What was chosen for the new version counts as a setting that has changed, not as a word in vain.
    chosen = settings.with_values(request.overrides)
    reasons = index.moved_on(live, adapters=adapters, settings=chosen)
    if index.gazetteer_of(adapters, settings).digest != live.settings.gazetteer_digest:
        reasons.append("gazetteer")
    if request.is_weekly_night:
        reasons.append("the weekly night")
    return reasons


def _version(
    request: BuildRequest, live: IndexVersion, lease: Lease, adapters: Adapters, settings: Settings
) -> IndexVersion:
    """An unfinished version that would be made of the same, or a new one."""
    chosen = settings.with_values(request.overrides)
    frozen = index.freeze(adapters, chosen, beside=live)
    wanted = index.index_settings(frozen, adapters, chosen)
    for unfinished in reversed(adapters.ledger.versions.unfinished()):
        last = adapters.ledger.building.newest_of(unfinished)
        if (last is None or last.state != "refused") and _is_made_of_the_same(unfinished.settings, wanted):
            _prepare(unfinished, adapters)
            return unfinished
        # Not by one that was overtaken: it may be what its successor makes.
        lease.renew()
        log.info("an unfinished index version is dropped", version=unfinished.version)
        with fault_points.around("version.retire"):
            adapters.ledger.swapping.retire(unfinished)
    with fault_points.around("index.create"):
        version = adapters.ledger.versions.create(wanted, frozen.as_json())
    if not _is_made_of_the_same(version.settings, wanted):
        raise Conflict(f"Another build began index version {version.version} meanwhile, made of something else")
    _prepare(version, adapters)
    return version


def _unfinished(number: int, adapters: Adapters) -> IndexVersion:
    version = adapters.ledger.versions.get(number)
    if version.state not in ("building", "ready"):
        raise Conflict(
            f"Index version {number} is {version.state}: only one that is being built or ready can be published; to a "
            "retired one you roll back"
        )
    _prepare(version, adapters)
    return version


def _prepare(version: IndexVersion, adapters: Adapters) -> None:
    """The stores take the version's rows. The gate before the swap waits for the index that is put off here; after it
    the version is ready, and nothing is put off any more."""
    index.prepare(version, adapters)
    if version.state == "building":
        with fault_points.around("vectors.defer"):
            adapters.vectors.defer_indexing(version)


def _is_made_of_the_same(one: IndexSettings, other: IndexSettings) -> bool:
    # Names and boilerplate are what the sources had at the time: they do not make hours of work worthless.
    changing = {"gazetteer_digest": "", "boilerplate_digest": ""}
    return {**asdict(one), **changing} == {**asdict(other), **changing}


def _entry(difference: Difference, version: IndexVersion) -> PlanEntry:
    action = (
        Action.DELETE if difference.in_live is None else Action.ADD if difference.in_other is None else Action.CHANGE
    )
    return PlanEntry(
        document_id=difference.document_id,
        uri=difference.uri,
        action=action,
        base=difference.in_other,
        stamp=difference.stamp or "",
        size_bytes=(difference.chunk_count or 0) * version.settings.chunk_max_tokens * _BYTES_A_TOKEN,
        shard=None,
        made_from=difference.in_live,
        is_carried=difference.rejected_in is not None,
    )


def _plan(
    build: BuildReference,
    source: str,
    tenant: str,
    entries: Sequence[PlanEntry],
    shards: int,
    version: IndexVersion,
    live: IndexVersion,
    *,
    adapters: Adapters,
    settings: Settings,
) -> PlanReference:
    run_id = f"{build.build_id}__{source}__{secrets.token_hex(4)}"
    adapters.ledger.runs.open(
        run_id=run_id,
        source=source,
        tenant=tenant,
        request={**build.as_json(), "correlation_id": correlation.for_run(build.build_id)},
        build_id=build.build_id,
    )
    with fault_points.around("plan.draw"):
        drawn = adapters.ledger.plans.draw(run_id=run_id, source=source, scope="", version=version)
    content = tables.table_to_parquet(tables.plan_table(entries))
    counts = _counts(entries)
    reference = PlanReference(
        plan_id=drawn.plan_id,
        run_id=run_id,
        source=source,
        index_version=version.version,
        entries=adapters.staging.put("plan", [str(drawn.plan_id)], content, rows=len(entries), suffix=".parquet"),
        shards=shards,
        settings_digest=settings.run_digest,
        counts=counts,
        estimates={"bytes": sum(entry.size_bytes for entry in entries)},
        from_version=live.version,
    )
    with fault_points.around("plan.make"):
        adapters.ledger.plans.make(
            drawn.plan_id,
            entries=entries,
            counts=PlanCounts(discovered=counts["discovered"], unchanged=0, still_quarantined=0),
            restamped=(),
            released=(),
            reference=reference.as_json(),
        )
    return reference


def _counts(entries: Sequence[PlanEntry]) -> dict[str, int]:
    named = {
        "added": sum(entry.action is Action.ADD for entry in entries),
        "changed": sum(entry.action is Action.CHANGE for entry in entries),
        "deleted": sum(entry.action is Action.DELETE for entry in entries),
    }
    read = named["added"] + named["changed"]
    return {"discovered": read, **named, "unchanged": 0, "still_quarantined": 0, "erased": 0, "postponed": 0}
