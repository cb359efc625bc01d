"""A house of memory stores on a real ledger, with a source whose documents are entries of a dict."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from concordance.consistency import RepairReport, Scope, VerifyReport, repair, verify
from concordance.ledger import Ledger
from concordance.model import IndexVersion
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish, settle, sweep
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.report import report
from concordance.settings import Settings
from concordance.stores.memory import MemoryGraph, MemoryVectors
from simulation.world import SOURCE, Shelf
from support.ledgers import connect, move_clock
from support.memory_adapters import memory_adapters

EVERYTHING = Scope(read_vectors=True)


class SmallHouse:
    """Ledger, stores, staging and source; `texts` are the source's documents by uri."""

    def __init__(self, ledger: Ledger, settings: Settings, *, staging: Path, parser: Parser) -> None:
        self.ledger = ledger
        self.settings = settings.model_copy(
            update={
                "retry_wait_seconds": 0.0,
                "chunk_min_tokens": 16,
                "chunk_max_tokens": 40,
                "load_lanes": 1,
                "swap_patience_seconds": 0,
            }
        )
        self.shelf = Shelf()
        self.texts = self.shelf.documents
        self.graph, self.vectors = MemoryGraph(), MemoryVectors()
        self._staging, self._parser = staging, parser
        self.runs = 0

    @property
    def adapters(self) -> Adapters:
        return memory_adapters(
            self.ledger,
            self.settings,
            self._parser,
            source=self.shelf,
            graph=self.graph,
            vectors=self.vectors,
            staging=f"file://{self._staging}",
        )

    def run(self) -> RunReport:
        """A whole run without the gates: what they check has tests of its own, and they cost seconds."""
        self.runs += 1
        tools: dict[str, Any] = {"adapters": self.adapters, "settings": self.settings}
        plan = make_plan(RunRequest(SOURCE, f"run-{self.runs}", approved=True), **tools)
        if plan.goes_on:
            for shard in range(plan.shards):
                load(plan, embed(plan, extract(plan, shard, **tools), **tools), **tools)
            publish(plan, **tools)
        return report(plan, adapters=self.adapters)

    def wait_and_sweep(self) -> None:
        """After the grace, everything that is due is settled and swept."""
        self.wait(self.settings.lease_seconds + self.settings.sweep_grace_seconds + 1)
        settle(self.live, adapters=self.adapters, settings=self.settings)
        sweep(self.live, adapters=self.adapters, settings=self.settings)

    def wait(self, seconds: float) -> None:
        with connect(self.settings) as connection:
            move_clock(connection, seconds)

    @property
    def live(self) -> IndexVersion:
        with self.ledger.snapshot() as snapshot:
            return snapshot.live()

    def check(self, scope: Scope = EVERYTHING) -> VerifyReport:
        adapters = self.adapters
        return verify(ledger=self.ledger, graph=self.graph, vectors=self.vectors, scope=scope, staging=adapters.staging)

    def put_right(self) -> RepairReport:
        return repair(adapters=self.adapters, settings=self.settings, scope=EVERYTHING)

    def lose_artefacts(self) -> None:
        """Somebody emptied the staging area."""
        shutil.rmtree(self._staging)

    def strand_an_artefact(self) -> None:
        """A writer died long ago between an artefact and its reference."""
        path = self._staging / "chunks" / f"{'0' * 64}.parquet"
        path.write_bytes(b"half a shard")
        os.utime(path, (0, 0))

    def digests(self) -> dict[str, list[str]]:
        """By uri: digests of the current texts in order."""
        with self.ledger.snapshot() as snapshot:
            version = snapshot.live()
            chunks = sorted(snapshot.committed(version), key=lambda chunk: (chunk.document_id, chunk.ordinal))
            rows = snapshot.documents(version, {chunk.document_id for chunk in chunks})
        found: dict[str, list[str]] = {}
        for chunk in chunks:
            found.setdefault(rows[chunk.document_id].uri, []).append(chunk.text_digest)
        return found
