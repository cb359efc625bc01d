"""`verify --rebuild-ledger`: an empty ledger is made anew from the two stores and the source declarations.

What a store alone could not tell stands on the Document nodes since their settle: stamp, fingerprint, content digest
and all links; and the graph keeps what is frozen with the index version. A document is taken over only if both stores
hold the same whole generation, shown in both, whose content has the digest that the node names. Everything else that
is found is closed, to be swept after the grace, and the next ingest loads what is missing.

What is erased is barred again first, from the staging area (`bars`); a barred document that a store holds all the same
(it was restored from before the erasure) is swept. What neither holds is lost with the ledger: quarantine (rejected
documents are tried again) and run history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from concordance import fault_points, ids
from concordance.consistency.bars import restore_bars
from concordance.consistency.invariants import generation_of
from concordance.errors import Conflict, Misconfigured
from concordance.ledger.rebuilding import FoundDocument, FoundVersion
from concordance.model import (
    Anchor,
    Content,
    DocumentRow,
    GenerationKey,
    IndexSettings,
    IndexVersion,
    StoredChunk,
    StoredContent,
)
from concordance.pipeline import index
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.publish import settle
from concordance.settings import Settings
from concordance.slices import slices

_PAGE_DOCUMENTS = 500


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What the new ledger holds, by kind, and what a person must know or do."""

    index_version: int
    counts: dict[str, int]
    notices: tuple[str, ...]


@dataclass(slots=True)
class _Rows:
    """The chunk ids and digests of each generation in one store."""

    of: dict[GenerationKey, dict[int, tuple[UUID, str, bytes | None]]] = field(default_factory=dict)

    def take(self, rows: Iterator[StoredChunk]) -> _Rows:
        for row in rows:
            self.of.setdefault(generation_of(row), {})[row.ordinal] = (row.chunk_id, row.text_digest, row.view_digest)
        return self


def rebuild_ledger(*, adapters: Adapters, settings: Settings) -> RebuildReport:
    """Make the ledger anew. Raises `Conflict` when it is not empty, `Misconfigured` or `Corrupt` when the stores do not
    say which index version is live or what is frozen with it. Nothing is deleted; a second call after a crash does it
    all, or finds the ledger filled.

    The digests of the whole index are held in memory: about 300 bytes a chunk and store.
    """
    if not adapters.ledger.rebuilding.is_empty():
        raise Conflict(
            "The ledger is not empty, so it is the truth: repair the stores by it (`verify --repair`). To make it anew "
            "all the same, empty it first"
        )
    found = _version(adapters)
    version = IndexVersion(version=found.version, state="live", settings=found.settings)
    # Before anything else: a ledger that is filled is never rebuilt again, so the bars must stand in it by then.
    barred = restore_bars(adapters)
    documents = list(_without_erased(list(_documents(version, adapters)), adapters))
    with fault_points.around("ledger.rebuild"):
        adapters.ledger.rebuilding.rebuild(found, documents)
    with adapters.ledger.snapshot() as snapshot:
        live = snapshot.live()
    settle(live, adapters=adapters, settings=settings)
    whole = [document for document in documents if document.chunks]
    return RebuildReport(
        index_version=found.version,
        counts={
            "documents taken over": len(whole),
            "chunks taken over": sum(len(document.chunks) for document in whole),
            "documents to load anew": len(documents) - len(whole),
            "erased documents barred": barred,
            "generations to sweep": sum(len(document.others) for document in documents),
        },
        notices=_notices(documents, adapters),
    )


def _version(adapters: Adapters) -> FoundVersion:
    graph, vectors = adapters.graph.pointer(), adapters.vectors.pointer()
    if graph is None or graph != vectors:
        raise Misconfigured(
            f"The graph points to index version {graph or 'none'}, the vectors to {vectors or 'none'}: nothing says "
            "which one was live. Restore the ledger from a backup, or build the index anew"
        )
    # Only the number is known yet; it is all that the names in the stores depend on.
    probe = _numbered(graph, adapters)
    description = adapters.graph.description(probe)
    if description is None:
        raise Misconfigured(
            f"The graph holds no description of index version {graph}: what is frozen with it is lost. Restore the "
            "ledger from a backup, or build the index anew"
        )
    settings, frozen = index.described(description)
    return FoundVersion(graph, settings, frozen)


def _numbered(number: int, adapters: Adapters) -> IndexVersion:
    unknown = IndexSettings(0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, "", adapters.embedder.fingerprint)
    return IndexVersion(version=number, state="live", settings=unknown)


def _documents(version: IndexVersion, adapters: Adapters) -> Iterator[FoundDocument]:
    graph = _Rows().take(adapters.graph.scan(version))
    vectors = _Rows().take(adapters.vectors.points(version))
    generations: dict[UUID, set[int]] = defaultdict(set)
    for key in (*graph.of, *vectors.of):
        generations[key.document_id].add(key.generation)
    anchors = {each.document_id: each for each in adapters.graph.documents(version)}
    for page in slices(sorted(anchors), _PAGE_DOCUMENTS):
        shown = [GenerationKey(each, anchors[each].generation or 0) for each in page]
        contents = adapters.graph.contents(version, shown)
        for key in shown:
            numbers = generations.pop(key.document_id, set())
            yield _document(anchors[key.document_id], key, numbers, graph, vectors, contents)
    yield from _without_anchor(version, generations, graph, vectors, adapters)


def _without_erased(documents: Sequence[FoundDocument], adapters: Adapters) -> Iterator[FoundDocument]:
    erased = adapters.ledger.erased([document.row.document_id for document in documents])
    for document in documents:
        if document.row.document_id in erased and document.chunks:
            yield replace(
                document, chunks=(), others={**document.others, document.row.generation: len(document.chunks)}
            )
        else:
            yield document


def _document(
    anchor: Anchor,
    key: GenerationKey,
    numbers: set[int],
    graph: _Rows,
    vectors: _Rows,
    contents: Mapping[GenerationKey, StoredContent],
) -> FoundDocument:
    row = DocumentRow(
        document_id=anchor.document_id,
        tenant=anchor.tenant,
        source=anchor.source,
        uri=anchor.uri,
        generation=key.generation,
        title=anchor.title,
        fingerprint=anchor.fingerprint or "",
        access=anchor.access or (),
        stamp=anchor.stamp or "",
        content_digest=anchor.content_digest or "",
        links=anchor.links or (),
    )
    chunks = _whole(row, graph.of.get(key, {}), vectors.of.get(key, {}), contents[key])
    others = _chunks_of(key.document_id, numbers - {key.generation} if chunks else numbers, graph, vectors)
    return FoundDocument(row, chunks, others, max(numbers, default=0))


def _chunks_of(document_id: UUID, numbers: set[int], graph: _Rows, vectors: _Rows) -> dict[int, int]:
    """How many chunks of each of the document's generations the store that has more of them holds."""
    keys = {number: GenerationKey(document_id, number) for number in sorted(numbers)}
    return {number: max(len(rows.of.get(key, ())) for rows in (graph, vectors)) for number, key in keys.items()}


def _whole(
    row: DocumentRow,
    in_graph: Mapping[int, tuple[UUID, str, bytes | None]],
    in_vectors: Mapping[int, tuple[UUID, str, bytes | None]],
    stored: StoredContent,
) -> tuple[tuple[UUID, str], ...]:
    """The generation's chunks in order if both stores hold it whole, shown, and with the content it was loaded with."""
    ordered = [in_graph[ordinal] for ordinal in sorted(in_graph)]
    is_same = in_graph == in_vectors and sorted(in_graph) == list(range(len(in_graph)))
    if not ordered or not is_same or stored.live != len(ordered):
        return ()
    content = Content(
        text_digests=tuple(digest for _, digest, _ in ordered),
        mentions=stored.mentions,
        entities=stored.entities,
        relations=stored.relations,
        links=frozenset((kind, UUID(target)) for kind, target in (link.split(" ", 1) for link in row.links)),
        title=row.title,
        access=row.access,
        fingerprint=row.fingerprint,
    )
    named = ids.document_id(tenant=row.tenant, source=row.source, uri=row.uri)
    if named != row.document_id or content.digest != row.content_digest:
        return ()
    return tuple((chunk_id, digest) for chunk_id, digest, _ in ordered)


def _without_anchor(
    version: IndexVersion,
    generations: Mapping[UUID, set[int]],
    graph: _Rows,
    vectors: _Rows,
    adapters: Adapters,
) -> Iterator[FoundDocument]:
    """Documents of which only points are left: named by their payload, and to be swept."""
    firsts = {
        document_id: next(
            (
                chunk_id
                for number in numbers
                for chunk_id, _, _ in vectors.of.get(GenerationKey(document_id, number), {}).values()
            ),
            None,
        )
        for document_id, numbers in generations.items()
    }
    wanted = [chunk_id for chunk_id in firsts.values() if chunk_id is not None]
    places = adapters.vectors.places(version, wanted)
    for document_id, numbers in generations.items():
        place = places.get(document_id)
        if place is None or ids.document_id(tenant=place.tenant, source=place.source, uri=place.uri) != document_id:
            continue  # nobody's: `verify --repair` removes it
        row = DocumentRow(document_id, place.tenant, place.source, place.uri, 0, None, "", ())
        yield FoundDocument(row, (), _chunks_of(document_id, numbers, graph, vectors), max(numbers))


def _notices(documents: Sequence[FoundDocument], adapters: Adapters) -> tuple[str, ...]:
    undeclared = sorted({each.row.source for each in documents} - set(adapters.declarations))
    notices = [
        "Erased documents are barred again as the staging area names them; if it was lost too, erase them again, from "
        "your receipts, before the next ingest",
        "Quarantine and run history are lost: documents that were rejected are tried again",
    ]
    if undeclared:
        notices.append(
            f"These sources are declared nowhere, so no ingest will ever follow them: {', '.join(undeclared)}"
        )
    return tuple(notices)
