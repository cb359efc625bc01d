"""What is frozen with an index version."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from concordance import ids


@dataclass(frozen=True, slots=True)
class ModelFingerprint:
    """Everything that decides the vectors of a text: the files' digests, revision, dimension, precision, backend."""

    name: str
    revision: str
    files_digest: str
    dimension: int
    window_tokens: int
    precision: str
    backend: str

    @property
    def digest(self) -> str:
        return ids.digest(asdict(self))


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What belongs to an index version and is frozen with it: an ingest uses these, only a re-index adopts new ones."""

    chunk_min_tokens: int
    chunk_max_tokens: int
    header_max_tokens: int
    chunker_revision: int
    parser_revision: int
    entities_revision: int
    bm25_k1: float
    bm25_b: float
    bm25_average_tokens: float
    gazetteer_digest: str
    model: ModelFingerprint
    boilerplate_digest: str = ""

    @property
    def digest(self) -> str:
        return ids.digest(asdict(self))

    @property
    def cut_digest(self) -> str:
        """Digest of what decides the chunks of a document, their mentions and links: two versions that share it cut
        alike. The model is in it for its tokenizer and window; what decides only vectors is not."""
        fields = asdict(self)
        decides_vectors_only = ("bm25_k1", "bm25_b", "bm25_average_tokens", "model")
        cut = {name: value for name, value in fields.items() if name not in decides_vectors_only}
        return ids.digest({**cut, "model": [self.model.files_digest, self.model.window_tokens]})

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> IndexSettings:
        return cls(**{**stored, "model": ModelFingerprint(**stored["model"])})


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """One complete graph + vector index; `collection` is its Qdrant collection."""

    version: int
    state: str
    settings: IndexSettings
    epoch: int = 0

    @property
    def collection(self) -> str:
        return f"concordance_v{self.version:06d}"
