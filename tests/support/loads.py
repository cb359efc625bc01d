"""Runs on memory stores up to their load: a shelf of documents, planned, extracted and embedded, ready to be delivered.

The ledger and the stages are the real ones; the gates, which cost seconds, have tests of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import fsspec

from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import PlanReference, RunReport, RunRequest, ShardReference
from concordance.pipeline.report import report
from concordance.settings import Settings
from simulation.world import SOURCE, Shelf
from support.ledgers import connect
from support.memory_adapters import memory_adapters


@dataclass(frozen=True)
class Loads:
    """A source in memory and what its runs work with."""

    shelf: Shelf
    adapters: Adapters
    settings: Settings

    @property
    def tools(self) -> dict[str, Any]:
        return {"adapters": self.adapters, "settings": self.settings}

    def prepared(self, run_id: str) -> tuple[PlanReference, list[ShardReference]]:
        """A run up to its load."""
        plan = make_plan(RunRequest(SOURCE, run_id, approved=True), **self.tools)
        if not plan.goes_on:
            return plan, []
        return plan, [embed(plan, extract(plan, shard, **self.tools), **self.tools) for shard in range(plan.shards)]

    def published(self, plan: PlanReference) -> RunReport:
        """The end of a run, once it is loaded."""
        if plan.goes_on:
            publish(plan, **self.tools)
        return report(plan, adapters=self.adapters)

    def run(self, run_id: str) -> RunReport:
        plan, shards = self.prepared(run_id)
        for shard in shards:
            load(plan, shard, **self.tools)
        return self.published(plan)

    def quarantined(self) -> dict[str, tuple[str, str]]:
        """By uri: the stage and the reason code."""
        with connect(self.settings) as connection:
            rows = connection.execute("SELECT uri, stage, reason FROM quarantine JOIN documents USING (document_id)")
            return {str(uri): (str(stage), str(reason)) for uri, stage, reason in rows.fetchall()}

    def committed(self) -> dict[str, list[str]]:
        """By uri: the text digests of the current generation, in order."""
        ledger = self.adapters.ledger
        with ledger.snapshot() as snapshot:
            version = snapshot.live()
            chunks = sorted(snapshot.committed(version), key=lambda chunk: (chunk.document_id, chunk.ordinal))
            uris = {
                document_id: row.uri
                for document_id, row in snapshot.documents(version, {chunk.document_id for chunk in chunks}).items()
            }
        found: dict[str, list[str]] = {}
        for chunk in chunks:
            found.setdefault(uris[chunk.document_id], []).append(chunk.text_digest)
        return found


@contextmanager
def loads(
    settings: Settings, ledger: Ledger, parser: Parser, *, graph: object, vectors: object, **changes: Any
) -> Iterator[Loads]:
    """Small chunks, no waiting between attempts, a lease that outlasts any test; `changes` to the settings."""
    quick = {"retry_wait_seconds": 0.0, "chunk_min_tokens": 16, "chunk_max_tokens": 40, "lease_seconds": 120}
    own = settings.model_copy(update={**quick, **changes})
    # A ledger holds its lease's length: one of the longer lease, on the same rows.
    shelf, folder = Shelf(), f"loads-{uuid4()}"
    reopened = type(ledger)(own)
    adapters = memory_adapters(
        reopened, own, parser, source=shelf, graph=graph, vectors=vectors, staging=f"memory://{folder}"
    )
    try:
        yield Loads(shelf, adapters, own)
    finally:
        reopened.close()
        staged = fsspec.filesystem("memory")
        if staged.exists(folder):
            staged.rm(folder, recursive=True)
