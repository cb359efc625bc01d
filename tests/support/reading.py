"""A small index that readers read: both memory stores, and the ledger's read side as a twin in memory."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

import numpy as np
import numpy.typing as npt

from concordance import ids
from concordance.chunking.bm25 import document_vector
from concordance.embedding import Embedder
from concordance.errors import Misconfigured
from concordance.ledger.reading import Promise
from concordance.model import Content, DocumentRow, GenerationKey, IndexVersion, ModelFingerprint, Span, StoredChunk
from concordance.stores.memory import MemoryGraph, MemoryVectors
from support.index_rows import DIMENSION, Written, chunk_rows, graph_batch, index_version, points

TIMEOUT_SECONDS = 10.0


@dataclass(slots=True)
class LedgerState:
    """What the twin of the ledger holds of one index version; tests change it as a run, an erase or a vandal would."""

    live: IndexVersion | None = None
    rows: dict[UUID, DocumentRow] = field(default_factory=dict)
    chunks: dict[GenerationKey, list[StoredChunk]] = field(default_factory=dict)
    chunk_counts: dict[GenerationKey, int] = field(default_factory=dict)
    dirty: set[GenerationKey] = field(default_factory=set)
    promises: dict[GenerationKey, Promise] = field(default_factory=dict)
    forbidden: dict[str, int] = field(default_factory=dict)
    quarantined: set[UUID] = field(default_factory=set)


class MemorySnapshot:
    def __init__(self, state: LedgerState) -> None:
        self._state = state

    def live(self) -> IndexVersion:
        if self._state.live is None:
            raise Misconfigured("nothing was published yet: run an ingest")
        return self._state.live

    def current(self, version: IndexVersion, keys: Collection[GenerationKey]) -> Mapping[GenerationKey, DocumentRow]:
        rows = self._state.rows
        return {
            key: rows[key.document_id]
            for key in keys
            if key.document_id in rows and rows[key.document_id].generation == key.generation
        }

    def documents(self, version: IndexVersion, document_ids: Collection[UUID]) -> Mapping[UUID, DocumentRow]:
        return {
            document_id: self._state.rows[document_id]
            for document_id in document_ids
            if document_id in self._state.rows
        }

    def kept(self) -> list[IndexVersion]:
        return [self.live()]

    def stale(self, version: IndexVersion, document_ids: Collection[UUID]) -> set[UUID]:
        return {document_id for document_id in document_ids if document_id in self._state.quarantined}

    def committed(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]:
        chunks = (
            replace(chunk, document_digest=_digest_of(row))
            for row in self._state.rows.values()
            for chunk in self._state.chunks.get(GenerationKey(row.document_id, row.generation), ())
            if span is None or span.first <= chunk.chunk_id <= span.last
        )
        return iter(sorted(chunks, key=lambda chunk: chunk.chunk_id))

    def promises(self, version: IndexVersion, *, after: UUID, limit: int) -> list[Promise]:
        keys = sorted(GenerationKey(row.document_id, row.generation) for row in self._state.rows.values())
        return self._promised([key for key in keys if key.document_id > after][:limit])

    def promises_of(self, version: IndexVersion, keys: Collection[GenerationKey]) -> list[Promise]:
        return self._promised(sorted(self.current(version, keys)))

    def _promised(self, keys: Sequence[GenerationKey]) -> list[Promise]:
        return [
            replace(
                self._state.promises[key],
                is_dirty=key in self._state.dirty,
                text_digests=tuple(
                    chunk.text_digest
                    for chunk in sorted(self._state.chunks.get(key, ()), key=lambda chunk: chunk.ordinal)
                ),
            )
            for key in keys
        ]

    def miscounted(self, version: IndexVersion) -> list[GenerationKey]:
        keys = (GenerationKey(row.document_id, row.generation) for row in self._state.rows.values())
        return [key for key in keys if len(self._state.chunks.get(key, ())) != self._state.chunk_counts.get(key, 0)]

    def overdue(self, version: IndexVersion, *, seconds: float) -> list[GenerationKey]:
        return []

    def forbidden_history(self) -> dict[str, int]:
        return self._state.forbidden

    def in_flight(self, version: IndexVersion) -> Collection[GenerationKey]:
        return self._state.dirty

    def counts(self, version: IndexVersion) -> Mapping[str, int]:
        current = (GenerationKey(row.document_id, row.generation) for row in self._state.rows.values())
        return {
            "documents": len(self._state.rows),
            "chunks": sum(self._state.chunk_counts.get(key, 0) for key in current),
            "in_flight": len(self._state.dirty),
        }


class MemoryLedger:
    """The read side of the ledger. A snapshot is a copy: what a test changes later belongs to the next one."""

    def __init__(self) -> None:
        self.state = LedgerState()
        self.erased_documents: set[UUID] = set()
        self.snapshots = 0

    @contextmanager
    def snapshot(self) -> Iterator[MemorySnapshot]:
        self.snapshots += 1
        state = self.state
        yield MemorySnapshot(
            LedgerState(
                live=state.live,
                rows=dict(state.rows),
                chunks={key: list(chunks) for key, chunks in state.chunks.items()},
                chunk_counts=dict(state.chunk_counts),
                dirty=set(state.dirty),
                promises=dict(state.promises),
                forbidden=dict(state.forbidden),
            )
        )

    def erased(self, document_ids: Collection[UUID]) -> Collection[UUID]:
        return self.erased_documents & set(document_ids)


def promise(version: IndexVersion, document: Written) -> Promise:
    """What the ledger would hold of the document, as its load would have computed it."""
    batch, row = graph_batch(version, document), document.row
    mentions: Counter[str] = Counter()
    for mention in batch.mentions:
        mentions[mention.entity_key] += mention.count
    content = Content(
        text_digests=tuple(chunk.text_digest for chunk in batch.chunks),
        mentions=dict(mentions),
        entities=frozenset((str(edge.role), edge.entity_key) for edge in batch.document_entities),
        relations=frozenset((str(each.kind), each.subject_key, each.object_key) for each in batch.relations),
        links=frozenset((str(link.kind), link.target_id) for link in batch.links),
        title=row.title,
        access=row.access,
        fingerprint=row.fingerprint,
    )
    links = tuple(sorted(f"{link.kind} {link.target_id}" for link in batch.links))
    shown = replace(row, stamp="stamp", content_digest=content.digest, links=links)
    return Promise(shown, len(batch.chunks), False, content.text_digests)


def _digest_of(row: DocumentRow) -> bytes:
    return ids.document_digest(tenant=row.tenant, source=row.source, uri=row.uri, title=row.title, access=row.access)


class WordsEmbedder:
    """Vectors of words: texts that share words are near. Deterministic, and of the version's model."""

    def __init__(self, fingerprint: ModelFingerprint) -> None:
        self._fingerprint = fingerprint
        self.encoded = 0

    @property
    def fingerprint(self) -> ModelFingerprint:
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.encoded += len(texts)
        return np.stack([word_vector(text) for text in texts])


def word_vector(text: str) -> npt.NDArray[np.float32]:
    total = np.full(DIMENSION, 0.01)
    for word in text.casefold().split():
        total += np.random.default_rng(zlib.crc32(word.encode())).normal(size=DIMENSION)
    return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


class Index:
    """Documents in all three, committed; `load` alone writes what nobody may see yet."""

    def __init__(self) -> None:
        self.version = replace(index_version(), state="live")
        self.ledger = MemoryLedger()
        self.ledger.state.live = self.version
        self.graph = MemoryGraph()
        self.vectors = MemoryVectors()
        self.embedder: Embedder = WordsEmbedder(self.version.settings.model)
        self.vectors.prepare(self.version)
        self.graph.point_to(self.version)
        self.graph.describe(self.version, "what is frozen with it")
        self.vectors.point_to(self.version)

    def build(self, embedder: Embedder) -> IndexVersion:
        """A further version of that model: what is added from here on is in it. The live one stays live."""
        settings = replace(self.version.settings, model=embedder.fingerprint)
        self.version = replace(self.version, version=self.version.version + 1, settings=settings)
        self.embedder = embedder
        self.vectors.prepare(self.version)
        return self.version

    def add(self, *documents: Written) -> None:
        self.load(*documents)
        self.publish(*documents)

    def load(self, *documents: Written) -> None:
        """Both stores have it, the ledger says that it is in flight."""
        self.graph.write(self.version, graph_batch(self.version, *documents), timeout_seconds=TIMEOUT_SECONDS)
        self.vectors.upsert(
            self.version,
            [
                replace(
                    point,
                    dense=self.embedder.encode([point.text])[0],
                    sparse=document_vector(point.text, self.version.settings),
                )
                for point in points(self.version, *documents)
            ],
            timeout_seconds=TIMEOUT_SECONDS,
        )
        for document in documents:
            self.ledger.state.dirty.add(document.key)
            self.ledger.state.chunks[document.key] = self.stored(document)
            self.ledger.state.chunk_counts[document.key] = len(document.texts)
            self.ledger.state.promises[document.key] = promise(self.version, document)

    def publish(self, *documents: Written) -> None:
        for document in documents:
            before = self.ledger.state.rows.get(document.document_id)
            if before is not None:
                self.ledger.state.dirty.add(GenerationKey(before.document_id, before.generation))
            self.ledger.state.rows[document.document_id] = document.row
            self.ledger.state.dirty.discard(document.key)
        settled = [promise(self.version, document).row for document in documents]
        self.graph.settle(self.version, settled, timeout_seconds=TIMEOUT_SECONDS)
        self.vectors.settle(self.version, [document.key for document in documents], timeout_seconds=TIMEOUT_SECONDS)

    def stored(self, document: Written) -> list[StoredChunk]:
        return [
            StoredChunk(row.chunk_id, row.document_id, row.generation, row.ordinal, row.text_digest)
            for row in chunk_rows(self.version, document)
        ]
