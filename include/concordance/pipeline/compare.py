"""The plan's core, pure: a listing and what the ledger knows of it, to added, changed, unchanged and deleted.

A document whose stamp is the one of its current generation, and whose access labels are the source's, is unchanged
without being read. A document in quarantine stays there unread as long as its stamp and what rejected it are the same,
but for one that could not be read: that says nothing about its content, and it may be readable again under its stamp.
One that a person dismissed stays until its stamp moves; a replay takes up what it names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from concordance import ids
from concordance.ledger.plans import Known, KnownDocument
from concordance.model import Action, Listed, PlanEntry, Reason

_NOT_READ = frozenset((Reason.UNREADABLE, Reason.EMPTY, Reason.TOO_LARGE, Reason.NOT_KEPT))


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A listed document that must be read to know whether it changed: its stamp moved, or everything is read."""

    listed: Listed
    known: KnownDocument
    was_quarantined: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """`entries` have no shard yet; `doubtful` are decided by reading, and so is what `could_not_be_read` (entries for
    the case that it can be by now, counted in `still_quarantined` too); the others need nothing. `released` leave the
    quarantine: gone from the source, or back at what is current. `erased` counts the listed documents that must not
    come back, whatever the source says; `damaged` the known ones that are loaded anew although nothing changed."""

    entries: tuple[PlanEntry, ...]
    doubtful: tuple[Doubtful, ...]
    unchanged: int
    still_quarantined: int
    discovered: int
    released: tuple[UUID, ...]
    known: int
    erased: int = 0
    could_not_be_read: tuple[PlanEntry, ...] = ()
    damaged: int = 0

    @property
    def is_of_nothing(self) -> bool:
        """The listing was empty, where documents are known: a folder that is not mounted looks like this."""
        return bool(self.known) and not self.discovered


def compare(
    listing: Iterable[Listed],
    known: Known,
    *,
    tenant: str,
    source: str,
    access: Sequence[str],
    rejected_under: str,
    read_all: bool,
    replayed: Collection[UUID] = frozenset(),
) -> Comparison:
    """Decide every listed and every known document. `listing` is complete below the scope that `known` covers;
    `replayed` are tried again although nothing of them moved."""
    entries: list[PlanEntry] = []
    could_not_be_read: list[PlanEntry] = []
    doubtful: list[Doubtful] = []
    unchanged = still_quarantined = discovered = erased = 0
    released: list[UUID] = []
    labels = tuple(sorted(access))
    unseen, unseen_quarantined = dict(known.documents), dict(known.quarantined)
    for listed in listing:
        discovered += 1
        if known.erased and ids.document_id(tenant=tenant, source=source, uri=listed.uri) in known.erased:
            erased += 1
            continue
        current = unseen.pop(listed.uri, None)
        quarantined = unseen_quarantined.pop(listed.uri, None)
        same_rejection = (
            quarantined is not None
            and quarantined.stamp == listed.stamp
            and (quarantined.rejected_under == rejected_under or quarantined.is_dismissed)
            and not read_all
            and quarantined.document_id not in replayed
        )
        if quarantined is not None and same_rejection:
            still_quarantined += 1
            if quarantined.reason in _NOT_READ and not quarantined.is_dismissed:
                action = Action.ADD if current is None else Action.CHANGE
                could_not_be_read.append(_entry(listed, action, current, tenant=tenant, source=source))
        elif current is None:
            entries.append(_entry(listed, Action.ADD, None, tenant=tenant, source=source))
        elif tuple(sorted(current.access)) != labels:
            entries.append(_entry(listed, Action.CHANGE, current, tenant=tenant, source=source))
        elif current.stamp == listed.stamp and not read_all:
            unchanged += 1
            if quarantined is not None:
                released.append(current.document_id)
        else:
            doubtful.append(Doubtful(listed, current, was_quarantined=quarantined is not None))
    if discovered:
        # An empty listing deletes nothing.
        entries.extend(
            PlanEntry(gone.document_id, gone.uri, Action.DELETE, gone.generation, gone.stamp, 0, None)
            for gone in unseen.values()
        )
    return Comparison(
        entries=tuple(entries),
        doubtful=tuple(doubtful),
        unchanged=unchanged,
        still_quarantined=still_quarantined,
        discovered=discovered,
        released=(*released, *(gone.document_id for gone in unseen_quarantined.values() if discovered)),
        known=len(known.documents),
        erased=erased,
        could_not_be_read=tuple(could_not_be_read),
        damaged=sum(not document.is_sound for document in known.documents.values()),
    )


def only(compared: Comparison, documents: Collection[UUID]) -> Comparison:
    """A comparison that takes up these documents alone: the others wait for the next run, and nothing is deleted."""
    return replace(
        compared,
        entries=tuple(
            each for each in compared.entries if each.action is not Action.DELETE and each.document_id in documents
        ),
        doubtful=tuple(each for each in compared.doubtful if each.known.document_id in documents),
        could_not_be_read=(),
    )


def changed(doubtful: Doubtful) -> PlanEntry:
    """The entry of a doubtful document that did change."""
    known, listed = doubtful.known, doubtful.listed
    return PlanEntry(
        known.document_id,
        listed.uri,
        Action.CHANGE,
        known.generation,
        listed.stamp,
        listed.size_bytes,
        None,
        changed_at=listed.changed_at,
    )


def cut_into_shards(
    entries: Iterable[PlanEntry], *, shard_bytes: int, max_shards: int
) -> tuple[tuple[PlanEntry, ...], int]:
    """Give each document that is read a shard: one below `shard_bytes` in all, else equal parts, at most `max_shards`.

    Deterministic: by uri, so that neighbours in the source are neighbours in a batch. Returns entries and shard count.
    """
    ordered = sorted(entries, key=lambda entry: entry.uri)
    total = sum(entry.size_bytes for entry in ordered if entry.action is not Action.DELETE)
    shards = min(max_shards, max(1, -(-total // shard_bytes)))
    share = max(1, -(-total // shards))
    cut: list[PlanEntry] = []
    seen = 0
    for entry in ordered:
        if entry.action is Action.DELETE:
            cut.append(entry)
            continue
        cut.append(replace(entry, shard=min(shards - 1, seen // share)))
        seen += entry.size_bytes
    used = 1 + max((entry.shard for entry in cut if entry.shard is not None), default=0)
    return tuple(cut), used


def _entry(listed: Listed, action: Action, current: KnownDocument | None, *, tenant: str, source: str) -> PlanEntry:
    return PlanEntry(
        document_id=ids.document_id(tenant=tenant, source=source, uri=listed.uri),
        uri=listed.uri,
        action=action,
        base=None if current is None else current.generation,
        stamp=listed.stamp,
        size_bytes=listed.size_bytes,
        shard=None,
        changed_at=listed.changed_at,
    )
