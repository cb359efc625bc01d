"""The two artefacts of a shard, its documents and their chunks: whoever takes both has them of one reading.

The source may change between two attempts, and two may be at work at once. So the documents are staged first, under the
digest of their own chunks; then the chunks, and the first of these decide: they name the documents that they were cut
with. Documents whose chunks came second, or never came, are found by nobody but an erase, and go with their time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from concordance import ids
from concordance.errors import Corrupt
from concordance.model import IndexSettings
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.barred import take_back_erased
from concordance.pipeline.references import PlanReference
from concordance.staging import Artefact, Staging

Row = dict[str, Any]
Inputs = list[str | int]


def inputs_of(plan: PlanReference, shard: int, frozen: IndexSettings) -> Inputs:
    """What the chunks of the shard are made of, but for the source."""
    return [str(plan.plan_id), plan.entries.digest, shard, frozen.digest, plan.settings_digest]


def documents_inputs(inputs: Inputs, chunks_digest: str) -> Inputs:
    """What the documents are made of that were cut into these chunks."""
    return [*inputs, chunks_digest]


def find_staged(inputs: Inputs, staging: Staging) -> tuple[Artefact, Artefact] | None:
    """The documents and chunks of a shard, if an attempt has staged both. Raises `Corrupt` for a damaged reference."""
    chunks = staging.find("chunks", inputs)
    documents = staging.find("documents", documents_inputs(inputs, chunks.digest)) if chunks is not None else None
    return (documents, chunks) if documents is not None and chunks is not None else None


def stage(
    documents: Sequence[Row], chunks: Sequence[Row], inputs: Inputs, *, adapters: Adapters
) -> tuple[Artefact, Artefact]:
    """Stage one attempt's documents and chunks; returns those of the attempt whose chunks came first.

    Raises `Conflict` when one of the documents was erased meanwhile, `Corrupt` when the first attempt's documents are
    gone and its chunks are others than these, `Unavailable`.
    """
    staging = adapters.staging
    cut = tables.to_parquet(chunks, tables.CHUNKS)
    own = staging.put(
        "documents",
        documents_inputs(inputs, ids.bytes_digest(cut)),
        tables.to_parquet(documents, tables.DOCUMENTS),
        rows=len(documents),
        suffix=".parquet",
    )
    first = staging.put("chunks", inputs, cut, rows=len(chunks), suffix=".parquet")
    found = find_staged(inputs, staging)
    named = {UUID(row["document_id"]) for row in documents}
    take_back_erased([own, first, *(found or ())], named, adapters=adapters)
    if found is None:
        raise Corrupt(
            f"The documents that the chunks {first.path} were cut from are not in the staging area (an erase removes "
            "those that hold an erased document, maintenance those whose time is over): start a new run"
        )
    return found
