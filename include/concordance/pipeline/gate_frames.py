"""What the gates look at: slices of a run's artefacts, and what both stores and the ledger hold.

Nothing here holds more than an artefact's bytes and a slice of its rows at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from concordance.model import IndexVersion
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.read_back import compare_stores, expected_of
from concordance.pipeline.references import PlanReference, ShardReference
from concordance.quality import Encoding, ShardFrames
from concordance.quality.gates import CHUNKED_COLUMNS
from concordance.settings import Settings
from concordance.staging import Artefact

if TYPE_CHECKING:
    import pandas as pd

_PAGE_GENERATIONS = 200
# A vector is judged by itself, and is far larger than any other row.
_SLICE_VECTORS = 1000


@dataclass(frozen=True, slots=True)
class ArtefactFrames:
    """The rows of some artefacts in slices, without those of the documents `left_out`; to be walked through as often as
    is asked for. `columns` None: all."""

    artefacts: Sequence[Artefact]
    adapters: Adapters
    settings: Settings
    columns: tuple[str, ...] | None = None
    left_out: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for artefact in self.artefacts:
            content = self.adapters.staging.read(artefact)
            columns = None if self.columns is None else list(self.columns)
            for frame in tables.frames(content, rows=self.settings.gate_slice_rows, columns=columns):
                kept = frame[~frame["document_id"].isin(self.left_out)] if self.left_out else frame
                if not kept.empty:
                    yield kept


def shard_frames(
    shards: Sequence[ShardReference],
    rejected: frozenset[str],
    taken_over: frozenset[str],
    *,
    adapters: Adapters,
    settings: Settings,
) -> Iterator[ShardFrames]:
    """Each shard as embed left it, without the documents that were `rejected`; of those `taken_over` the vectors."""
    # A call for each: what is left of one shard is gone before the next one is read.
    return (_frames_of(shard, rejected, taken_over, adapters=adapters, settings=settings) for shard in shards)


def _frames_of(
    shard: ShardReference,
    rejected: frozenset[str],
    taken_over: frozenset[str],
    *,
    adapters: Adapters,
    settings: Settings,
) -> ShardFrames:
    import pandas as pd

    left_out = rejected | taken_over
    assert shard.vectors is not None
    vectors = adapters.staging.read(shard.vectors)
    model, canaries = tables.made_by(vectors)
    copied = tables.from_parquet(vectors, columns=["is_copied"]).column(0).to_pylist().count(True)
    documents = list(ArtefactFrames((shard.documents,), adapters, settings, CHUNKED_COLUMNS, left_out))
    chunks = ArtefactFrames((shard.chunks,), adapters, settings, left_out=left_out)
    return ShardFrames(
        documents=pd.concat(documents) if documents else pd.DataFrame(columns=list(CHUNKED_COLUMNS)),
        chunks=tables.whole_documents(chunks),
        vectors=tables.frames(
            vectors, rows=min(_SLICE_VECTORS, settings.gate_slice_rows), columns=["text_digest", "vector"]
        ),
        encoding=Encoding(model, shard.vectors.rows - copied, canaries),
        taken_over=_texts_of(shard, taken_over - rejected, adapters),
    )


def _texts_of(shard: ShardReference, document_ids: frozenset[str], adapters: Adapters) -> frozenset[str]:
    """The text digests of these documents' chunks."""
    if not document_ids:
        return frozenset()
    wanted = [("document_id", "in", list(document_ids))]
    chunks = tables.from_parquet(adapters.staging.read(shard.chunks), filters=wanted, columns=["text_digest"])
    return frozenset(chunks.column(0).to_pylist())


def current_frames(plan: PlanReference, version: IndexVersion, *, adapters: Adapters) -> Iterator[pd.DataFrame]:
    """What is current of the run's documents, read back from both stores, as the ledger promises it."""
    import pandas as pd

    last = UUID(int=0)
    while True:
        with adapters.ledger.snapshot() as snapshot:
            page = snapshot.bases_of(plan.plan_id, after=last, limit=_PAGE_GENERATIONS)
            expected = expected_of(snapshot, version, page)
        if not page:
            return
        rows = compare_stores(version, expected, adapters=adapters)
        different = [UUID(row["document_id"]) for row in rows if not row["digests_agree"]]
        # What is erased meanwhile is cleared away at once.
        erased = {str(each) for each in adapters.ledger.erased(different)} if different else set()
        yield pd.DataFrame([row for row in rows if row["document_id"] not in erased])
        last = page[-1].document_id


def counts_frame(source: str, version: IndexVersion, *, adapters: Adapters) -> pd.DataFrame:
    """What both stores hold of the source, and what they must hold at least."""
    import pandas as pd

    # The stores first: what an erase takes away in between is gone from the ledger before it is gone from a store.
    graph = adapters.graph.counts_of(version, source).rows
    vectors = adapters.vectors.counts_of(version, source).rows
    with adapters.ledger.snapshot() as snapshot:
        expected = snapshot.expected_of(version, source)
    rows: list[dict[str, Any]] = [
        {"store": "graph", "rows_found": graph["documents"], "rows_expected": expected["documents"]},
        {"store": "graph", "rows_found": graph["chunks"], "rows_expected": expected["chunks"]},
        {"store": "vectors", "rows_found": vectors["points"], "rows_expected": expected["chunks"]},
    ]
    return pd.DataFrame(rows)
