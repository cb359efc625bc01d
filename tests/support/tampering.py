"""What a vandal, or a store restored from a backup, does to the memory stores and to the ledger: one row, by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np

from concordance import ids
from concordance.model import GenerationKey
from support.ledgers import connect
from support.small_house import SmallHouse


class Vandal:
    """Changes one row of one store; `dice` chooses which."""

    def __init__(self, house: SmallHouse, dice: random.Random) -> None:
        self.house, self.dice = house, dice

    @property
    def graph(self) -> Any:
        return self.house.graph._graphs[self.house.live.version]

    @property
    def collection(self) -> Any:
        return self.house.vectors._collections[self.house.live.version]

    def strike(self) -> str:
        """One change; its name."""
        name = self.dice.choice(sorted(TAMPERS))
        TAMPERS[name](self)
        return name

    def victim(self) -> UUID:
        with self.house.ledger.snapshot() as snapshot:
            chunks = [chunk.chunk_id for chunk in snapshot.committed(self.house.live)]
        return self.dice.choice(chunks)

    def in_ledger(self, statement: str, *values: Any) -> None:
        with connect(self.house.settings) as connection:
            assert connection.execute(statement, values).rowcount == 1

    # --- the graph

    def delete_chunk(self) -> None:
        victim = self.victim()
        chunk = self.graph.chunks.pop(victim)
        self.graph.chunks_of[GenerationKey(chunk.document_id, chunk.generation)].discard(victim)
        self.graph.degree.subtract(self.graph.mentions.pop(victim, {}).keys())
        self.graph.live.discard(victim)

    def edit_chunk(self, **changes: Any) -> None:
        victim = self.victim()
        self.graph.chunks[victim] = replace(self.graph.chunks[victim], **changes)

    def invent_chunk(self) -> None:
        like = self.graph.chunks[self.victim()]
        number = like.generation + self.dice.randrange(1, 3)
        made = ids.chunk_id(
            index_version=self.house.live.version, document_id=like.document_id, generation=number, ordinal=0
        )
        self.graph.chunks[made] = replace(like, chunk_id=made, generation=number, ordinal=0)
        self.graph.chunks_of.setdefault(GenerationKey(like.document_id, number), set()).add(made)
        self.graph.generations_of[like.document_id].add(number)

    def edit_anchor(self) -> None:
        victim = self.graph.chunks[self.victim()].document_id
        self.graph.anchors[victim] = replace(self.graph.anchors[victim], title="by hand")

    def cut_a_link(self) -> None:
        keys = [key for key, edges in self.graph.edges_of.items() if edges.links]
        if not keys:
            return self.edit_anchor()
        links = self.graph.edges_of[self.dice.choice(sorted(keys))].links
        links.discard(self.dice.choice(sorted(links, key=lambda link: (link.kind, link.target_id))))

    # --- the vectors

    def delete_point(self) -> None:
        victim = self.victim()
        del self.collection.points[victim]
        self.collection.live.discard(victim)

    def edit_point(self, **changes: Any) -> None:
        victim = self.victim()
        self.collection.points[victim] = replace(self.collection.points[victim], **changes)

    def turn_vector(self) -> None:
        victim = self.victim()
        point = self.collection.points[victim]
        self.collection.points[victim] = replace(point, dense=np.roll(point.dense, 1))

    def spoil_vector(self) -> None:
        victim = self.victim()
        point = self.collection.points[victim]
        broken = point.dense.copy()
        broken[0] = np.nan
        self.collection.points[victim] = replace(point, dense=broken)

    def hide_point(self) -> None:
        self.collection.live.discard(self.victim())

    # --- the ledger

    def delete_ledger_chunk(self) -> None:
        self.in_ledger("DELETE FROM chunks WHERE chunk_id = %s", self.victim())

    def edit_ledger_chunk(self) -> None:
        self.in_ledger("UPDATE chunks SET text_digest = sha256('by hand') WHERE chunk_id = %s", self.victim())

    def take_off_the_list(self) -> None:
        """A generation that was never swept, on no list: what an attempt that died might have left in an older code."""
        chunk = self.collection.points[self.victim()]
        with connect(self.house.settings) as connection:
            connection.execute(
                "INSERT INTO generations SELECT index_version, document_id, generation + 1000, batch_id, plan_id, "
                "'closed', false, base, title, fingerprint, stamp, access, content_digest, chunk_count, writer_until, "
                "NULL, now(), false FROM generations WHERE document_id = %s AND generation = %s",
                [chunk.document_id, chunk.generation],
            )
            connection.execute(
                "UPDATE documents SET last_generation = last_generation + 2000 WHERE document_id = %s",
                [chunk.document_id],
            )


TAMPERS: dict[str, Callable[[Vandal], object]] = {
    "a chunk deleted": Vandal.delete_chunk,
    "a chunk's text edited, its digest left alone": lambda vandal: vandal.edit_chunk(text="by hand"),
    "a chunk's text and digest edited": lambda vandal: vandal.edit_chunk(
        text="by hand", text_digest=ids.text_digest("by hand")
    ),
    "a chunk's heading path edited": lambda vandal: vandal.edit_chunk(heading_path=("by hand",)),
    "a chunk's place edited": lambda vandal: vandal.edit_chunk(ordinal=77),
    "a chunk invented": Vandal.invent_chunk,
    "a Document node edited": Vandal.edit_anchor,
    "a link cut": Vandal.cut_a_link,
    "a point deleted": Vandal.delete_point,
    "a point's text edited, its digest left alone": lambda vandal: vandal.edit_point(text="by hand"),
    "a point's digest edited": lambda vandal: vandal.edit_point(text_digest=ids.text_digest("by hand")),
    "a point's access labels edited": lambda vandal: vandal.edit_point(access=("everybody",)),
    "a point's title edited": lambda vandal: vandal.edit_point(title="by hand"),
    "a point's heading path edited": lambda vandal: vandal.edit_point(heading_path=("by hand",)),
    "a point's vector turned": Vandal.turn_vector,
    "a point's vector spoilt": Vandal.spoil_vector,
    "a point hidden": Vandal.hide_point,
    "a ledger row deleted": Vandal.delete_ledger_chunk,
    "a ledger row edited": Vandal.edit_ledger_chunk,
    "a generation in no list": Vandal.take_off_the_list,
}
