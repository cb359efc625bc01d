"""A small world for the simulator: a source in memory, memory stores that fail in every allowed way, readers.

The stages, the ledger and PostgreSQL are the real ones. A store call may fail before it does anything, be applied with
its answer lost, be applied twice, or be applied late: after the attempt that sent it has gone on, but within its lease,
as the protocol demands of every request. A fault point may kill the attempt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from concordance import fault_points, ids
from concordance.embedding.hashing import HashEmbedder
from concordance.errors import ConcordanceError, OutcomeUnknown, PoisonDocument, Unavailable
from concordance.ledger import Ledger
from concordance.model import Entity, GenerationKey, IndexVersion, Listed, RawDocument, Reason
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish, settle, sweep
from concordance.pipeline.references import RunRequest
from concordance.pipeline.report import report
from concordance.settings import Settings
from concordance.sources.declaration import SourceDeclaration
from concordance.staging import Staging
from concordance.stores.memory import MemoryGraph, MemoryVectors
from support.ledgers import move_clock

SOURCE = "shelf"
NAMES = ("alpha", "beta", "gamma/one", "gamma/two", "delta")
WORDS = ("river", "stone", "cloud", "ember", "willow", "harbour", "lantern", "meadow")
# At how many of the fault points a reader looks.
READS = 0.4
WRITES = ("write", "write_links", "settle", "hide", "sweep", "upsert")


def quick_settings(settings: Settings) -> Settings:
    """Small chunks, and no waiting between the attempts of one call."""
    return settings.model_copy(update={"retry_wait_seconds": 0.0, "chunk_min_tokens": 16, "chunk_max_tokens": 40})


class Killed(BaseException):
    """The attempt dies here; nothing of it may catch this."""


@dataclass
class Shelf:
    """A source whose documents are entries of a dict."""

    documents: dict[str, str] = field(default_factory=dict)
    declaration: SourceDeclaration = field(
        default_factory=lambda: SourceDeclaration(name=SOURCE, kind="files", tenant="acme", location=".")
    )
    path_uris: ClassVar[bool] = True

    def list(self, subpath: str = "") -> Iterator[Listed]:
        for uri, text in sorted(self.documents.items()):
            if not subpath or uri == subpath or uri.startswith(subpath + "/"):
                yield Listed(uri, ids.text_digest(text), len(text))

    def read(self, uri: str) -> RawDocument:
        if uri not in self.documents:
            raise PoisonDocument(f"document {uri} is gone", reason=Reason.UNREADABLE)
        return RawDocument(uri, self.documents[uri].encode(), media_type="text/markdown")

    def names(self) -> Iterator[Entity]:
        yield from ()


@dataclass
class Chance:
    """How often what goes wrong; all zero is a quiet world."""

    fails: float = 0.0
    loses_answer: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    kills: float = 0.0


@dataclass
class World:
    """Everything that one seed decides. `log` tells the story of a failing seed."""

    ledger: Ledger
    settings: Settings
    seed: int
    staging: Path
    parser: Parser
    shelf: Shelf = field(default_factory=Shelf)
    graph: MemoryGraph = field(default_factory=MemoryGraph)
    vectors: MemoryVectors = field(default_factory=MemoryVectors)
    chance: Chance = field(default_factory=Chance)
    late: list[Callable[[], Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    run_number: int = 0
    samples: int = 0
    kill_at: str | None = None
    killed: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.adapters = Adapters(
            ledger=self.ledger,
            graph=Faulty(self.graph, self),  # type: ignore[arg-type]
            vectors=Faulty(self.vectors, self),  # type: ignore[arg-type]
            staging=Staging(f"file://{self.staging}"),
            parser=self.parser,
            embedder=HashEmbedder(dimension=16),
            declarations={SOURCE: self.shelf.declaration},
            settings=self.settings,
            opened={SOURCE: self.shelf},
        )

    # --- what happens ---------------------------------------------------------------------------------------------

    def edit(self) -> None:
        """One change of the source: add, edit, back to an earlier text (A-B-A), delete."""
        uri = self.rng.choice(NAMES)
        if uri in self.shelf.documents and self.rng.random() < 0.3:
            del self.shelf.documents[uri]
            self.log.append(f"delete {uri}")
            return
        paragraphs = [
            " ".join(self.rng.choice(WORDS) for _ in range(12)) + f" {self.rng.randrange(3)}."
            for _ in range(self.rng.randrange(1, 4))
        ]
        links = " ".join(f"[see](/{other})" for other in NAMES if other != uri and self.rng.random() < 0.3)
        self.shelf.documents[uri] = f"# {uri} {self.rng.randrange(2)}\n\n" + "\n\n".join(paragraphs) + f"\n\n{links}\n"
        self.log.append(f"write {uri}")

    def run(self, *, subpath: str = "", again: bool = False) -> bool:
        """One attempt of a run, new or the last one again; True when it came to its end."""
        if not again:
            self.run_number += 1
        self.log.append(f"run {self.run_number} {subpath!r}{' again' if again else ''}")
        request = RunRequest(SOURCE, f"run-{self.run_number}", subpath=subpath, allow_deletes=True)
        try:
            with fault_points.hooked(self._pass):
                self._walk(request)
        except (Killed, ConcordanceError) as error:
            self.log.append(f"  stopped by {type(error).__name__} {error}")
            return False
        return True

    def _walk(self, request: RunRequest) -> None:
        # The stages of pipeline.run without the gates: what they check has tests of its own, and they cost seconds.
        tools: dict[str, Any] = {"adapters": self.adapters, "settings": self.settings}
        plan = make_plan(request, **tools)
        if plan.goes_on:
            shards = [embed(plan, extract(plan, shard, **tools), **tools) for shard in range(plan.shards)]
            for shard in shards:
                load(plan, shard, **tools)
            publish(plan, **tools)
        report(plan, adapters=self.adapters)

    def wait(self, seconds: float) -> None:
        """Time passes for the ledger; what was still under way arrives before any lease could end."""
        self._deliver_late()
        move_clock(self.settings, seconds)

    def quiet(self) -> None:
        """Nothing fails from here on, and every lease has run out."""
        self.chance = Chance()
        self.wait(self.settings.source_lease_seconds + self.settings.lease_seconds + 1)

    def clean_up(self) -> None:
        """After the grace, everything that is due is settled and swept."""
        self.wait(self.settings.lease_seconds + self.settings.sweep_grace_seconds + 1)
        settle(self.live(), adapters=self.adapters, settings=self.settings)
        sweep(self.live(), adapters=self.adapters, settings=self.settings)

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def _pass(self, point: str) -> None:
        if self.rng.random() < READS:
            self.read_as_an_application()
        if self.late and self.rng.random() < 0.3:
            self.late.pop(self.rng.randrange(len(self.late)))()
        if self.rng.random() < self.chance.kills or point == self.kill_at:
            self.killed += 1
            self.log.append(f"  killed at {point}")
            raise Killed(point)

    def call(self, name: str, work: Callable[[], Any]) -> Any:
        """One call of a store, with whatever goes wrong with it."""
        dice = self.rng.random
        if dice() < self.chance.fails:
            raise Unavailable(f"the simulated store fails in {name}")
        if name not in WRITES:
            return work()
        if dice() < self.chance.late:
            self.late.append(work)
            raise OutcomeUnknown(f"the simulated store applies {name} later")
        result = work()
        if dice() < self.chance.twice:
            work()
        if dice() < self.chance.loses_answer:
            raise OutcomeUnknown(f"the simulated store lost the answer of {name}")
        return result

    def _deliver_late(self) -> None:
        for work in self.late:
            work()
        self.late.clear()

    # --- what must hold -------------------------------------------------------------------------------------------

    def live(self) -> IndexVersion:
        with self.ledger.snapshot() as snapshot:
            return snapshot.live()

    def read_as_an_application(self) -> None:
        """I5: at every moment each current generation is whole in both stores, and no document has two."""
        self.samples += 1
        if self.ledger.versions.live() is None:
            return
        with self.ledger.snapshot() as snapshot:
            version = snapshot.live()
            committed = list(snapshot.committed(version))
            in_graph = set(self.graph.read_back(version, sorted({_key(chunk) for chunk in committed})))
            in_vectors = set(self.vectors.read_back(version, [chunk.chunk_id for chunk in committed]))
        generations = {_key(chunk) for chunk in committed}
        assert len({key.document_id for key in generations}) == len(generations), "a document with two generations"
        assert set(committed) <= in_graph, "a current chunk is missing in the graph"
        assert set(committed) <= in_vectors, "a current chunk is missing in the vectors"

    def texts(self) -> dict[UUID, list[str]]:
        """By document: digests of its current chunks in order."""
        with self.ledger.snapshot() as snapshot:
            chunks = sorted(snapshot.committed(snapshot.live()), key=lambda chunk: (chunk.document_id, chunk.ordinal))
        found: dict[UUID, list[str]] = {}
        for chunk in chunks:
            found.setdefault(chunk.document_id, []).append(chunk.text_digest)
        return found


class Faulty:
    """A store whose every call goes through the world's chances."""

    def __init__(self, store: Any, world: World) -> None:
        self._store = store
        self._world = world

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._world.call(name, lambda: method(*args, **kwargs))

        return call


def _key(chunk: Any) -> GenerationKey:
    return GenerationKey(chunk.document_id, chunk.generation)
