"""What a run works with when only the stores and the staging area are replaced: ledger and parser are the real ones."""

from __future__ import annotations

from typing import Any

from concordance.embedding.hashing import HashEmbedder
from concordance.embedding.models import KeptModels
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings
from concordance.staging import Staging


def memory_adapters(
    ledger: Ledger, settings: Settings, parser: Parser, *, source: Any, graph: Any, vectors: Any, staging: str
) -> Adapters:
    """One source, under the name of its declaration; `staging` is an fsspec URL; hash vectors of 16 dimensions."""
    name = source.declaration.name
    return Adapters(
        ledger=ledger,
        graph=graph,
        vectors=vectors,
        staging=Staging(staging),
        parser=parser,
        embedder=HashEmbedder(dimension=16),
        kept_models=KeptModels(settings),
        declarations={name: source.declaration},
        settings=settings,
        opened={name: source},
    )
