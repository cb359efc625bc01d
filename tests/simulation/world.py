"""A small world for the simulator: a source in memory, memory stores that fail in every allowed way, readers.

The stages, the ledger and PostgreSQL are the real ones. A store call may fail before it does anything, be applied with
its answer lost, be applied twice, or be applied late: after the attempt that sent it has gone on, but within its lease,
as the protocol demands of every request. A fault point may kill the attempt, or let another one go on. Time is the
world's own: who waits lets it pass at once, for the ledger as for the attempts.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar
from unittest import mock
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import fsspec
import tenacity

from concordance import fault_points, ids
from concordance.consistency.erase import EraseRequest, erase, finish
from concordance.errors import ConcordanceError, Misconfigured, OutcomeUnknown, PoisonDocument, Unavailable
from concordance.expiry.maintain import maintain
from concordance.ledger import Ledger
from concordance.ledger.erasure_scope import Scope
from concordance.model import Entity, GenerationKey, IndexVersion, Listed, RawDocument, Reason
from concordance.parsing.parser import Parser
from concordance.pipeline import lease as lease_module
from concordance.pipeline import load as load_module
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
from simulation.interleaving import Interleaving
from support.ledgers import connect, end_idle_transactions, move_clock
from support.memory_adapters import memory_adapters

SOURCE = "shelf"
NAMES = ("alpha", "beta", "gamma/one", "gamma/two", "delta")
WORDS = ("river", "stone", "cloud", "ember", "willow", "harbour", "lantern", "meadow")
# A text that the graph refuses.
POISON = "arsenic"
# At how many of the fault points a reader looks.
READS = 0.15
# What maintenance may keep at the least, and less: hours and days pass at once here.
KEPT_SHORTLY = {
    "artefact_retention_hours": 1,
    "gate_retention_days": 0.05,
    "history_retention_days": 1,
    "history_min_plans": 1,
    "maintenance_step_plans": 2,
}
# How often time jumps past leases between two steps of a race.
JUMPS = 0.15
WRITES = ("write", "write_links", "settle", "hide", "sweep", "upsert", "point_to", "drop")
# Between these the ledger's rows are locked: another attempt that waits for them would wait for the baton as well.
_LOCKED = ("vectors.sweep", "graph.sweep", "generation.swept.before", "vectors.erase", "graph.erase")


def quick_settings(settings: Settings) -> Settings:
    """Small chunks, no waiting between the attempts of one call, and one thread for each attempt."""
    small = {"retry_wait_seconds": 0.0, "chunk_min_tokens": 16, "chunk_max_tokens": 40}
    alone = {"read_ahead_documents": 0, "load_lanes": 1}
    return settings.model_copy(update={**small, **alone, **KEPT_SHORTLY})


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


@dataclass(frozen=True)
class Chance:
    """How often what goes wrong; all zero is a quiet world."""

    fails: float = 0.0
    loses_answer: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    kills: float = 0.0


@dataclass
class World:
    """Everything that one history decides. `log` tells its story. To be used as a context: `with world.turning():`."""

    ledger: Ledger
    settings: Settings
    seed: int
    parser: Parser
    shelf: Shelf = field(default_factory=Shelf)
    graph: MemoryGraph = field(default_factory=MemoryGraph)
    vectors: MemoryVectors = field(default_factory=MemoryVectors)
    chance: Chance = field(default_factory=Chance)
    late: list[Callable[[], Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    run_number: int = 0
    samples: int = 0
    was_asked_to_erase: bool = False
    now: float = 0.0
    """Seconds that have passed in the world beyond the machine's own clock."""
    trap: tuple[str, Callable[[], None]] | None = None
    """What happens, once, when an attempt passes the point of this name."""
    trapped: int = 0
    failing: frozenset[str] = frozenset()
    """Calls of a store that fail until the world is quiet."""

    def __post_init__(self) -> None:
        self._staging = f"staging-{uuid4()}"
        self.rng = random.Random(self.seed)
        self.interleaving = Interleaving(choose=lambda count: self.rng.randrange(count), between=self._between)
        adapters = memory_adapters(
            self.ledger,
            self.settings,
            self.parser,
            source=self.shelf,
            graph=Faulty(self.graph, self),
            vectors=Faulty(self.vectors, self),
            staging=f"memory://{self._staging}",
        )
        self.adapters = replace(adapters, staging=_AgeingStaging(f"memory://{self._staging}", self))

    @contextmanager
    def turning(self) -> Iterator[World]:
        """The world's clock and faults are in force inside."""
        with (
            connect(self.settings) as self._clock_hand,
            fault_points.hooked(self._pass),
            mock.patch.object(lease_module, "time", _Clock(self)),
            mock.patch.object(load_module, "time", _Clock(self)),
            mock.patch.object(tenacity.nap, "time", _Clock(self)),
        ):
            try:
                yield self
            finally:
                staged = fsspec.filesystem("memory")
                if staged.exists(self._staging):
                    staged.rm(self._staging, recursive=True)

    @property
    def longest_lease_seconds(self) -> float:
        return self.settings.source_lease_seconds + self.settings.lease_seconds + 1

    # --- what happens ---------------------------------------------------------------------------------------------

    def edit(self, uri: str, text: str | None) -> None:
        """The source has this text under this uri now, or none."""
        if text is None:
            self.shelf.documents.pop(uri, None)
            self.log.append(f"delete {uri}")
        else:
            self.shelf.documents[uri] = text
            self.log.append(f"write {uri}")

    def run(self, *, subpath: str = "", again: bool = False) -> bool:
        """One attempt of a run, new or the last one again; True when it came to its end."""
        if not again or not self.run_number:
            self.run_number += 1
        name = f"run {self.run_number}"
        self.log.append(f"{name} {subpath!r}{' again' if again else ''}")
        try:
            self._walk(RunRequest(SOURCE, f"run-{self.run_number}", subpath=subpath, approved=True))
        except (Killed, ConcordanceError) as error:
            self.log.append(f"  {name} stopped by {type(error).__name__} {error}")
            return False
        return True

    def erase(self, uri: str) -> bool:
        """One attempt to erase a document; True when it is hidden and cleared. `clean_up` finishes it."""
        self.log.append(f"erase {uri}")
        self.was_asked_to_erase = True
        name = uuid5(NAMESPACE_URL, f"{uri} {len(self.log)}")
        request = EraseRequest(name, Scope(source=SOURCE, uri=uri), requested_by="somebody", reason="a request")
        try:
            erase(request, adapters=self.adapters, settings=self.settings)
        except (Killed, ConcordanceError) as error:
            self.log.append(f"  erase stopped by {type(error).__name__} {error}")
            return False
        return True

    def maintain(self) -> bool:
        """One attempt to remove what has expired; True when it came to its end."""
        self.log.append("maintain")
        try:
            done = maintain(adapters=self.adapters, settings=self.settings)
        except (Killed, ConcordanceError) as error:
            self.log.append(f"  maintenance stopped by {type(error).__name__} {error}")
            return False
        self.log.append(f"  removed {dict(done.removed)}")
        return True

    def race(self, attempts: Sequence[str]) -> None:
        """Attempts at once: `new` and `gamma` are runs (of everything, of a sub-path), `again` is the last run once
        more, `reader` an application that reads slowly, `maintain` removes what has expired; the name of a document
        erases it."""
        works = self.works()
        self.log.append(f"race of {', '.join(attempts)}")
        self.interleaving.run([works[name] for name in attempts])

    def works(self) -> dict[str, Callable[[], object]]:
        """What may race, by name."""
        return {
            "new": self.run,
            "gamma": lambda: self.run(subpath="gamma"),
            "again": lambda: self.run(again=True),
            "reader": self.read_slowly,
            "maintain": self.maintain,
            **{uri: functools.partial(self.erase, uri) for uri in NAMES},
        }

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
        """Time passes for everybody; what was still under way arrives before any lease could end."""
        self._deliver_late()
        self.now += seconds
        move_clock(self._clock_hand, seconds)

    def hang_past_the_lease(self) -> None:
        """The attempt that is here does not go on for so long that every lease of it has run out."""
        # A transaction that nobody goes on with is ended by the server (idle_in_transaction_session_timeout).
        end_idle_transactions(self.settings)
        self.wait(self.longest_lease_seconds)

    def quiet(self) -> None:
        """Nothing fails from here on, and every lease has run out."""
        self.chance, self.trap, self.failing = Chance(), None, frozenset()
        self.wait(self.longest_lease_seconds)

    def clean_up(self) -> None:
        """After the grace, everything that is due is settled and swept."""
        self.wait(self.settings.lease_seconds + self.settings.sweep_grace_seconds + 1)
        tools: dict[str, Any] = {"adapters": self.adapters, "settings": self.settings}
        with self.ledger.snapshot() as snapshot:
            kept = snapshot.kept()
        for version in kept:
            settle(version, **tools)
            sweep(version, **tools)
        for erasure in self.ledger.erasing.unfinished():
            assert finish(erasure.erasure_id, **tools).is_erased

    def erased(self) -> set[UUID]:
        """The source's documents that must not come back."""
        if not self.was_asked_to_erase:
            return set()
        return self.ledger.erased([self.document_id(uri) for uri in NAMES])

    def document_id(self, uri: str) -> UUID:
        return ids.document_id(tenant=self.shelf.declaration.tenant, source=SOURCE, uri=uri)

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def _pass(self, point: str) -> None:
        if self.rng.random() < READS:
            self.read_as_an_application()
        if self.late and self.rng.random() < 0.3:
            self.late.pop(self.rng.randrange(len(self.late)))()
        if not point.startswith(_LOCKED):
            self.interleaving.step()
        if self.trap is not None and point == self.trap[0]:
            spring, self.trap = self.trap[1], None
            self.trapped += 1
            spring()
        if self.rng.random() < self.chance.kills:
            self.die(point)

    def die(self, point: str) -> None:
        """The attempt that is here ends without another word."""
        self.log.append(f"  killed at {point}")
        raise Killed(point)

    def _between(self) -> None:
        if self.rng.random() < JUMPS:
            lease, grace = self.settings.lease_seconds, self.settings.sweep_grace_seconds
            seconds = self.rng.choice([lease + 1, self.longest_lease_seconds, lease + grace + 1])
            self.log.append(f"  {seconds:.0f} s pass")
            self.wait(seconds)

    def call(self, name: str, work: Callable[[], Any], given: Sequence[Any]) -> Any:
        """One call of a store, with whatever goes wrong with it."""
        dice = self.rng.random
        if name == "write" and any(POISON in chunk.text for chunk in given[1].chunks):
            raise PoisonDocument("the simulated store refuses a text", reason=Reason.STORE_REFUSED)
        if name in self.failing or dice() < self.chance.fails:
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
        with self.ledger.snapshot() as snapshot:
            try:
                version = snapshot.live()
            except Misconfigured:
                return  # nothing was ever published
            committed = list(snapshot.committed(version))
            in_graph = set(self.graph.read_back(version, sorted({_key(chunk) for chunk in committed})))
            in_vectors = set(self.vectors.read_back(version, [chunk.chunk_id for chunk in committed]))
        generations = {_key(chunk) for chunk in committed}
        assert len({key.document_id for key in generations}) == len(generations), "a document with two generations"
        assert set(committed) <= in_graph, "a current chunk is missing in the graph"
        assert set(committed) <= in_vectors, "a current chunk is missing in the vectors"
        assert not {key.document_id for key in generations} & self.erased(), "an erased document is current"

    def read_slowly(self) -> None:
        """A reader that stops between its questions. Past its timeout it starts again, as every reader must."""
        for _ in range(3):
            if self.ledger.versions.live() is None:
                self.interleaving.step()
                continue
            with self.ledger.snapshot() as snapshot:
                began, version = self.now, snapshot.live()
                committed = list(snapshot.committed(version))
            found = []
            for store in (self.graph, self.vectors):
                self.interleaving.step()
                if self.now - began > self.settings.reader_timeout_seconds:
                    break
                names: list[Any] = [chunk.chunk_id for chunk in committed]
                if store is self.graph:
                    names = sorted({_key(chunk) for chunk in committed})
                found.append(set(store.read_back(version, names)))
            # The last thing that a reader does is to drop what was erased meanwhile.
            erased = self.erased()
            wanted = {chunk for chunk in committed if chunk.document_id not in erased}
            for rows in found:
                assert wanted <= rows, "a slow reader misses a chunk that was current when it began"


class Faulty:
    """A store whose every call goes through the world's chances."""

    def __init__(self, store: Any, world: World) -> None:
        self._store = store
        self._world = world

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._world.call(name, lambda: method(*args, **kwargs), args)

        return call


class _AgeingStaging(Staging):
    """A staging area whose files grow old by the world's clock."""

    def __init__(self, url: str, world: World) -> None:
        super().__init__(url)
        self._world = world
        self._put_at: dict[str, float] = {}

    def _create(self, name: str, content: bytes) -> bool:
        is_new = super()._create(name, content)
        if is_new:
            self._put_at[name] = self._world.now
        return is_new

    def _renew(self, name: str, content: bytes) -> None:
        super()._renew(name, content)
        self._put_at[name] = self._world.now

    def _age_seconds(self, name: str, written: datetime | None = None) -> float:
        return self._world.now - self._put_at[name]


@dataclass(frozen=True)
class _Clock:
    """Stands in for the module `time` where an attempt looks at the clock or waits."""

    world: World

    def monotonic(self) -> float:
        return time.monotonic() + self.world.now

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.world.interleaving.step()
            self.world.wait(seconds)


def _key(chunk: Any) -> GenerationKey:
    return GenerationKey(chunk.document_id, chunk.generation)
