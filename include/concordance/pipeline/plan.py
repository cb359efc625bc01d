"""Plan: list the source, compare with the ledger, and name every document that the run may touch.

The plan draws its number before it lists, so that what an older plan read can never replace what a newer one saw.
Nothing is written to a store here, and nothing else in the run touches a document that the plan does not name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any
from uuid import UUID

from concordance import fault_points, ids
from concordance.chunking.entities import ENTITIES_REVISION
from concordance.chunking.splitter import CHUNKER_REVISION
from concordance.errors import Conflict, Misconfigured, PoisonDocument
from concordance.ledger.plans import DrawnPlan, PlanCounts
from concordance.model import Action, IndexVersion, Listed, PlanEntry, RawDocument
from concordance.parsing import PARSER_REVISION
from concordance.pipeline import index, tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.compare import Comparison, Doubtful, changed, compare, cut_into_shards, only
from concordance.pipeline.counted import count_waiting
from concordance.pipeline.fingerprint import fingerprint
from concordance.pipeline.forecast import forecast, unusual
from concordance.pipeline.lease import Lease, run_lease
from concordance.pipeline.references import PlanReference, RunRequest
from concordance.quality import GATES_REVISION
from concordance.settings import Settings
from concordance.sources.declaration import SourceDeclaration
from concordance.sources.port import Source
from concordance.sources.subpath import normalise_subpath

MODES = ("incremental", "full")


def make_plan(request: RunRequest, *, adapters: Adapters, settings: Settings) -> PlanReference:
    """Make the run's plan; a repeated call for the same run returns the one that was made.

    One that needs approval is closed and kept; called again with `approved` it is made anew, if it is still the same.
    Raises `Leased` while another run holds the source, `Unavailable` when the listing was not completed (nothing is
    deleted then), `Conflict` when a newer plan was made meanwhile or the plan that the request names, or that was
    approved, is not what a run would do now, `Misconfigured` for a wrong request.
    """
    _check(request)
    planned = None
    if request.plan_id is not None:
        as_planned, planned = _as_planned(request.plan_id, request.run_id, adapters)
        if replace(request, approved=as_planned.approved) != as_planned:
            raise Misconfigured(f"Plan {request.plan_id} brings its own scope, mode and limits: leave them out")
    source = adapters.source(request.source)
    made = adapters.ledger.runs.open(
        run_id=request.run_id, source=request.source, tenant=source.declaration.tenant, request=request.as_json()
    )
    if made is not None:
        earlier = PlanReference.from_json(made)
        if not (earlier.needs_approval and request.approved):
            if earlier.needs_approval:
                # Waiting holds nothing, also when it is a second attempt that begins to wait.
                adapters.ledger.runs.release(run_id=request.run_id, source=request.source)
                count_waiting(earlier, adapters=adapters)
            return earlier
        planned = earlier
    lease = run_lease(request.run_id, request.source, adapters=adapters, settings=settings)
    with lease.kept():
        version = index.ensure_live(adapters, settings)
    scope = normalise_subpath(request.subpath)
    with fault_points.around("plan.draw"):
        drawn = adapters.ledger.plans.draw(run_id=request.run_id, source=request.source, scope=scope, version=version)
    return _make(request, drawn, scope, source, version, planned, lease, adapters=adapters, settings=settings)


def rejected_under(version: IndexVersion, settings: Settings, declaration: SourceDeclaration) -> str:
    """What a rejection depends on besides the document: unchanged, it is not tried again."""
    code = (PARSER_REVISION, CHUNKER_REVISION, ENTITIES_REVISION, GATES_REVISION)
    return ids.digest([version.settings.digest, settings.run_digest, *code, sorted(declaration.languages)])


def _make(
    request: RunRequest,
    drawn: DrawnPlan,
    scope: str,
    source: Source,
    version: IndexVersion,
    planned: PlanReference | None,
    lease: Lease,
    *,
    adapters: Adapters,
    settings: Settings,
) -> PlanReference:
    with lease.kept():
        compared = _compared(request, scope, source, version, adapters=adapters, settings=settings)
    really_changed, restamped, unread, returned = _decide_by_reading(compared, source, version, lease)
    readable_again = [entry for entry in compared.could_not_be_read if _is_readable(entry, source, lease)]
    compared = replace(compared, still_quarantined=compared.still_quarantined - len(readable_again))
    entries, shards = cut_into_shards(
        _limited([*compared.entries, *really_changed, *readable_again], request.max_documents),
        shard_bytes=settings.shard_bytes,
        max_shards=settings.max_shards,
    )
    counts = _counts(entries, compared, unchanged=compared.unchanged + len(restamped) + unread)
    content = tables.table_to_parquet(tables.plan_table(entries))
    expected = forecast(entries, adapters.ledger.runs.measured(request.source))
    reference = PlanReference(
        plan_id=drawn.plan_id,
        run_id=request.run_id,
        source=request.source,
        index_version=version.version,
        entries=adapters.staging.put("plan", [str(drawn.plan_id)], content, rows=len(entries), suffix=".parquet"),
        shards=shards,
        settings_digest=settings.run_digest,
        counts=counts,
        estimates=expected.as_json(),
        estimated_from=expected.basis,
        rehearsed=planned.rehearsed if planned else (),
        impact=_impact(entries, version, adapters),
        is_dry=request.dry_run,
        unusual=unusual(compared, counts, expected.bytes, source=request.source, settings=settings),
        is_approved=request.approved,
        notices=_notices(compared, version, adapters=adapters, settings=settings),
    )
    if planned is not None and (moved := _moved_since(planned, reference)):
        with fault_points.around("plan.close"):
            adapters.ledger.plans.close(drawn.plan_id)
        raise Conflict(f"Plan {planned.plan_id} is not what an ingest would do now ({moved}): make a new plan")
    if reference.is_dry or reference.needs_approval:
        with fault_points.around("plan.close"):
            adapters.ledger.plans.close(drawn.plan_id, reference=reference.as_json())
        if reference.needs_approval:
            count_waiting(reference, adapters=adapters)
        return reference
    with fault_points.around("plan.make"):
        adapters.ledger.plans.make(
            drawn.plan_id,
            entries=entries,
            counts=PlanCounts(counts["discovered"], counts["unchanged"], counts["still_quarantined"], counts["erased"]),
            restamped=restamped,
            released=[*compared.released, *returned],
            reference=reference.as_json(),
        )
    return reference


def _compared(
    request: RunRequest, scope: str, source: Source, version: IndexVersion, *, adapters: Adapters, settings: Settings
) -> Comparison:
    """The listing against the ledger; of a replay, only what it names."""
    declaration = source.declaration
    replayed = frozenset() if request.replay is None else adapters.ledger.quarantine.meant(request.replay)
    compared = compare(
        _bounded(source.list(scope), declaration.max_documents(settings), request.source),
        adapters.ledger.plans.known(version=version, source=request.source, scope=scope),
        tenant=declaration.tenant,
        source=request.source,
        access=declaration.access,
        rejected_under=rejected_under(version, settings, declaration),
        read_all=request.mode == "full",
        replayed=replayed,
    )
    return compared if request.replay is None else only(compared, replayed)


def run_of(plan_id: UUID, *, run_id: str, adapters: Adapters) -> RunRequest:
    """The request of a run that does exactly what this plan said, which was kept and not made: a dry run's, or one that
    waits for approval. Raises `Misconfigured`."""
    return _as_planned(plan_id, run_id, adapters)[0]


def _as_planned(plan_id: UUID, run_id: str, adapters: Adapters) -> tuple[RunRequest, PlanReference]:
    kept = adapters.ledger.plans.kept(plan_id)
    if kept is None:
        raise Misconfigured(f"There is no plan {plan_id} that can be done: `plan` makes one and prints its id")
    asked, planned = RunRequest.from_json(kept[0]), PlanReference.from_json(kept[1])
    asked = replace(asked, run_id=run_id, dry_run=False, plan_id=plan_id, correlation_id="")
    return asked, planned


def _moved_since(planned: PlanReference, now: PlanReference) -> str:
    """What is different of a plan that was made anew; empty when it names the same documents in the same states."""
    if planned.index_version != now.index_version:
        return f"index version {now.index_version} is live, it was {planned.index_version}"
    if planned.settings_digest != now.settings_digest:
        return "the settings of a run have changed"
    if planned.entries.digest != now.entries.digest:
        named = ("added", "changed", "deleted")
        then, today = (", ".join(f"{plan.counts[each]} {each}" for each in named) for plan in (planned, now))
        return f"the source or the index has moved: it was {then}; now {today}"
    return ""


def _check(request: RunRequest) -> None:
    if request.mode not in MODES:
        raise Misconfigured(f"mode is {request.mode!r}; allowed: {', '.join(MODES)}")
    if request.max_documents is not None and request.max_documents < 1:
        raise Misconfigured(f"max_documents is {request.max_documents}; allowed: at least 1")


def _bounded(listing: Iterator[Listed], max_documents: int, source: str) -> Iterator[Listed]:
    yield from islice(listing, max_documents)
    if next(listing, None) is not None:
        raise Misconfigured(
            f"Source {source!r} lists more than {max_documents} documents: raise its limits.max_documents and "
            "AIRFLOW__CONCORDANCE__MAX_DOCUMENTS_PER_SOURCE, or run a sub-path"
        )


def _decide_by_reading(
    compared: Comparison, source: Source, version: IndexVersion, lease: Lease
) -> tuple[list[PlanEntry], list[tuple[Any, int, str]], int, list[UUID]]:
    """Read the doubtful: the changed ones, the others' new stamps, how many need neither, and those in quarantine that
    are what is current."""
    changed_entries: list[PlanEntry] = []
    restamped: list[tuple[Any, int, str]] = []
    returned: list[UUID] = []
    same = 0
    for doubtful in compared.doubtful:
        raw = _read(doubtful.listed.uri, source, lease)
        if raw is None or not _is_same(raw, doubtful, source, version):
            # One that cannot be read: extract reads it again and gives the reason, the current generation stays.
            changed_entries.append(changed(doubtful))
            continue
        if doubtful.was_quarantined:
            returned.append(doubtful.known.document_id)
        if doubtful.listed.stamp != doubtful.known.stamp and raw.stamp in (None, doubtful.listed.stamp):
            restamped.append((doubtful.known.document_id, doubtful.known.generation, doubtful.listed.stamp))
        else:
            same += 1
    return changed_entries, restamped, same, returned


def _read(uri: str, source: Source, lease: Lease) -> RawDocument | None:
    # One by one, as many as the source has: the next run must not come in between.
    lease.renew_when_due()
    try:
        return source.read(uri)
    except PoisonDocument:
        return None


def _is_readable(entry: PlanEntry, source: Source, lease: Lease) -> bool:
    return _read(entry.uri, source, lease) is not None


def _is_same(raw: RawDocument, doubtful: Doubtful, source: Source, version: IndexVersion) -> bool:
    found = fingerprint(raw, access=source.declaration.access, index_settings=version.settings)
    return found == doubtful.known.fingerprint


def _limited(entries: list[PlanEntry], max_documents: int | None) -> list[PlanEntry]:
    """At most `max_documents` of the documents that are read, by uri; the next run sees the others again."""
    if max_documents is None:
        return entries
    read = sorted((entry for entry in entries if entry.action is not Action.DELETE), key=lambda entry: entry.uri)
    return [*read[:max_documents], *(entry for entry in entries if entry.action is Action.DELETE)]


def _counts(entries: tuple[PlanEntry, ...], compared: Comparison, *, unchanged: int) -> dict[str, int]:
    named = {
        "added": sum(entry.action is Action.ADD for entry in entries),
        "changed": sum(entry.action is Action.CHANGE for entry in entries),
        "deleted": sum(entry.action is Action.DELETE for entry in entries),
    }
    touched = named["added"] + named["changed"]
    return {
        "discovered": compared.discovered,
        **named,
        "unchanged": unchanged,
        "still_quarantined": compared.still_quarantined,
        "erased": compared.erased,
        "postponed": compared.discovered - touched - unchanged - compared.still_quarantined - compared.erased,
    }


def _impact(entries: tuple[PlanEntry, ...], version: IndexVersion, adapters: Adapters) -> dict[str, int]:
    """The blast radius: what readers would notice."""
    named: dict[Action, list[UUID]] = {action: [] for action in Action}
    for entry in entries:
        named[entry.action].append(entry.document_id)
    with adapters.ledger.snapshot() as snapshot:
        return snapshot.impact(version, changed=named[Action.CHANGE], deleted=named[Action.DELETE])


def _notices(compared: Comparison, version: IndexVersion, *, adapters: Adapters, settings: Settings) -> tuple[str, ...]:
    notices = []
    if compared.is_of_nothing:
        notices.append(
            f"The listing is empty, though {compared.known} documents are known: nothing is deleted. If they are "
            "really gone, run the whole source (for a part of it), or erase them"
        )
    if moved := index.moved_on(version, adapters=adapters, settings=settings):
        notices.append(
            f"Settings have moved on since index version {version.version} was built ({', '.join(moved)}): this run "
            "uses the version's; only a re-index adopts the new ones"
        )
    return tuple(notices)
