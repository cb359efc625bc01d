"""Embed: one vector for each distinct text of a shard, copied from the live index where the text is known.

Known texts are found by their digest in the ledger's current generations and their vectors read from the store; only
the rest is encoded, pooled across documents, longest first. Every vector is checked before it is kept; a text whose
vector is not finite, of unit norm and of the model's dimension sends its documents to quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from concordance import fault_points
from concordance.embedding.canaries import Canaries
from concordance.embedding.checks import bad_rows, require_shape
from concordance.embedding.port import Embedder
from concordance.errors import PoisonDocument
from concordance.model import IndexVersion, Reason, Rejection, Vector
from concordance.operations import telemetry
from concordance.pipeline import index, tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.barred import take_back_erased
from concordance.pipeline.counted import count_work
from concordance.pipeline.forecast import timed
from concordance.pipeline.lease import run_lease
from concordance.pipeline.plan import rejected_under
from concordance.pipeline.references import PlanReference, ShardReference
from concordance.pipeline.rejected import tell_rejected
from concordance.pipeline.version import read_beside, version_of
from concordance.settings import Settings
from concordance.slices import slices
from concordance.staging import Artefact

_LOOKUP_TEXTS = 1000
_READ_ROWS = 2000


@timed
def embed(plan: PlanReference, shard: ShardReference, *, adapters: Adapters, settings: Settings) -> ShardReference:
    """The shard with its vectors: one row a distinct text (digest, float32 vector, whether it was copied).

    Raises `Misconfigured` when no model here is the version's, `Unavailable` when a store does not answer.
    """
    version = version_of(plan, adapters=adapters, settings=settings)
    inputs = [str(plan.plan_id), shard.chunks.digest, version.settings.model.digest]
    made = adapters.staging.find("vectors", inputs)
    if made is None:
        made = _make(plan, shard, version, inputs, adapters=adapters, settings=settings)
    copied = tables.from_parquet(adapters.staging.read(made), columns=["is_copied"]).column(0).to_pylist().count(True)
    embedded = replace(shard, vectors=made, counts={**shard.counts, "reused": copied, "embedded": made.rows - copied})
    count_work(plan, [embedded], adapters=adapters)
    return embedded


class _TextVectors:
    """The vectors of some texts, by digest: each in its row of one matrix, so that none is held twice."""

    def __init__(self, digests: Iterable[str], dimension: int) -> None:
        self.digests = sorted(digests)
        self.rows = {digest: row for row, digest in enumerate(self.digests)}
        self.matrix = np.zeros((len(self.digests), dimension), dtype=np.float32)
        self.is_kept = np.zeros(len(self.digests), dtype=np.bool_)
        self.is_copied = np.zeros(len(self.digests), dtype=np.bool_)
        self.refused: set[str] = set()
        """Texts whose vector is none."""

    def keep(self, digest: str, vector: Vector, *, is_copied: bool) -> None:
        row = self.rows[digest]
        self.matrix[row] = vector
        self.is_kept[row], self.is_copied[row] = True, is_copied

    def missing(self) -> list[str]:
        """The texts that have no vector yet, in the order of their digests."""
        return [digest for digest, is_kept in zip(self.digests, self.is_kept, strict=True) if not is_kept]

    def table(self, *, model: str, canaries: npt.NDArray[np.float32] | None) -> pa.Table:
        """What is kept, as the artefact's rows."""
        is_whole = bool(self.is_kept.all())
        matrix = self.matrix if is_whole else self.matrix[self.is_kept]
        digests = [self.digests[row] for row in np.flatnonzero(self.is_kept)]
        table = tables.vectors_table(digests, matrix, model=model, canaries=canaries)
        return table.append_column("is_copied", pa.array(self.is_copied[self.is_kept], type=pa.bool_()))


def _make(
    plan: PlanReference,
    shard: ShardReference,
    version: IndexVersion,
    inputs: list[str],
    *,
    adapters: Adapters,
    settings: Settings,
) -> Artefact:
    texts, documents = _texts(plan, shard, adapters)
    text_vectors, embedder = _TextVectors(texts, version.settings.model.dimension), adapters.embedder_of(version)
    lease = run_lease(plan.run_id, plan.source, adapters=adapters, settings=settings)
    with lease.kept():
        for known in read_beside(plan, version, adapters=adapters):
            _copy_known(text_vectors, known, adapters)
        unknown = sorted(text_vectors.missing(), key=lambda digest: (-len(texts[digest]), digest))
        for pool in slices(unknown, settings.embed_pool_texts):
            # Encoding is the longest stage: a run that has lost its source must not go on to its end.
            lease.renew_when_due()
            _encode(text_vectors, pool, texts, embedder, source=plan.source)
    if text_vectors.refused:
        _quarantine(plan, shard, text_vectors.refused, version, adapters=adapters, settings=settings)
    table = text_vectors.table(
        model=embedder.fingerprint.digest, canaries=_canaries(version, adapters) if unknown else None
    )
    made = adapters.staging.put("vectors", inputs, tables.table_to_parquet(table), rows=len(table), suffix=".parquet")
    take_back_erased([made, shard.chunks, shard.documents], documents, adapters=adapters)
    return made


def _texts(plan: PlanReference, shard: ShardReference, adapters: Adapters) -> tuple[dict[str, str], set[UUID]]:
    """The shard's different texts by digest, without those of documents that are rejected; and all its documents, which
    nobody can ask for once an erase has removed the artefact."""
    rejected = {str(document_id) for document_id in adapters.ledger.plans.rejected(plan.plan_id)}
    content = adapters.staging.read(shard.chunks)
    texts: dict[str, str] = {}
    documents: set[str] = set()
    for batch in tables.batches(content, rows=_READ_ROWS, columns=["document_id", "text_digest", "text"]):
        for row in batch.to_pylist():
            documents.add(row["document_id"])
            if row["document_id"] not in rejected:
                texts.setdefault(row["text_digest"], row["text"])
    return texts, set(map(UUID, documents))


def _canaries(version: IndexVersion, adapters: Adapters) -> npt.NDArray[np.float32] | None:
    """The version's canary texts as this attempt's encoder has them, for the gate; None where it has none, or where the
    encoder fails on them, which the gate then says."""
    kept = index.canaries_of(version, adapters)
    try:
        return None if kept is None else Canaries.of(adapters.embedder_of(version), kept.texts).vectors
    except PoisonDocument:
        return None


def _copy_known(text_vectors: _TextVectors, version: IndexVersion, adapters: Adapters) -> None:
    """Copy the vectors of texts that a current chunk embeds already; one swept meanwhile is simply encoded again."""
    dimension = version.settings.model.dimension
    for page in slices(text_vectors.missing(), _LOOKUP_TEXTS):
        with adapters.ledger.snapshot() as snapshot:
            known = snapshot.known_texts(version, page)
        stored = adapters.vectors.vectors(version, list(known.values()))
        for digest, chunk_id in known.items():
            vector = stored.get(chunk_id)
            if vector is not None and vector.shape == (dimension,) and not bad_rows(vector[np.newaxis]):
                text_vectors.keep(digest, vector, is_copied=True)


def _encode(
    text_vectors: _TextVectors, digests: Sequence[str], texts: dict[str, str], embedder: Embedder, *, source: str
) -> None:
    """Encode; when the backend refuses the pool for one text's sake, halve until that text stands alone."""
    try:
        with telemetry.timer("embed.encoding", source=source):
            matrix = embedder.encode([texts[digest] for digest in digests])
    except PoisonDocument:
        if len(digests) == 1:
            text_vectors.refused.update(digests)
            return
        middle = len(digests) // 2
        _encode(text_vectors, digests[:middle], texts, embedder, source=source)
        _encode(text_vectors, digests[middle:], texts, embedder, source=source)
        return
    require_shape(matrix, embedder.fingerprint, count=len(digests))
    bad = bad_rows(matrix)
    for row, digest in enumerate(digests):
        if row in bad:
            text_vectors.refused.add(digest)
        else:
            text_vectors.keep(digest, matrix[row], is_copied=False)


def _quarantine(
    plan: PlanReference,
    shard: ShardReference,
    refused: set[str],
    version: IndexVersion,
    *,
    adapters: Adapters,
    settings: Settings,
) -> None:
    documents = tables.from_parquet(
        adapters.staging.read(shard.documents), columns=["document_id", "stamp"]
    ).to_pylist()
    stamps = {row["document_id"]: row["stamp"] for row in documents}
    content = adapters.staging.read(shard.chunks)
    chunks = tables.from_parquet(
        content, filters=[("text_digest", "in", sorted(refused))], columns=["document_id"]
    ).to_pylist()
    poisoned = sorted({row["document_id"] for row in chunks})
    detail = f"{version.settings.model.name} gave no finite unit vector for one of its texts"
    rejections = [
        Rejection(UUID(key), "embed", Reason.BAD_VECTOR, detail, stamps[key], shard.chunks.path) for key in poisoned
    ]
    with fault_points.around("plan.quarantine"):
        adapters.ledger.plans.quarantine(
            plan.plan_id,
            rejections,
            rejected_under=rejected_under(version, settings, adapters.declarations[plan.source]),
        )
    tell_rejected(rejections, source=plan.source)
