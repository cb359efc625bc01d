"""F24 on the embedded stores: rows changed through their own interfaces are found, and a repair makes them good."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from qdrant_client import models

from concordance.consistency import Scope, repair, verify
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings
from contract.bolt_graph import RawBoltGraph
from contract.test_vectors_embedded import RawQdrant
from support import trials
from support.shelves import clean_up, make_shelf, run_ungated

EVERYTHING = Scope(read_vectors=True)


class Vandal:
    """Knows both stores by their own interfaces, and one chunk of the live index."""

    def __init__(self, adapters: Adapters, graph: RawBoltGraph, vectors: RawQdrant, dice: random.Random) -> None:
        self.graph, self.client = graph, vectors.client
        with adapters.ledger.snapshot() as snapshot:
            self.version = snapshot.live()
            self.victim: UUID = dice.choice([chunk.chunk_id for chunk in snapshot.committed(self.version)])

    def cypher(self, change: str) -> None:
        self.graph.values(
            f"MATCH (c:Chunk {{index_version: $version, id: $id}}) {change}",
            version=self.version.version,
            id=str(self.victim),
        )

    def payload(self, **fields: Any) -> None:
        self.client.set_payload(self.version.collection, fields, points=[str(self.victim)], wait=True)

    def vector(self) -> None:
        vector = [0.0] * self.version.settings.model.dimension
        vector[3] = 1.0
        self.client.update_vectors(
            self.version.collection, [models.PointVectors(id=str(self.victim), vector={"dense": vector})], wait=True
        )

    def delete_point(self) -> None:
        self.client.delete(self.version.collection, models.PointIdsList(points=[str(self.victim)]), wait=True)

    def delete_payload(self) -> None:
        self.client.delete_payload(self.version.collection, ["document_id"], points=[str(self.victim)], wait=True)


TAMPERS: dict[str, Callable[[Vandal], None]] = {
    "a chunk's text": lambda vandal: vandal.cypher("SET c.text = 'by hand'"),
    "a chunk deleted": lambda vandal: vandal.cypher("DETACH DELETE c"),
    "a chunk cut off its document": lambda vandal: vandal.cypher("MATCH (c)-[r:FROM_DOCUMENT]->() DELETE r"),
    "a chunk under another key": lambda vandal: vandal.cypher("SET c.key = 'by hand'"),
    "a chunk hidden": lambda vandal: vandal.cypher("SET c.live = false"),
    "a Document node": lambda vandal: vandal.cypher("MATCH (c)-[:FROM_DOCUMENT]->(d) SET d.access = ['everybody']"),
    "an index dropped": lambda vandal: vandal.graph.values("DROP INDEX concordance_chunk_document"),
    "a point's text": lambda vandal: vandal.payload(text="by hand"),
    "a point's tenant": lambda vandal: vandal.payload(tenant="somebody"),
    "a point deleted": Vandal.delete_point,
    "a point's field deleted": Vandal.delete_payload,
    "a point's vector": Vandal.vector,
}


@pytest.fixture
def adapters(stack: Settings, ledger: Ledger, tmp_path: Path, parser: Parser) -> Iterator[Adapters]:
    with make_shelf(stack, tmp_path, documents=5).adapters(parser) as adapters:
        run_ungated("first", adapters=adapters)
        yield adapters


@pytest.fixture
def graph(stack: Settings) -> Iterator[RawBoltGraph]:
    raw = RawBoltGraph(stack)
    yield raw
    raw.close()


@pytest.fixture
def vectors(stack: Settings) -> Iterator[RawQdrant]:
    raw = RawQdrant(stack)
    yield raw
    raw.client.close()


def test_rows_changed_through_the_stores_themselves_are_found_and_put_right(
    adapters: Adapters, graph: RawBoltGraph, vectors: RawQdrant, record_trials: trials.RecordTrials
) -> None:
    """One after another in one index; what is put right is the start of the next."""
    stores: Any = {"ledger": adapters.ledger, "graph": adapters.graph, "vectors": adapters.vectors, "scope": EVERYTHING}
    names = sorted(TAMPERS) if trials.is_full() else sorted(TAMPERS)[::3]
    for name in names:
        record_trials("F24", engine="embedded")
        assert verify(**stores).findings == (), f"a false alarm before {name}"
        TAMPERS[name](Vandal(adapters, graph, vectors, random.Random(name)))
        assert not verify(**stores).is_sound, f"{name} was not found"
        report = repair(adapters=adapters, settings=adapters.settings, scope=EVERYTHING)
        assert report.is_sound, (name, report.after.findings, report.done, report.refused)
    clean_up(adapters=adapters)
    assert verify(**stores).findings == ()
    assert run_ungated("again", adapters=adapters).state == "nothing"
