"""F09 and F10: a batch of which the store refuses a part, and a batch that is delivered more than once.

What is refused waits in quarantine with its reason code, at a bounded number of extra transactions; the others are
committed. However often and in whatever order a batch arrives, its documents are there once.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from concordance import ids
from concordance.consistency.verify import verify
from concordance.embedding.hashing import HashEmbedder
from concordance.errors import BatchTooLarge, OutcomeUnknown, PoisonDocument
from concordance.ledger import Ledger
from concordance.model import ChunkRow, Reason
from concordance.operations import telemetry
from concordance.parsing.parser import Parser
from concordance.pipeline.load import load
from concordance.settings import Settings
from concordance.stores import open_graph
from concordance.stores.memory import MemoryGraph, MemoryVectors
from simulation.world import SOURCE
from support import trials
from support.ledgers import skip_versions
from support.loads import Loads, loads

DOCUMENTS = 500
POISON = "arsenic"
# ceil(log2 500) + 1
EXTRA_EACH = 10


def fill(shelf: dict[str, str], count: int, poisoned: Sequence[int] = ()) -> None:
    for number in range(count):
        word = POISON if number in poisoned else "granite"
        shelf[f"{number:04}"] = f"# Stone {number}\n\nA piece of {word}, number {number}.\n"


@dataclass
class Wrapped:
    """A store whose writes are counted, and pass a check first."""

    store: Any
    check: Callable[[Any], None] = lambda rows: None
    writes: Counter[str] = field(default_factory=Counter)
    sent: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def write(self, version: Any, batch: Any, *, timeout_seconds: float) -> None:
        self._send("write", version, batch, timeout_seconds)

    def upsert(self, version: Any, points: Any, *, timeout_seconds: float) -> None:
        self._send("upsert", version, points, timeout_seconds)

    def _send(self, name: str, version: Any, rows: Any, timeout_seconds: float) -> None:
        self.writes[name] += 1
        self.sent.append(rows)
        self.check(rows)
        getattr(self.store, name)(version, rows, timeout_seconds=timeout_seconds)


def chunks_of(rows: Any) -> Sequence[Any]:
    return rows.chunks if hasattr(rows, "chunks") else rows


def refuses_poison(rows: Any) -> None:
    if any(POISON in row.text for row in chunks_of(rows)):
        raise PoisonDocument("the store refuses a text", reason=Reason.STORE_REFUSED)


@pytest.fixture
def counted() -> Iterator[Counter[str]]:
    """What `documents.quarantined` counted, by reason."""
    seen: Counter[str] = Counter()

    class Kept(telemetry.NoBackend):
        def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
            if name == "documents.quarantined":
                seen[tags["reason"]] += n

    previous = telemetry.use(Kept())
    yield seen
    telemetry.use(previous)


def assert_sound(house: Loads) -> None:
    adapters = house.adapters
    checked = verify(ledger=adapters.ledger, graph=adapters.graph, vectors=adapters.vectors)
    assert checked.is_sound, checked.findings


@pytest.mark.fault("F09", engine="memory")
@pytest.mark.parametrize(
    ("refusing", "poisoned", "bound"),
    [
        ("graph", [333], EXTRA_EACH),
        ("vectors", [0, 17, 250, 251, 499], 5 * EXTRA_EACH),
        # A batch of nothing else: the bound by row is far away, it costs about one write a document.
        ("graph", range(DOCUMENTS), DOCUMENTS + 5 * EXTRA_EACH),
    ],
    ids=["one, graph", "five, vectors", "all, graph"],
)
def test_the_poison_of_a_batch_is_found_in_few_writes_and_the_others_are_committed(
    stack: Settings,
    ledger: Ledger,
    parser: Parser,
    counted: Counter[str],
    refusing: str,
    poisoned: Sequence[int],
    bound: int,
) -> None:
    stores = {"graph": Wrapped(MemoryGraph()), "vectors": Wrapped(MemoryVectors())}
    stores[refusing].check = refuses_poison
    with loads(stack, ledger, parser, batch_chunks=20_000, **stores) as house:
        fill(house.shelf.documents, DOCUMENTS, poisoned)
        outcome = house.run("the run")
        assert outcome.counts.get("committed", 0) == DOCUMENTS - len(poisoned)
        assert house.quarantined() == {f"{number:04}": ("load", "store_refused") for number in poisoned}
        assert counted == ({"store_refused": len(poisoned)} if poisoned else {})
        (writes,) = stores[refusing].writes.values()
        assert writes - 1 <= bound
        other = "vectors" if refusing == "graph" else "graph"
        assert sum(stores[other].writes.values()) == (1 if len(poisoned) < DOCUMENTS else 0)
        assert_sound(house)


@pytest.mark.fault("F09", engine="memory")
def test_a_poison_document_keeps_its_current_generation_and_returns_when_it_is_mended(
    stack: Settings, ledger: Ledger, parser: Parser
) -> None:
    stores = {"graph": Wrapped(MemoryGraph(), refuses_poison), "vectors": Wrapped(MemoryVectors())}
    with loads(stack, ledger, parser, **stores) as house:
        fill(house.shelf.documents, 8)
        house.run("1")
        before = house.committed()
        fill(house.shelf.documents, 8, poisoned=[3])
        assert house.run("2").counts["quarantined"] == 1
        assert house.committed() == before
        house.shelf.documents["0003"] = "# Stone 3\n\nA piece of basalt, number 3.\n"
        assert house.run("3").counts["committed"] == 1
        assert house.quarantined() == {}
        assert_sound(house)


@pytest.mark.fault("F09", engine="memory")
def test_a_store_that_is_short_of_memory_takes_the_batch_in_pieces_and_nobody_is_blamed(
    stack: Settings, ledger: Ledger, parser: Parser
) -> None:
    def short_of_memory(rows: Any) -> None:
        if len({row.document_id for row in chunks_of(rows)}) > 20:
            raise BatchTooLarge("the transaction needs more memory than the graph gives it")

    stores = {"graph": Wrapped(MemoryGraph(), short_of_memory), "vectors": Wrapped(MemoryVectors())}
    with loads(stack, ledger, parser, batch_chunks=20_000, **stores) as house:
        fill(house.shelf.documents, 100)
        assert house.run("the run").counts["committed"] == 100
        assert house.quarantined() == {}
        # 100, 50, 25 are too many; the rest goes by twelve.
        assert stores["graph"].writes["write"] == 3 + -(-100 // 12)
        assert_sound(house)


@pytest.mark.fault("F09", engine="memory")
def test_a_document_that_is_too_large_alone_waits_in_quarantine(
    stack: Settings, ledger: Ledger, parser: Parser
) -> None:
    large = ids.document_id(tenant="acme", source=SOURCE, uri="0005")

    def short_of_memory(rows: Any) -> None:
        if any(row.document_id == large for row in chunks_of(rows)):
            raise BatchTooLarge("the transaction needs more memory than the graph gives it")

    stores = {"graph": Wrapped(MemoryGraph(), short_of_memory), "vectors": Wrapped(MemoryVectors())}
    with loads(stack, ledger, parser, **stores) as house:
        fill(house.shelf.documents, 8)
        assert house.run("the run").counts["committed"] == 7
        assert house.quarantined() == {"0005": ("load", "store_refused")}
        assert_sound(house)


@pytest.mark.fault("F09", engine="memory")
@pytest.mark.parametrize("losing", ["graph", "vectors"])
def test_after_a_lost_answer_the_next_attempt_sends_the_same_rows(
    stack: Settings, ledger: Ledger, parser: Parser, losing: str
) -> None:
    stores = {"graph": Wrapped(MemoryGraph()), "vectors": Wrapped(MemoryVectors())}
    with loads(stack, ledger, parser, **stores) as house:
        fill(house.shelf.documents, 8)
        plan, shards = house.prepared("the run")
        answered = stores[losing]._send

        def loses_the_answer(*given: Any) -> None:
            answered(*given)
            raise OutcomeUnknown("the connection ended during the commit")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stores[losing], "_send", loses_the_answer)
            with pytest.raises(OutcomeUnknown):
                load(plan, shards[0], **house.tools)
        load(plan, shards[0], **house.tools)
        first, second = (pickle.dumps(rows) for rows in copy.deepcopy(stores[losing].sent))
        assert first == second
        assert house.published(plan).counts["committed"] == 8
        assert_sound(house)


class NotANumber(HashEmbedder):
    """A model that fails on some texts."""

    def encode(self, texts: Sequence[str]) -> Any:
        vectors = super().encode(texts)
        vectors[[row for row, text in enumerate(texts) if POISON in text]] = np.nan
        return vectors


@pytest.mark.fault("F09", engine="memory")
def test_texts_without_a_vector_are_counted_like_every_other_quarantined_document(
    stack: Settings, ledger: Ledger, parser: Parser, counted: Counter[str]
) -> None:
    with loads(stack, ledger, parser, graph=MemoryGraph(), vectors=MemoryVectors()) as house:
        bad = replace(house, adapters=replace(house.adapters, embedder=NotANumber(dimension=16)))
        fill(house.shelf.documents, 8, poisoned=[2, 6])
        assert bad.run("the run").counts["committed"] == 6
        assert bad.quarantined() == {"0002": ("embed", "bad_vector"), "0006": ("embed", "bad_vector")}
        assert counted == {"bad_vector": 2}


@pytest.mark.fault("F09", engine="embedded")
def test_a_row_that_the_real_graph_refuses_is_found_within_the_bound(
    stack: Settings, ledger: Ledger, parser: Parser
) -> None:
    store = open_graph(stack)
    transactions: list[str] = []

    class Beyond64Bits(Wrapped):
        """Gives the poison an ordinal that no server takes: real transactions fail in their middle."""

        def write(self, version: Any, batch: Any, *, timeout_seconds: float) -> None:
            chunks = tuple(_beyond(row) if POISON in row.text else row for row in batch.chunks)
            transactions.append(f"{len(chunks)} chunks")
            store.write(version, replace(batch, chunks=chunks), timeout_seconds=timeout_seconds)

    def _beyond(row: ChunkRow) -> ChunkRow:
        return replace(row, ordinal=2**63)

    skip_versions(stack)
    try:
        with loads(stack, ledger, parser, graph=Beyond64Bits(store), vectors=MemoryVectors()) as house:
            fill(house.shelf.documents, 64, poisoned=[20])
            assert house.run("the run").counts["committed"] == 63
            assert house.quarantined() == {"0020": ("load", "store_refused")}
            assert len(transactions) - 1 <= 7
            assert_sound(house)
    finally:
        store.close()


# --- F10 --------------------------------------------------------------------------------------------------------------


@dataclass
class Redelivered:
    """A store to which what was once written may come again at any later write, in any order."""

    store: Any
    rng: random.Random
    past: list[Callable[[], None]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def write(self, *given: Any, **options: Any) -> None:
        self._deliver(lambda: self.store.write(*given, **options))

    def write_links(self, *given: Any, **options: Any) -> None:
        self._deliver(lambda: self.store.write_links(*given, **options))

    def upsert(self, *given: Any, **options: Any) -> None:
        self._deliver(lambda: self.store.upsert(*given, **options))

    def _deliver(self, write: Callable[[], None]) -> None:
        write()
        self.past += [write] * self.rng.randrange(5)
        self.rng.shuffle(self.past)
        for _ in range(self.rng.randrange(len(self.past) + 1)):
            self.past.pop()()

    def deliver_the_rest(self) -> None:
        for write in self.past:
            write()
        self.past.clear()


def scribble(rng: random.Random, names: Sequence[str]) -> str:
    links = " ".join(f"[see](/{name})" for name in rng.sample(names, 2))
    said = "\n\n".join(f"A {rng.choice(names)} of {rng.choice(names)} {rng.randrange(50)}." for _ in range(4))
    return f"# About {rng.choice(names)}\n\n{said}\n\n{links}\n"


@pytest.mark.fault("F10", engine="memory")
@pytest.mark.parametrize("seed", trials.seeds(10, full=1000))
def test_batches_delivered_again_and_again_in_any_order_are_there_once(
    stack: Settings, ledger: Ledger, parser: Parser, seed: int
) -> None:
    rng = random.Random(seed)
    names = ["slate", "chalk", "flint", "marble", "basalt", "gneiss", "schist"]
    graph, vectors = Redelivered(MemoryGraph(), rng), Redelivered(MemoryVectors(), rng)
    small = {"batch_chunks": 3, "shard_bytes": 1000, "graph": graph, "vectors": vectors}
    with loads(stack, ledger, parser, **small) as house:
        for run_id in ("first", "second"):
            for name in rng.sample(names, 5):
                house.shelf.documents[name] = scribble(rng, names)
            plan, shards = house.prepared(run_id)
            deliveries = [shard for shard in shards for _ in range(rng.randrange(1, 6))]
            rng.shuffle(deliveries)
            for shard in deliveries:
                load(plan, shard, **house.tools)
            house.published(plan)
            for shard in rng.sample(shards, rng.randrange(len(shards) + 1)):
                load(plan, shard, **house.tools)
            graph.deliver_the_rest()
            vectors.deliver_the_rest()
            house.published(plan)
            assert_as_delivered_once(house, after=run_id)


def assert_as_delivered_once(house: Loads, *, after: str) -> None:
    """I1 and I2 (verify), I3 in its text part (what is committed is what the source says, cut anew), I7."""
    assert_sound(house)
    graph, vectors = house.adapters.graph, house.adapters.vectors
    with house.adapters.ledger.snapshot() as snapshot:
        version = snapshot.live()
        committed = {chunk.chunk_id for chunk in snapshot.committed(version)}
    assert house.committed().keys() == house.shelf.documents.keys()
    assert graph.live_chunks(version) == vectors.live_points(version) == committed  # type: ignore[attr-defined]
    before = graph.counts(version), vectors.counts(version)
    plan, shards = house.prepared(f"after the {after}")
    assert (plan.goes_on, shards) == (False, [])
    assert house.published(plan).state == "nothing"
    assert (graph.counts(version), vectors.counts(version)) == before
