"""Memory stores that count what is written to them: for "refused before the first write"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from concordance import ids
from concordance.errors import PoisonDocument
from concordance.ledger import Ledger
from concordance.model import Entity, Listed, RawDocument, Reason
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings
from concordance.sources.declaration import SourceDeclaration
from concordance.stores.memory import MemoryGraph, MemoryVectors
from support.memory_adapters import memory_adapters
from support.shelves import SOURCE

WRITES = frozenset(("write", "write_links", "settle", "hide", "sweep", "upsert"))


@dataclass
class Watched:
    """A store whose writes are counted."""

    store: Any
    writes: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name in WRITES:
            self.writes.append(name)
        return getattr(self.store, name)


@dataclass
class PaperShelf:
    """A source whose documents are entries of a dict."""

    documents: dict[str, str] = field(default_factory=dict)
    declaration: SourceDeclaration = field(
        default_factory=lambda: SourceDeclaration(name=SOURCE, kind="files", tenant="acme", location=".")
    )
    path_uris: ClassVar[bool] = True

    def list(self, subpath: str = "") -> Iterator[Listed]:
        del subpath
        for uri, text in sorted(self.documents.items()):
            yield Listed(uri, ids.text_digest(text), len(text))

    def read(self, uri: str) -> RawDocument:
        if uri not in self.documents:
            raise PoisonDocument(f"document {uri} is gone", reason=Reason.UNREADABLE)
        text = self.documents[uri]
        return RawDocument(uri, text.encode(), media_type="text/markdown", stamp=ids.text_digest(text))

    def names(self) -> Iterator[Entity]:
        yield from ()


@dataclass
class SmallHouse:
    """Everything of a run but the two stores' engines, which are in memory: ledger and parser are the real ones."""

    adapters: Adapters
    shelf: PaperShelf
    graph: Watched
    vectors: Watched

    @property
    def writes(self) -> list[str]:
        return [*self.graph.writes, *self.vectors.writes]

    def forget_writes(self) -> None:
        self.graph.writes.clear()
        self.vectors.writes.clear()

    def with_embedder(self, embedder: Any) -> Adapters:
        return replace(self.adapters, embedder=embedder)


def small_house(
    ledger: Ledger,
    settings: Settings,
    parser: Parser,
    *,
    staging: Path,
    documents: Mapping[str, str] | None = None,
    shelf: PaperShelf | None = None,
) -> SmallHouse:
    """Run it with `support.shelves.run_ungated`."""
    shelf = shelf or PaperShelf()
    shelf.documents.update(documents or {})
    graph, vectors = Watched(MemoryGraph()), Watched(MemoryVectors())
    # One thread: what a seed decides while documents are read must come in one order.
    small = {"chunk_min_tokens": 16, "chunk_max_tokens": 40, "batch_chunks": 3}
    quick = settings.model_copy(update={**small, "retry_wait_seconds": 0.0, "read_ahead_documents": 0, "load_lanes": 1})
    adapters = memory_adapters(
        ledger, quick, parser, source=shelf, graph=graph, vectors=vectors, staging=f"file://{staging}"
    )
    return SmallHouse(adapters, shelf, graph, vectors)


def notes(count: int, *, edition: int = 0) -> dict[str, str]:
    """Documents of two sections each, which link to each other and share some of their texts."""
    return {
        f"note-{number}": f"# Note {number}\n\nEdition {edition} of the river and the stone {number}.\n\n"
        f"## Shared\n\nThe same words everywhere. See [next](/note-{(number + 1) % count}).\n"
        for number in range(count)
    }
