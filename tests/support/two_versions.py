"""Two index versions of one corpus in memory stores, as a re-index leaves them before its gates; hash vectors.

`Corpus` invents documents that say something of their own; an `Edition` is what a chunker and a model made of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import numpy as np

from concordance.chunking.bm25 import document_vector
from concordance.chunking.words import common_words
from concordance.embedding import Embedder
from concordance.embedding.hashing import HashEmbedder
from concordance.embedding.models import KeptModels
from concordance.ledger.reading import Promise
from concordance.model import DocumentRow, GenerationKey, IndexVersion, Point
from concordance.pipeline.adapters import Adapters
from concordance.reindex.relevance import RelevanceResult, check_relevance
from concordance.settings import Settings
from concordance.staging import Staging
from concordance.stores.memory import MemoryGraph, MemoryVectors
from support.index_rows import Written, graph_batch, index_version, points
from support.reading import TIMEOUT_SECONDS, promise

DIMENSION = 64
_SECTION_WORDS = 60
Cut = Callable[[Sequence[str]], list[list[str]]]


@dataclass(frozen=True, slots=True)
class Article:
    """A document before it is cut: its place, and each section's heading and words."""

    uri: str
    title: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    tenant: str = "acme"
    source: str = "manuals"
    access: tuple[str, ...] = ("public",)

    def written(self, cut: Cut, *, generation: int) -> Written:
        texts, headings = [], []
        for heading, words in self.sections:
            for part in cut(words):
                texts.append(f"{self.title} > {heading}\n\n{' '.join(part)}.")
                headings.append((self.title, heading))
        return Written(
            uri=self.uri,
            generation=generation,
            texts=texts,
            title=self.title,
            tenant=self.tenant,
            source=self.source,
            access=self.access,
            headings=headings,
        )


def corpus(seed: int, *, documents: int = 40, **place: Any) -> list[Article]:
    """Articles of two sections; a third of the words of each belong to its subject, the others to all."""
    rng = random.Random(seed)
    words = sorted(word for word in common_words() if len(word) > 3)
    common = rng.sample(words, 300)

    def section(subject: Sequence[str]) -> tuple[str, ...]:
        return tuple(rng.choice(subject) if rng.random() < 0.33 else rng.choice(common) for _ in range(_SECTION_WORDS))

    articles = []
    for number in range(documents):
        subject = rng.sample(words, 25)
        sections = tuple((f"{subject[place]} {subject[place + 1]}", section(subject)) for place in (0, 2))
        articles.append(Article(f"article-{number}.md", f"{subject[4]} {subject[5]} {subject[6]}", sections, **place))
    return articles


def pieces(length: int) -> Cut:
    """A sound chunker: all words, so many to a chunk."""
    return lambda words: [list(words[start : start + length]) for start in range(0, len(words), length)]


def heads(length: int) -> Cut:
    """A broken chunker: only the first words of each section."""
    return lambda words: [list(words[:length])]


class NoisyEmbedder:
    """Encodes texts as another precision would: every vector off by seeded noise of this share of its length. What is
    asked is encoded as it should be: the fault is in what was built."""

    def __init__(self, inner: Embedder, *, noise: float) -> None:
        self._inner = inner
        self._noise = noise
        self.fingerprint = inner.fingerprint

    def encode(self, texts: Sequence[str]) -> Any:
        vectors = self._inner.encode(texts)
        noise = np.random.default_rng(7).normal(size=vectors.shape)
        noise *= self._noise / np.linalg.norm(noise, axis=1, keepdims=True)
        moved = vectors + noise
        return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), dtype=np.float32)


@dataclass(slots=True)
class _Ledger:
    """The read side of the ledger over several versions: what is current in each."""

    current: dict[int, dict[UUID, Promise]] = field(default_factory=dict)

    @contextmanager
    def snapshot(self) -> Iterator[_Snapshot]:
        yield _Snapshot({version: dict(promises) for version, promises in self.current.items()})


@dataclass(frozen=True, slots=True)
class _Snapshot:
    promised: Mapping[int, Mapping[UUID, Promise]]

    def promises(self, version: IndexVersion, *, after: UUID, limit: int) -> list[Promise]:
        found = self.promised[version.version]
        return [found[document_id] for document_id in sorted(found) if document_id > after][:limit]

    def current(self, version: IndexVersion, keys: Collection[GenerationKey]) -> dict[GenerationKey, DocumentRow]:
        found = self.documents(version, {key.document_id for key in keys})
        rows = {key: found[key.document_id] for key in keys if key.document_id in found}
        return {key: row for key, row in rows.items() if row.generation == key.generation}

    def documents(self, version: IndexVersion, document_ids: Collection[UUID]) -> dict[UUID, DocumentRow]:
        found = self.promised[version.version]
        return {each: found[each].row for each in document_ids if each in found}


class TwoVersions:
    """`live` and `following`, both empty at first, on one pair of memory stores."""

    def __init__(
        self,
        staging: Path,
        *,
        settings: Settings,
        model: Embedder | None = None,
        live_model: Embedder | None = None,
        kept: str = "",
    ) -> None:
        """`model` is that of `following`, named by the setting `kept` where it is not the hash backend's."""
        self.settings = settings
        self.embedder: Embedder = live_model or HashEmbedder(DIMENSION)
        self.models = {1: self.embedder, 2: model or self.embedder}
        self._kept = kept or (f"hash={model.fingerprint.dimension}" if model else "")
        self.live, self.following = (self._version(number, state) for number, state in ((1, "live"), (2, "ready")))
        self.graph, self.vectors, self.ledger = MemoryGraph(), MemoryVectors(), _Ledger({1: {}, 2: {}})
        self.staging = Staging(f"file://{staging}")
        for version in (self.live, self.following):
            self.vectors.prepare(version)

    def _version(self, number: int, state: str) -> IndexVersion:
        made = index_version(number)
        return replace(made, state=state, settings=replace(made.settings, model=self.models[number].fingerprint))

    def build(
        self, version: IndexVersion, articles: Sequence[Article], *, cut: Cut | None = None, embedder: Any = None
    ) -> list[Written]:
        """What a chunker and a model make of the articles, written and published; generations differ by version."""
        written = [article.written(cut or pieces(30), generation=version.version) for article in articles]
        self.load(version, written, embedder=embedder)
        for document in written:
            self.ledger.current[version.version][document.document_id] = promise(version, document)
        return written

    def load(self, version: IndexVersion, written: Sequence[Written], *, embedder: Any = None) -> None:
        """Both stores have it, the ledger does not show it."""
        self.graph.write(version, graph_batch(version, *written), timeout_seconds=TIMEOUT_SECONDS)
        bare = points(version, *written)
        vectors = (embedder or self.models[version.version]).encode([point.text for point in bare])
        made = [
            replace(point, dense=vector, sparse=document_vector(point.text, version.settings))
            for point, vector in zip(bare, vectors, strict=True)
        ]
        self.vectors.upsert(version, made, timeout_seconds=TIMEOUT_SECONDS)

    def alter(self, version: IndexVersion, document: Written, **changes: Any) -> None:
        """A vandal: points of the document say something else in their payload."""
        altered: list[Point] = []
        vectors = self.vectors.vectors(version, document.chunk_ids(version))
        for point in points(version, document):
            sparse = document_vector(point.text, version.settings)
            altered.append(replace(point, dense=vectors[point.chunk_id], sparse=sparse, **changes))
        self.vectors.rewrite(version, altered, timeout_seconds=TIMEOUT_SECONDS)

    def judged(self, *, seed: int = 1, vectors: MemoryVectors | None = None, **changes: Any) -> RelevanceResult:
        """What the gate says of `following`; `changes` are settings."""
        settings = self.settings.model_copy(update=changes)
        adapters = Adapters(
            ledger=cast(Any, self.ledger),
            graph=self.graph,
            vectors=vectors or self.vectors,
            staging=self.staging,
            parser=cast(Any, None),
            embedder=self.embedder,
            kept_models=KeptModels(settings.model_copy(update={"kept_models": self._kept})),
            declarations={},
            settings=settings,
        )
        return check_relevance(
            self.live,
            self.following,
            adapters=adapters,
            settings=settings,
            seed=seed,
        )
