"""Extract: bytes to Markdown, metadata and links, then to chunks and entities. One shard; no store is touched.

A document that cannot pass leaves the run here, into quarantine with its reason; the others go on. What a document
becomes depends on nothing but its own bytes and metadata and on what is frozen with the index version.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace

from concordance import fault_points, ids
from concordance.chunking.splitter import Chunker
from concordance.chunking.tokens import load_tokenizer
from concordance.errors import PoisonDocument
from concordance.model import (
    Chunk,
    Entity,
    IndexVersion,
    Link,
    ParsedDocument,
    PlanEntry,
    RawDocument,
    Reason,
    Rejection,
)
from concordance.operations import correlation
from concordance.parsing.boilerplate import strip_blocks
from concordance.parsing.links import resolve_links
from concordance.parsing.parser import Parser
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.ahead import ahead
from concordance.pipeline.barred import without_erased
from concordance.pipeline.counted import count_work
from concordance.pipeline.fingerprint import fingerprint_under, source_digest
from concordance.pipeline.forecast import timed
from concordance.pipeline.index import Frozen, frozen_with
from concordance.pipeline.lease import run_lease
from concordance.pipeline.metadata import check_count, with_clean_names
from concordance.pipeline.plan import rejected_under
from concordance.pipeline.references import PlanReference, ShardReference
from concordance.pipeline.rejected import tell_rejected
from concordance.pipeline.staged import Row, find_staged, inputs_of, stage
from concordance.pipeline.version import version_of
from concordance.quality.texts import measure
from concordance.settings import Settings
from concordance.sources.port import Source


@timed
def extract(plan: PlanReference, shard: int, *, adapters: Adapters, settings: Settings) -> ShardReference:
    """The documents and chunks of one shard, as two artefacts; what was rejected is in the ledger's quarantine.

    Raises `Unavailable` when the source or the staging area does not answer.
    """
    version = version_of(plan, adapters=adapters, settings=settings)
    lease = run_lease(plan.run_id, plan.source, adapters=adapters, settings=settings)

    def extracted() -> Extracted:
        return rehearsed(plan, shard, adapters) or extract_shard(
            plan,
            shard,
            version,
            adapters=adapters,
            settings=settings,
            renew=lease.renew_when_due,
        )

    return stage_shard(plan, shard, version, extracted, adapters=adapters, settings=settings)


def stage_shard(
    plan: PlanReference,
    shard: int,
    version: IndexVersion,
    make: Callable[[], Extracted],
    *,
    adapters: Adapters,
    settings: Settings,
) -> ShardReference:
    """Stage what `make` gives for one shard, and record what it rejects; found, if an earlier attempt did so."""
    inputs = inputs_of(plan, shard, version.settings)
    found = find_staged(inputs, adapters.staging)
    if found is None:
        extracted = make()
        # Recorded before the artefacts are: an attempt that finds them need not know what was rejected.
        _quarantine(plan, extracted.rejections, version, adapters=adapters, settings=settings)
        found = stage(extracted.documents, extracted.chunks, inputs, adapters=adapters)
    documents, chunks = found
    staged = ShardReference(
        shard=shard, documents=documents, chunks=chunks, counts={"extracted": documents.rows, "chunks": chunks.rows}
    )
    count_work(plan, [staged], adapters=adapters)
    return staged


@dataclass(frozen=True, slots=True)
class Extracted:
    """What one shard's documents became: their rows and their chunks', and those that cannot pass."""

    documents: list[Row]
    chunks: list[Row]
    rejections: list[Rejection]


def rehearsed(plan: PlanReference, shard: int, adapters: Adapters) -> Extracted | None:
    """What an exact plan, of which this run does exactly the same, has extracted already; None if there was none."""
    if not plan.rehearsed:
        return None
    kept = plan.rehearsed[shard]
    artefacts = (kept.documents, kept.chunks, kept.rejections)
    if not all(map(adapters.staging.holds, artefacts)):
        # Their time was over before somebody carried the plan out: what it says is made again.
        return None
    documents, chunks, rejections = (
        tables.from_parquet(adapters.staging.read(artefact)).to_pylist() for artefact in artefacts
    )
    return Extracted(documents, chunks, [tables.rejection(row) for row in rejections])


@dataclass(frozen=True, slots=True)
class _Opened:
    """A document as its source gave it, but for the bytes, and as Markdown; the entry has the stamp of what was read.

    Several wait to be cut at a time: of their bytes only what is said of them is kept.
    """

    entry: PlanEntry
    raw: RawDocument
    digest: str
    size_bytes: int
    parsed: ParsedDocument


@dataclass(frozen=True, slots=True)
class _Refused:
    entry: PlanEntry
    poison: PoisonDocument


@dataclass(frozen=True, slots=True)
class _Extractor:
    """What turns one raw document into its rows; all of it is frozen with the index version."""

    source: Source
    version: IndexVersion
    frozen: Frozen
    parser: Parser
    chunker: Chunker
    settings: Settings

    def open(self, entry: PlanEntry) -> _Opened | _Refused:
        """Read and parse: what waits for the source and the parser's process, in several threads at once."""
        with correlation.bound(document_id=str(entry.document_id)):
            try:
                raw = self.source.read(entry.uri)
                check_count(raw, max_names=self.settings.max_names_per_document)
                raw = with_clean_names(raw)
                if raw.stamp is not None:
                    # What was read is what is loaded, or rejected, under its own stamp: the listing's may be of
                    # something else by now, which would then never be read.
                    entry = replace(entry, stamp=raw.stamp)
                digest = source_digest(raw, access=self.source.declaration.access)
                parsed = self.parser.parse(raw)
                return _Opened(entry, replace(raw, content=b""), digest, len(raw.content), parsed)
            except PoisonDocument as poison:
                return _Refused(entry, poison)

    def rows(self, opened: _Opened) -> tuple[Row, list[Row]]:
        """Raises `PoisonDocument` when the document has no text."""
        entry, raw, parsed = opened.entry, opened.raw, opened.parsed
        markdown = strip_blocks(parsed.markdown, self.frozen.boilerplate)
        chunks = self.chunker.chunks(markdown, title=parsed.title, max_chunks=self.settings.max_chunks_per_document)
        if not chunks:
            raise PoisonDocument(f"document {entry.uri} has no text to index", reason=Reason.NO_TEXT)
        # Only where uris are paths can a relative link name another document.
        found = resolve_links(parsed.targets, uri=entry.uri) if self.source.path_uris else ()
        links = {*raw.links, *found}
        measures = measure(markdown, languages=self.source.declaration.languages, settings=self.settings)
        document = {
            **self._document_row(opened, links),
            **asdict(measures),
            "text_characters": len(markdown),
            "chunk_count": len(chunks),
        }
        return document, [_chunk_row(entry, chunk) for chunk in self.frozen.gazetteer.linked(chunks)]

    def _document_row(self, opened: _Opened, links: set[Link]) -> Row:
        declaration, entry, raw = self.source.declaration, opened.entry, opened.raw
        return {
            "document_id": str(entry.document_id),
            "uri": entry.uri,
            "base": entry.base,
            "title": opened.parsed.title,
            "source_digest": opened.digest,
            "fingerprint": fingerprint_under(opened.digest, self.version.settings),
            "stamp": entry.stamp,
            "access": sorted(declaration.access),
            "source": declaration.name,
            "size_bytes": opened.size_bytes,
            "entities": ids.canonical_json([[e.role, e.entity.type, e.entity.name] for e in sorted(set(raw.entities))]),
            "relations": ids.canonical_json(
                [[r.kind, _pair(r.subject), _pair(r.object)] for r in sorted(set(raw.relations))]
            ),
            "links": ids.canonical_json(
                [[link.kind, link.target_uri] for link in sorted(links) if link.target_uri != entry.uri]
            ),
        }


def extract_shard(
    plan: PlanReference,
    shard: int,
    version: IndexVersion,
    *,
    adapters: Adapters,
    settings: Settings,
    renew: Callable[[], None],
) -> Extracted:
    """Read, parse and cut the documents of one shard; nothing is recorded. `renew` keeps the run's lease meanwhile, and
    is called for each of them."""
    entries = without_erased(tables.plan_entries(adapters.staging.read(plan.entries), shard=shard), adapters=adapters)
    return extract_entries(plan, entries, version, adapters=adapters, settings=settings, renew=renew)


def extract_entries(
    plan: PlanReference,
    entries: list[PlanEntry],
    version: IndexVersion,
    *,
    adapters: Adapters,
    settings: Settings,
    renew: Callable[[], None],
) -> Extracted:
    """The same for these documents of the plan."""
    extracted = Extracted([], [], [])
    source = adapters.source(plan.source)
    extractor = _Extractor(
        source=source,
        version=version,
        frozen=frozen_with(version, adapters),
        parser=adapters.parser,
        chunker=Chunker(version.settings, load_tokenizer(adapters.tokenizer_folder_of(version))),
        settings=settings,
    )
    opening = ahead(extractor.open, entries, count=settings.read_ahead_documents, threads=settings.parser_processes)
    with closing(opening):
        for opened in opening:
            renew()
            _add(extracted, opened, extractor)
    return extracted


def _add(extracted: Extracted, opened: _Opened | _Refused, extractor: _Extractor) -> None:
    entry = opened.entry
    try:
        if isinstance(opened, _Refused):
            raise opened.poison
        with correlation.bound(document_id=str(entry.document_id)):
            document, chunks = extractor.rows(opened)
    except PoisonDocument as poison:
        extracted.rejections.append(
            Rejection(entry.document_id, "extract", Reason(poison.reason), str(poison), entry.stamp)
        )
    else:
        extracted.documents.append(document)
        extracted.chunks.extend(chunks)


def _quarantine(
    plan: PlanReference, rejections: list[Rejection], version: IndexVersion, *, adapters: Adapters, settings: Settings
) -> None:
    under = rejected_under(version, settings, adapters.declarations[plan.source])
    with fault_points.around("plan.quarantine"):
        adapters.ledger.plans.quarantine(plan.plan_id, rejections, rejected_under=under)
    tell_rejected(rejections, source=plan.source)


def _pair(entity: Entity) -> list[str]:
    return [entity.type, entity.name]


def _chunk_row(entry: PlanEntry, chunk: Chunk) -> Row:
    return {
        "document_id": str(entry.document_id),
        "ordinal": chunk.ordinal,
        "text": chunk.text,
        "text_digest": chunk.text_digest,
        "token_count": chunk.token_count,
        "heading_path": list(chunk.heading_path),
        "mentions": ids.canonical_json([[m.entity.type, m.entity.name, m.count] for m in chunk.mentions]),
    }
