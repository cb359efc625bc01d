"""Embed: one vector for each distinct text of a shard, copied from the live index where the text is known.

Known texts are found by their digest in the ledger's current generations and their vectors read from the store; only
the rest is encoded, pooled across documents, longest first. Every vector is checked before it is kept; a text whose
vector is not finite, of unit norm and of the model's dimension sends its documents to quarantine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from concordance.pipeline.plan import rejected_under
from concordance.pipeline.references import PlanReference, ShardReference
from concordance.pipeline.rejected import tell_rejected
from concordance.pipeline.version import read_beside, version_of
from concordance.settings import Settings
from concordance.slices import slices
from concordance.staging import Artefact

_LOOKUP_TEXTS = 1000


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


@dataclass(slots=True)
class _Vectors:
    """By text digest: the vector and whether it was copied; and the texts that have none."""

    kept: dict[str, Vector] = field(default_factory=dict)
    copied: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


def _make(
    plan: PlanReference,
    shard: ShardReference,
    version: IndexVersion,
    inputs: list[str],
    *,
    adapters: Adapters,
    settings: Settings,
) -> Artefact:
    chunks = tables.from_parquet(
        adapters.staging.read(shard.chunks), columns=["document_id", "text_digest", "text"]
    ).to_pylist()
    rejected = {str(document_id) for document_id in adapters.ledger.plans.rejected(plan.plan_id)}
    texts = {row["text_digest"]: row["text"] for row in chunks if row["document_id"] not in rejected}
    vectors, embedder = _Vectors(), adapters.embedder_of(version)
    for known in read_beside(plan, version, adapters=adapters):
        _copy_known(vectors, [digest for digest in texts if digest not in vectors.kept], known, adapters)
    unknown = sorted(texts.keys() - vectors.kept.keys(), key=lambda digest: (-len(texts[digest]), digest))
    for pool in slices(unknown, settings.embed_pool_texts):
        # Encoding is the longest stage: the run must not lose its source meanwhile.
        adapters.ledger.runs.renew(run_id=plan.run_id, source=plan.source)
        _encode(vectors, pool, texts, embedder, source=plan.source)
    if vectors.refused:
        _quarantine(plan, shard, chunks, vectors.refused, version, adapters=adapters, settings=settings)
    digests = sorted(vectors.kept)
    dimension = version.settings.model.dimension
    matrix = np.array([vectors.kept[digest] for digest in digests], dtype=np.float32).reshape(len(digests), dimension)
    table = tables.vectors_table(
        digests,
        matrix,
        model=embedder.fingerprint.digest,
        canaries=_canaries(version, adapters) if unknown else None,
    )
    is_copied = pa.array([digest in vectors.copied for digest in digests], type=pa.bool_())
    content = tables.table_to_parquet(table.append_column("is_copied", is_copied))
    made = adapters.staging.put("vectors", inputs, content, rows=len(digests), suffix=".parquet")
    documents = {UUID(row["document_id"]) for row in chunks}
    take_back_erased([made, shard.chunks, shard.documents], documents, adapters=adapters)
    return made


def _canaries(version: IndexVersion, adapters: Adapters) -> npt.NDArray[np.float32] | None:
    """The version's canary texts as this attempt's encoder has them, for the gate; None where it has none, or where the
    encoder fails on them, which the gate then says."""
    kept = index.canaries_of(version, adapters)
    try:
        return None if kept is None else Canaries.of(adapters.embedder_of(version), kept.texts).vectors
    except PoisonDocument:
        return None


def _copy_known(vectors: _Vectors, digests: Sequence[str], version: IndexVersion, adapters: Adapters) -> None:
    """Copy the vectors of texts that a current chunk embeds already; one swept meanwhile is simply encoded again."""
    for page in slices(digests, _LOOKUP_TEXTS):
        with adapters.ledger.snapshot() as snapshot:
            known = snapshot.known_texts(version, page)
        stored = adapters.vectors.vectors(version, list(known.values()))
        for digest, chunk_id in known.items():
            vector = stored.get(chunk_id)
            dimension = version.settings.model.dimension
            if vector is not None and vector.shape == (dimension,) and not bad_rows(vector[np.newaxis]):
                vectors.kept[digest] = vector
                vectors.copied.add(digest)


def _encode(
    vectors: _Vectors, digests: Sequence[str], texts: dict[str, str], embedder: Embedder, *, source: str
) -> None:
    """Encode; when the backend refuses the pool for one text's sake, halve until that text stands alone."""
    try:
        with telemetry.timer("embed.encoding", source=source):
            matrix = embedder.encode([texts[digest] for digest in digests])
    except PoisonDocument:
        if len(digests) == 1:
            vectors.refused.update(digests)
            return
        middle = len(digests) // 2
        _encode(vectors, digests[:middle], texts, embedder, source=source)
        _encode(vectors, digests[middle:], texts, embedder, source=source)
        return
    require_shape(matrix, embedder.fingerprint, count=len(digests))
    bad = bad_rows(matrix)
    for row, digest in enumerate(digests):
        if row in bad:
            vectors.refused.add(digest)
        else:
            vectors.kept[digest] = matrix[row]


def _quarantine(
    plan: PlanReference,
    shard: ShardReference,
    chunks: list[dict[str, str]],
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
    poisoned = sorted({row["document_id"] for row in chunks if row["text_digest"] in refused})
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
