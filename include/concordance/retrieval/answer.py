"""What is asked and what is answered: strings and numbers, text without markup, nothing internal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A question of one tenant's reader, who carries `access` labels. `limit` None means the setting `search_limit`."""

    text: str
    tenant: str
    access: tuple[str, ...]
    limit: int | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class NamedEntity:
    type: str
    name: str


@dataclass(frozen=True, slots=True)
class LinkedDocument:
    """A document that the hit's document links to, and that the reader may see."""

    document_id: UUID
    uri: str
    title: str | None


@dataclass(frozen=True, slots=True)
class Hit:
    """One chunk of a committed document. `score` is in 0..1 and compares hits of one answer only; `is_stale`: this is
    an older state of the document, the newer one is in quarantine."""

    document_id: UUID
    uri: str
    source: str
    title: str | None
    heading_path: tuple[str, ...]
    score: float
    snippet: str
    entities: tuple[NamedEntity, ...] = ()
    linked: tuple[LinkedDocument, ...] = ()
    is_stale: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "document_id": str(self.document_id),
            "uri": self.uri,
            "source": self.source,
            "title": self.title,
            "heading_path": list(self.heading_path),
            "score": round(self.score, 6),
            "snippet": self.snippet,
            "is_stale": self.is_stale,
            "entities": [{"name": entity.name, "type": entity.type} for entity in self.entities],
            "linked": [
                {"document_id": str(other.document_id), "uri": other.uri, "title": other.title} for other in self.linked
            ],
        }


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Hits, best first.

    `is_exhaustive` is False when the limit on candidates was reached before enough hits were found: there may be more.
    `missing_in_graph` counts hits that were left out because the graph lacks their chunk: 0 unless an erase is under
    way or the stores disagree, which `verify` tells apart.
    """

    hits: tuple[Hit, ...]
    index_version: int
    is_exhaustive: bool = True
    missing_in_graph: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "hits": [hit.as_json() for hit in self.hits],
            "index_version": self.index_version,
            "is_exhaustive": self.is_exhaustive,
            "missing_in_graph": self.missing_in_graph,
        }
