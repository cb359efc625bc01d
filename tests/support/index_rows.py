"""Rows of an invented small index, for the suites that write into stores."""

from __future__ import annotations

import itertools
import random
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from concordance import ids
from concordance.model import (
    ChunkRow,
    DocumentEntityRow,
    DocumentRow,
    Entity,
    EntityRole,
    EntityRow,
    EntityType,
    GenerationKey,
    GraphBatch,
    IndexSettings,
    IndexVersion,
    LinkKind,
    LinkRow,
    MentionRow,
    ModelFingerprint,
    Point,
    RelationKind,
    RelationRow,
    SparseVector,
    Vector,
)

DIMENSION = 8
_numbers = itertools.count(random.SystemRandom().randrange(1, 900_000))


def index_version(number: int | None = None, *, dimension: int = DIMENSION) -> IndexVersion:
    """An index version that no other test of this run uses, so that tests can share one server."""
    model = ModelFingerprint(
        name="invented",
        revision="1",
        files_digest="0" * 64,
        dimension=dimension,
        window_tokens=256,
        precision="float32",
        backend="hash",
    )
    settings = IndexSettings(
        chunk_min_tokens=16,
        chunk_max_tokens=64,
        header_max_tokens=8,
        chunker_revision=1,
        parser_revision=1,
        entities_revision=1,
        bm25_k1=1.2,
        bm25_b=0.75,
        bm25_average_tokens=20.0,
        gazetteer_digest="0" * 64,
        model=model,
    )
    return IndexVersion(version=next(_numbers) if number is None else number, state="building", settings=settings)


@dataclass(frozen=True, slots=True)
class Written:
    """What one document says; the rows are computed from it.

    `mentions` gives, by chunk ordinal, names with their counts; `requires` pairs of package names; `links` uris;
    `headings` a heading path for each text.
    """

    uri: str
    generation: int = 1
    texts: Sequence[str] = ("first words", "second words")
    title: str | None = "A title"
    tenant: str = "acme"
    source: str = "manuals"
    access: tuple[str, ...] = ("public",)
    mentions: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    authors: Sequence[str] = ()
    requires: Sequence[tuple[str, str]] = ()
    links: Sequence[str] = ()
    headings: Sequence[tuple[str, ...]] = ()

    @property
    def document_id(self) -> UUID:
        return ids.document_id(tenant=self.tenant, source=self.source, uri=self.uri)

    @property
    def key(self) -> GenerationKey:
        return GenerationKey(self.document_id, self.generation)

    @property
    def row(self) -> DocumentRow:
        return DocumentRow(
            document_id=self.document_id,
            tenant=self.tenant,
            source=self.source,
            uri=self.uri,
            generation=self.generation,
            title=self.title,
            fingerprint=ids.digest([self.uri, self.generation]),
            access=self.access,
        )

    def chunk_ids(self, version: IndexVersion) -> list[UUID]:
        return [
            ids.chunk_id(
                index_version=version.version,
                document_id=self.document_id,
                generation=self.generation,
                ordinal=ordinal,
            )
            for ordinal in range(len(self.texts))
        ]

    def package(self, name: str) -> EntityRow:
        return _entity(Entity(EntityType.PACKAGE, name), self.tenant)

    def person(self, name: str) -> EntityRow:
        return _entity(Entity(EntityType.PERSON, name), self.tenant)


def _entity(entity: Entity, tenant: str) -> EntityRow:
    return EntityRow(entity.key(tenant), tenant, entity.type, entity.name)


def graph_batch(version: IndexVersion, *documents: Written) -> GraphBatch:
    """The rows of these documents, as one load transaction carries them."""
    entities: dict[str, EntityRow] = {}
    mentions: list[MentionRow] = []
    metadata: list[DocumentEntityRow] = []
    relations: list[RelationRow] = []

    def known(row: EntityRow) -> str:
        return entities.setdefault(row.entity_key, row).entity_key

    for document in documents:
        chunk_ids = document.chunk_ids(version)
        for ordinal, names in document.mentions.items():
            for name, count in names.items():
                mentions.append(MentionRow(known(document.package(name)), chunk_ids[ordinal], count))
        for name in document.authors:
            person = known(document.person(name))
            metadata.append(DocumentEntityRow(document.document_id, person, EntityRole.AUTHOR, document.generation))
        for subject, required in document.requires:
            relations.append(
                RelationRow(
                    known(document.package(subject)),
                    known(document.package(required)),
                    RelationKind.REQUIRES,
                    document.document_id,
                    document.generation,
                )
            )
    return GraphBatch(
        documents=tuple(document.row for document in documents),
        chunks=tuple(row for document in documents for row in chunk_rows(version, document)),
        entities=tuple(entities.values()),
        mentions=tuple(mentions),
        document_entities=tuple(metadata),
        relations=tuple(relations),
        links=tuple(row for document in documents for row in link_rows(document)),
    )


def chunk_rows(version: IndexVersion, document: Written) -> list[ChunkRow]:
    return [
        ChunkRow(
            chunk_id=chunk_id,
            document_id=document.document_id,
            generation=document.generation,
            ordinal=ordinal,
            text=text,
            text_digest=ids.text_digest(text),
            heading_path=document.headings[ordinal] if document.headings else ("Guide", f"Part {ordinal}"),
        )
        for ordinal, (chunk_id, text) in enumerate(zip(document.chunk_ids(version), document.texts, strict=True))
    ]


def link_rows(document: Written) -> list[LinkRow]:
    return [
        LinkRow(
            document_id=document.document_id,
            target_id=ids.document_id(tenant=document.tenant, source=document.source, uri=uri),
            kind=LinkKind.REFERENCES,
            generation=document.generation,
        )
        for uri in document.links
    ]


def unit_vector(seed: str, dimension: int = DIMENSION) -> Vector:
    """A random direction that depends on `seed` alone."""
    drawn = np.random.default_rng(zlib.crc32(seed.encode("utf-8", "surrogatepass"))).normal(size=dimension)
    return np.asarray(drawn / np.linalg.norm(drawn), dtype=np.float32)


def term(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def bag_of_words(text: str) -> SparseVector:
    counts = Counter(term(word) for word in text.split())
    return SparseVector(tuple(sorted(counts)), tuple(float(counts[each]) for each in sorted(counts)))


def points(version: IndexVersion, *documents: Written) -> list[Point]:
    return [point for document in documents for point in _points(version, document)]


def _points(version: IndexVersion, document: Written) -> Iterable[Point]:
    for row in chunk_rows(version, document):
        yield Point(
            chunk_id=row.chunk_id,
            document_id=row.document_id,
            generation=row.generation,
            ordinal=row.ordinal,
            tenant=document.tenant,
            source=document.source,
            uri=document.uri,
            title=document.title,
            heading_path=row.heading_path,
            text=row.text,
            text_digest=row.text_digest,
            access=document.access,
            dense=unit_vector(row.text, version.settings.model.dimension),
            sparse=bag_of_words(row.text),
        )
