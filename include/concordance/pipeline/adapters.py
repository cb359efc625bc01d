"""What a stage works with: the ledger, the two stores, the staging area, the parser, the embedder and the sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from concordance.embedding.models import KeptModels, Model, model_of
from concordance.embedding.port import Embedder
from concordance.errors import Misconfigured
from concordance.ledger import Ledger, open_ledger
from concordance.model import IndexVersion
from concordance.operations.correlation import Threads
from concordance.operations.process import give_back_large_blocks
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from concordance.sources import kinds
from concordance.sources.declaration import SourceDeclaration, load_declarations
from concordance.sources.port import Source
from concordance.staging import Staging
from concordance.stores.ports import GraphStore, VectorStore


@dataclass(frozen=True, slots=True)
class Adapters:
    """One of each; nothing connects before its first use. `embedder` is the configured one, which new index versions
    are built with; what reads or writes a version asks for the version's own."""

    ledger: Ledger
    graph: GraphStore
    vectors: VectorStore
    staging: Staging
    parser: Parser
    embedder: Embedder
    kept_models: KeptModels
    declarations: Mapping[str, SourceDeclaration]
    settings: Settings
    opened: dict[str, Source] = field(default_factory=dict)

    def source(self, name: str) -> Source:
        """The declared source of this name. Raises `Misconfigured` naming those that there are."""
        if name not in self.declarations:
            known = ", ".join(sorted(self.declarations)) or "none"
            raise Misconfigured(f"There is no source {name!r} in {self.settings.sources_file}; declared are: {known}")
        if name not in self.opened:
            self.opened[name] = kinds.open_source(self.declarations[name], self.settings)
        return self.opened[name]

    def embedder_of(self, version: IndexVersion) -> Embedder:
        """The embedder that the version was built with. Raises `Misconfigured` when no model here is the version's."""
        return self._model_of(version).embedder

    def tokenizer_folder_of(self, version: IndexVersion) -> Path:
        """The folder of the tokenizer that the version's texts are cut by. Raises `Misconfigured` likewise."""
        return self._model_of(version).tokenizer_folder

    def _model_of(self, version: IndexVersion) -> Model:
        return model_of(version, configured=self.embedder, kept=self.kept_models, settings=self.settings)


@contextmanager
def open_adapters(settings: Settings, *, encodes_at_once: bool = False) -> Iterator[Adapters]:
    """The adapters that the settings name; closed with the block. Who `encodes_at_once` finds the model loaded.

    What this process frees is given back from then on, see `give_back_large_blocks`.
    """
    give_back_large_blocks()
    # The drivers take a second and a half to import: who only needs the shapes above does not pay for them.
    from concordance.embedding.backends import open_embedder, open_loaded_embedder
    from concordance.stores import open_graph, open_vectors

    # Files of a model are read and compiled without the interpreter's lock, which those imports hold.
    with Threads(1, thread_name_prefix="model") as beside:
        opening = beside.submit(open_loaded_embedder if encodes_at_once else open_embedder, settings)
        ledger = open_ledger(settings)
        graph = open_graph(settings)
        vectors = open_vectors(settings)
    parser = Parser(settings)
    try:
        yield Adapters(
            ledger=ledger,
            graph=graph,
            vectors=vectors,
            staging=Staging(settings.staging),
            parser=parser,
            embedder=opening.result(),
            kept_models=KeptModels(settings),
            declarations=load_declarations(settings),
            settings=settings,
        )
    finally:
        parser.close()
        vectors.close()
        graph.close()
        ledger.close()
