"""I3, document by document: what the graph holds of a generation is what the ledger says that it wrote.

The text part (the chunks' digests in order) is compared by I1 in both stores, row by row of digests computed from the
texts; here it is taken from the ledger. Entities with their counts, relations, links and metadata are read from the
graph and digested with it: the result must be the digest that the load put into its manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from concordance import ids
from concordance.consistency.invariants import Finding, Kind, Store, named
from concordance.consistency.ports import AuditLedger
from concordance.ledger.reading import Promise
from concordance.model import Anchor, Content, GenerationKey, IndexVersion, StoredContent
from concordance.slices import slices
from concordance.stores.ports import GraphStore

PAGE_DOCUMENTS = 500
MAX_TRACKED = 100_000


@dataclass(frozen=True, slots=True)
class Damage:
    """A document whose graph part, or whose row in the ledger, is not what was written."""

    key: GenerationKey
    store: Store
    what: str


def damaged_documents(version: IndexVersion, promises: Sequence[Promise], graph: GraphStore) -> list[Damage]:
    """Compare one page of generations; those that are being settled are left out."""
    settled = [promise for promise in promises if not promise.is_dirty]
    stored = graph.contents(version, [promise.key for promise in settled])
    awaited = {target for promise in settled for _, target in _links(promise) - stored[promise.key].links}
    there = graph.anchors(version, sorted(awaited))
    return [damage for promise in settled if (damage := _damage(promise, stored[promise.key], there)) is not None]


def every_page(ledger: AuditLedger, version: IndexVersion) -> Iterator[Sequence[Promise]]:
    """All current generations in pages by document id, each page of a moment of its own."""
    after = UUID(int=0)
    while True:
        with ledger.snapshot() as snapshot:
            page = snapshot.promises(version, after=after, limit=PAGE_DOCUMENTS)
        if page:
            yield page
        if len(page) < PAGE_DOCUMENTS:
            return
        after = page[-1].row.document_id


def confirmed(damages: Sequence[Damage], ledger: AuditLedger, version: IndexVersion, graph: GraphStore) -> list[Damage]:
    """Those that still hold against a newer snapshot, and that no run explains.

    A link may miss its target's node for the moment between the batch that brings the target and the links that waited
    for it: the target is then on the dirty list.
    """
    holding: list[Damage] = []
    for some in slices(damages, PAGE_DOCUMENTS):
        wanted = {damage.key for damage in some}
        with ledger.snapshot() as snapshot:
            moving = {key.document_id for key in snapshot.in_flight(version)}
            now = {promise.key: promise for promise in snapshot.promises_of(version, wanted)}
        holding += [
            damage
            for damage in damaged_documents(version, list(now.values()), graph)
            if damage.what != _LINKS or moving.isdisjoint(target for _, target in _links(now[damage.key]))
        ]
    return holding


def findings(damages: Sequence[Damage]) -> list[Finding]:
    """I3, one finding for each store and each thing that is wrong."""
    grouped: dict[tuple[Store, str], list[GenerationKey]] = {}
    for damage in damages:
        grouped.setdefault((damage.store, damage.what), []).append(damage.key)
    return [
        Finding("I3", Kind.ALTERED, store, len(keys), what, named(keys))
        for (store, what), keys in sorted(grouped.items())
    ]


_LINKS = "documents whose links are not all there"


def _damage(promise: Promise, stored: StoredContent, there: Mapping[UUID, Anchor]) -> Damage | None:
    row, links = promise.row, _links(promise)
    if ids.document_id(tenant=row.tenant, source=row.source, uri=row.uri) != row.document_id:
        return Damage(promise.key, Store.LEDGER, "documents whose id is not the one of their names")
    content = Content(
        text_digests=promise.text_digests,
        mentions=stored.mentions,
        entities=stored.entities,
        relations=stored.relations,
        links=links,
        title=row.title,
        access=row.access,
        fingerprint=row.fingerprint,
    )
    if content.digest != row.content_digest:
        return Damage(promise.key, Store.GRAPH, "documents whose content digest is not the one that was loaded")
    if not stored.links <= links or any(target in there for _, target in links - stored.links):
        return Damage(promise.key, Store.GRAPH, _LINKS)
    if stored.anchor is None or not _shows(stored.anchor, promise):
        return Damage(promise.key, Store.GRAPH, "Document nodes that do not show their current generation")
    count = promise.chunk_count
    if (stored.chunks, stored.live, stored.next_edges) != (count, count, max(0, count - 1)):
        return Damage(promise.key, Store.GRAPH, "documents whose chunks are not all joined and live")
    return None


def _shows(anchor: Anchor, promise: Promise) -> bool:
    """All but the stamp: a listing's new stamp for unchanged bytes is noted in the ledger alone."""
    row = promise.row
    return (
        (anchor.tenant, anchor.source, anchor.uri, anchor.generation)
        == (row.tenant, row.source, row.uri, row.generation)
        and (anchor.title, anchor.fingerprint, anchor.access) == (row.title, row.fingerprint, row.access)
        and (anchor.content_digest, anchor.links) == (row.content_digest, row.links)
    )


def _links(promise: Promise) -> frozenset[tuple[str, UUID]]:
    pairs = (link.split(" ", 1) for link in promise.row.links)
    return frozenset((kind, UUID(target)) for kind, target in pairs)
