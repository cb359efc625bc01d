"""The relevance gate's queries: golden ones from a file, and known items of the live version's documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from concordance.errors import Misconfigured
from concordance.ledger.reading import Snapshot
from concordance.model import ChunkRow, GenerationKey, IndexVersion
from concordance.pipeline.adapters import Adapters
from concordance.quality.relevance import CurrentDocument, KnownItems, Query, golden_queries, sample
from concordance.settings import Settings

_PAGE_DOCUMENTS = 1_000


@dataclass(frozen=True, slots=True)
class GateQueries:
    """What is asked. `documents` is the sample of the live version's `held` documents that known items are made of,
    `tenants` are whose documents it holds, `warnings` what is wrong with the golden ones."""

    queries: tuple[Query, ...]
    documents: tuple[CurrentDocument, ...]
    held: int
    tenants: frozenset[str]
    warnings: tuple[str, ...]


def gate_queries(live: IndexVersion, *, adapters: Adapters, settings: Settings, seed: int) -> GateQueries:
    """Golden queries first, then known items. Raises `Misconfigured` for a bad file, `Unavailable`."""
    golden, overview, known = _golden(settings), _Overview(), KnownItems(seed=seed)
    with adapters.ledger.snapshot() as snapshot:
        documents = sample(overview.of(snapshot, live), seed=seed, at_most=settings.relevance_sample_documents)
        warnings = _unknown(golden, live, snapshot)
    for document, chunks in texts_of(live, documents, adapters=adapters, settings=settings):
        known.read(document.row, chunks)
    return GateQueries(
        queries=(*golden, *known.queries(at_most=settings.relevance_queries)),
        documents=tuple(documents),
        held=overview.documents,
        tenants=frozenset(overview.tenants),
        warnings=tuple(warnings),
    )


def texts_of(
    version: IndexVersion, documents: Sequence[CurrentDocument], *, adapters: Adapters, settings: Settings
) -> Iterator[tuple[CurrentDocument, list[ChunkRow]]]:
    """Each of the documents with its chunks, which are read some thousand at a time."""
    for some in _pages(documents, settings.gate_slice_rows):
        chunks: dict[UUID, list[ChunkRow]] = {document.row.document_id: [] for document in some}
        keys = [GenerationKey(document.row.document_id, document.row.generation) for document in some]
        for chunk in adapters.graph.chunk_rows(version, keys):
            chunks[chunk.document_id].append(chunk)
        yield from ((document, chunks[document.row.document_id]) for document in some)


def _pages(documents: Sequence[CurrentDocument], chunks: int) -> Iterator[list[CurrentDocument]]:
    """The documents in order, as many at a time as have so many chunks together, but always one."""
    page: list[CurrentDocument] = []
    for document in documents:
        if page and sum(each.chunks for each in page) + document.chunks > chunks:
            yield page
            page = []
        page.append(document)
    if page:
        yield page


def _golden(settings: Settings) -> list[Query]:
    if not settings.golden_queries_file:
        return []
    path = Path(settings.golden_queries_file)
    try:
        with path.open("rb") as file:
            content = file.read(settings.golden_max_bytes + 1)
    except OSError as error:
        raise Misconfigured(
            f"The file of golden queries {path} cannot be read ({type(error).__name__}): make it readable, or empty "
            "the setting golden_queries_file"
        ) from None
    return golden_queries(content, name=str(path), settings=settings)


def _unknown(golden: Sequence[Query], live: IndexVersion, snapshot: Snapshot) -> list[str]:
    """A warning when golden queries name documents that are not in the live version."""
    wanted = {document_id for query in golden for document_id in query.relevant}
    missing = wanted - snapshot.documents(live, wanted).keys()
    asking = sorted(query.identity for query in golden if not missing.isdisjoint(query.relevant))
    return (
        [
            f"{len(missing)} documents of golden queries are not in the live version ({', '.join(asking[:5])}"
            f"{', ...' if len(asking) > 5 else ''}): these queries count as answered the less"
        ]
        if missing
        else []
    )


@dataclass(slots=True)
class _Overview:
    """What the live version holds, counted while its documents pass."""

    documents: int = 0
    tenants: set[str] = field(default_factory=set)

    def of(self, snapshot: Snapshot, live: IndexVersion) -> Iterator[CurrentDocument]:
        last = UUID(int=0)
        while page := snapshot.promises(live, after=last, limit=_PAGE_DOCUMENTS):
            for promise in page:
                self.documents += 1
                self.tenants.add(promise.row.tenant)
                yield CurrentDocument(promise.row, promise.chunk_count)
            last = page[-1].row.document_id
