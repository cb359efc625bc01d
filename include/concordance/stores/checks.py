"""What every adapter checks before a row leaves for its store.

A store accepts much that it should not: NaN and vectors of any length (points that then vanish from every search),
strings that only its transport refuses, edges whose ends are missing (silently left out). The checks run on the whole
call before anything of it is written, so a refused call leaves nothing behind.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from uuid import UUID

import numpy as np

from concordance import ids
from concordance.errors import Corrupt, PoisonDocument
from concordance.model import EntityRow, GraphBatch, IndexVersion, Point, Reason, SparseVector, Vector

NORM_TOLERANCE = 1e-3
MAX_TERM_ID = 2**32 - 1


def check_batch(batch: GraphBatch) -> None:
    """Every row hangs on rows of the same batch, and every string is Unicode that a store can take.

    Raises `Corrupt` for a row that names something outside the batch, `PoisonDocument` (`store_refused`) for text.
    """
    generations = {(row.document_id, row.generation) for row in batch.documents}
    documents = {row.document_id for row in batch.documents}
    if len(documents) != len(batch.documents):
        raise Corrupt("a batch names one document twice: make it again from its artefact")
    entities = {row.entity_key for row in batch.entities}
    chunks = {row.chunk_id for row in batch.chunks}
    owners = (batch.chunks, batch.document_entities, batch.relations, batch.links)
    for rows in owners:
        for row in rows:
            if (row.document_id, row.generation) not in generations:
                raise Corrupt(
                    _outside(type(row).__name__, f"generation {row.generation} of document {row.document_id}")
                )
    for mention in batch.mentions:
        if mention.chunk_id not in chunks or mention.entity_key not in entities:
            raise Corrupt(_outside("MentionRow", f"chunk {mention.chunk_id} or its entity"))
    for edge in batch.document_entities:
        if edge.entity_key not in entities:
            raise Corrupt(_outside("DocumentEntityRow", f"an entity of document {edge.document_id}"))
    for relation in batch.relations:
        if relation.subject_key not in entities or relation.object_key not in entities:
            raise Corrupt(_outside("RelationRow", f"an entity of document {relation.document_id}"))
    _check_batch_text(batch)


def connected_entities(batch: GraphBatch) -> list[EntityRow]:
    """The batch's entities that one of its rows hangs on; another one would be an orphan from the start."""
    connected = {row.entity_key for row in batch.mentions}
    connected.update(row.entity_key for row in batch.document_entities)
    for relation in batch.relations:
        connected.update((relation.subject_key, relation.object_key))
    return [row for row in batch.entities if row.entity_key in connected]


def is_itself(version: IndexVersion, node_key: str, row: EntityRow) -> bool:
    """Whether an entity as read is the one that its keys name."""
    named = ids.entity_key(tenant=row.tenant, type=row.type, name=row.name)
    return named == row.entity_key and ids.node_key(version.version, named) == node_key


def _generation(document_id: UUID, generation: int) -> str:
    return f"generation {generation} of document {document_id}"


def _outside(kind: str, what: str) -> str:
    return f"a {kind} of the batch names {what}, which the batch does not carry: make the batch again from its artefact"


def _check_batch_text(batch: GraphBatch) -> None:
    for document in batch.documents:
        _check_text(
            (document.tenant, document.source, document.uri, document.title or "", document.fingerprint),
            f"document {document.document_id}",
        )
        _check_text(document.access, f"document {document.document_id}")
    for chunk in batch.chunks:
        _check_text((chunk.text, *chunk.heading_path), f"document {chunk.document_id}, chunk {chunk.ordinal}")
    for entity in batch.entities:
        _check_text((entity.name, entity.tenant), f"entity {entity.entity_key}")


def check_points(points: Sequence[Point], *, dimension: int) -> None:
    """Dense vectors are float32, finite, of unit norm and of `dimension`; sparse ones sorted, distinct and finite.

    Raises `PoisonDocument`: `bad_vector` for a vector, `store_refused` for text that is not valid Unicode.
    """
    for point in points:
        if point.dense.shape != (dimension,) or point.dense.dtype != np.float32:
            raise _bad_vector(
                point, f"has shape {point.dense.shape} and type {point.dense.dtype}, not ({dimension},) float32"
            )
        _check_sparse(point)
        _check_text(
            (point.text, point.tenant, point.source, point.uri, point.title or "", *point.heading_path, *point.access),
            _of_point(point),
        )
    if not points:
        return
    matrix = np.stack([point.dense for point in points])
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    # A comparison with NaN is false, so NaN and infinity fail this test like any wrong norm.
    fits = np.abs(norms - 1.0) <= NORM_TOLERANCE
    if not fits.all():
        wrong = int(np.argmin(fits))
        raise _bad_vector(points[wrong], f"has norm {norms[wrong]:g}, not 1")


def check_query(query: Vector | SparseVector, *, dimension: int) -> None:
    """A query that the index can answer. Raises `Corrupt`: a wrong one comes from another model than the index's."""
    if isinstance(query, SparseVector):
        return
    if query.shape != (dimension,) or not bool(np.isfinite(query).all()):
        raise Corrupt(
            f"the query vector has shape {query.shape} or values that are not finite, the index has dimension "
            f"{dimension}: embed the query with the model of the index version"
        )


def _check_sparse(point: Point) -> None:
    indices, values = point.sparse.indices, point.sparse.values
    if len(indices) != len(values):
        raise _bad_vector(point, "has a sparse part with more ids than weights")
    if not indices:
        return
    ascending = all(map(operator.lt, indices, indices[1:]))
    if not ascending or indices[0] < 0 or indices[-1] > MAX_TERM_ID:
        raise _bad_vector(point, "has sparse term ids that are not ascending, distinct and below 2^32")
    if not np.isfinite(np.asarray(values, dtype=np.float32)).all():
        raise _bad_vector(point, "has sparse weights that are not finite")


def _bad_vector(point: Point, what: str) -> PoisonDocument:
    return PoisonDocument(
        f"the vector of {_of_point(point)} {what}: check the embedding backend", reason=Reason.BAD_VECTOR
    )


def _of_point(point: Point) -> str:
    return f"document {point.document_id}, chunk {point.ordinal}"


def _check_text(texts: Iterable[str], owner: str) -> None:
    for text in texts:
        if text.isascii():
            continue
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PoisonDocument(
                f"{owner} holds text that is not valid Unicode (a lone surrogate): no store takes it",
                reason=Reason.STORE_REFUSED,
            ) from None
