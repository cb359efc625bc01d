"""Remake: the documents of a build's plan, from what the live version was loaded from, or from their source.

Where both versions cut alike, the rows of the artefacts that the live generation was loaded from are taken over, after
they were compared with the ledger's digests. Elsewhere, and where they are gone, the document is read and cut anew.
What cannot be cut anew, because it cannot be read or is rejected, is carried over as it was: a build loses nothing that
readers have. The next ingest after the swap tries such a document again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from concordance.ledger.building import CARRY
from concordance.ledger.reading import Promise
from concordance.model import GenerationKey, IndexVersion, PlanEntry, Reason, Rejection
from concordance.operations import telemetry
from concordance.pipeline import originals, tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.barred import without_erased
from concordance.pipeline.extract import Extracted, extract_entries, stage_shard
from concordance.pipeline.fingerprint import fingerprint_under
from concordance.pipeline.forecast import timed
from concordance.pipeline.lease import Lease, run_lease
from concordance.pipeline.references import PlanReference, ShardReference
from concordance.pipeline.rows import PreparedDocument
from concordance.pipeline.staged import Row
from concordance.pipeline.version import version_of
from concordance.settings import Settings


@timed
def remake(plan: PlanReference, shard: int, *, adapters: Adapters, settings: Settings) -> ShardReference:
    """The documents and chunks of one shard of a build's plan, as `extract` leaves them.

    Raises `Unavailable` when a source or the staging area does not answer.
    """
    version = version_of(plan, adapters=adapters, settings=settings)
    lease = run_lease(plan.run_id, plan.source, adapters=adapters, settings=settings)

    def made() -> Extracted:
        return _remade(plan, shard, version, lease, adapters=adapters, settings=settings)

    return stage_shard(plan, shard, version, made, adapters=adapters, settings=settings)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the live generation of a document was loaded from, and what the ledger promises of it."""

    promise: Promise
    prepared: PreparedDocument


def _remade(
    plan: PlanReference, shard: int, version: IndexVersion, lease: Lease, *, adapters: Adapters, settings: Settings
) -> Extracted:
    entries = without_erased(tables.plan_entries(adapters.staging.read(plan.entries), shard=shard), adapters=adapters)
    assert plan.from_version is not None
    live = adapters.ledger.versions.get(plan.from_version)
    with lease.kept():
        promises = _promises(entries, live, adapters)
        kept = _kept(promises, live, adapters)
    cuts_alike = live.settings.cut_digest == version.settings.cut_digest
    made = Extracted([], [], [])
    anew: list[PlanEntry] = []
    for entry in entries:
        found = kept.get(entry.document_id)
        is_as_cut = found is not None and cuts_alike and _is_as_cut(found)
        if found is not None and (entry.is_carried or is_as_cut):
            _take_over(made, entry, found, live, version, is_carried=not is_as_cut)
        elif entry.is_carried:
            made.rejections.append(_not_kept(entry))
        else:
            anew.append(entry)
    copied = len(made.documents)
    _cut_anew(made, plan, anew, promises, kept, live, version, lease, adapters=adapters, settings=settings)
    carried = sum(row["is_copied"] and row["is_stale"] for row in made.documents)
    telemetry.count("build.copied", copied, source=plan.source)
    telemetry.count("build.cut", len(anew), source=plan.source)
    telemetry.count("build.carried", carried, source=plan.source)
    return made


def _promises(entries: Sequence[PlanEntry], live: IndexVersion, adapters: Adapters) -> dict[UUID, Promise]:
    keys = [GenerationKey(each.document_id, each.made_from) for each in entries if each.made_from is not None]
    with adapters.ledger.snapshot() as snapshot:
        return {promise.row.document_id: promise for promise in snapshot.promises_of(live, keys)}


def _kept(promises: Mapping[UUID, Promise], live: IndexVersion, adapters: Adapters) -> dict[UUID, _Kept]:
    return {
        key.document_id: _Kept(promises[key.document_id], prepared)
        for key, prepared in originals.prepared_from_artefacts(live, list(promises.values()), adapters)
    }


def _is_as_cut(kept: _Kept) -> bool:
    """Whether the rows are what the live version makes of the document: those that were carried over are older. Without
    the source's digest nobody could say under the new version whether the document is the same (older releases)."""
    fields = kept.prepared.fields
    return bool(fields.get("source_digest")) and not fields.get("is_stale")


def _take_over(
    made: Extracted, entry: PlanEntry, kept: _Kept, live: IndexVersion, version: IndexVersion, *, is_carried: bool
) -> None:
    fields = dict(kept.prepared.fields)
    if not is_carried:
        fields["fingerprint"] = fingerprint_under(fields["source_digest"], version.settings)
    made.documents.append(
        {
            **fields,
            "base": entry.base,
            # The ledger's: a listing that changed while the content did not is written there alone.
            "stamp": kept.promise.row.stamp,
            **_origin(entry, live),
            "is_copied": True,
            "is_stale": is_carried,
        }
    )
    made.chunks.extend(dict(chunk) for chunk in kept.prepared.chunks)


def _cut_anew(
    made: Extracted,
    plan: PlanReference,
    entries: list[PlanEntry],
    promises: Mapping[UUID, Promise],
    kept: Mapping[UUID, _Kept],
    live: IndexVersion,
    version: IndexVersion,
    lease: Lease,
    *,
    adapters: Adapters,
    settings: Settings,
) -> None:
    extracted = extract_entries(
        plan,
        entries,
        version,
        adapters=adapters,
        settings=settings,
        renew=lease.renew_when_due,
    )
    by_id = {entry.document_id: entry for entry in entries}
    for row in extracted.documents:
        document_id = UUID(row["document_id"])
        entry = by_id[document_id]
        is_stale = _is_of_another_time(row, entry, promises.get(document_id), live)
        made.documents.append({**row, **_origin(entry, live), "is_copied": False, "is_stale": is_stale})
    made.chunks.extend(extracted.chunks)
    for rejection in extracted.rejections:
        found = kept.get(rejection.document_id)
        if found is None:
            made.rejections.append(rejection)
        else:
            _take_over(made, by_id[rejection.document_id], found, live, version, is_carried=True)


def _is_of_another_time(row: Row, entry: PlanEntry, promise: Promise | None, live: IndexVersion) -> bool:
    """Whether the document has changed in a source that gives no stamp with it: the live generation's stamp is not of
    what was read, and the next ingest must not go by it."""
    if row["stamp"] != entry.stamp:
        return False
    return promise is None or fingerprint_under(row["source_digest"], live.settings) != promise.row.fingerprint


def _origin(entry: PlanEntry, live: IndexVersion) -> Row:
    return {"made_from_version": live.version, "made_from": entry.made_from}


def _not_kept(entry: PlanEntry) -> Rejection:
    return Rejection(
        entry.document_id,
        CARRY,
        Reason.NOT_KEPT,
        "it cannot be read or cut anew, and the artefacts that its live state was loaded from are gone",
        entry.stamp,
    )
