"""Erased documents in a run that is under way: they are not read, and what was staged of them is taken back.

An erase first bars its documents and then removes the artefacts that hold them; a stage first stages its artefact and
then asks who is barred. Whichever of the two comes second sees the other, so no artefact of an erased document stays,
unless the stage's process dies between these two steps: the last look of the erase, after the grace, finds that one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from concordance import fault_points
from concordance.errors import Conflict
from concordance.model import PlanEntry
from concordance.pipeline.adapters import Adapters
from concordance.slices import slices
from concordance.staging import Artefact

_DOCUMENTS_A_QUESTION = 10_000


def without_erased(entries: Sequence[PlanEntry], *, adapters: Adapters) -> list[PlanEntry]:
    """The entries of documents that are not erased by now."""
    erased = _erased([entry.document_id for entry in entries], adapters)
    return [entry for entry in entries if entry.document_id not in erased]


def take_back_erased(artefacts: Sequence[Artefact], documents: Collection[UUID], *, adapters: Adapters) -> None:
    """Called once the artefacts are staged: if one of their documents was erased meanwhile, they are removed again.

    Raises `Conflict` then: later stages of this attempt have nothing to go on with.
    """
    erased = _erased(list(documents), adapters)
    if erased:
        with fault_points.around("artefacts.erase"):
            adapters.staging.discard({artefact.path for artefact in artefacts})
        raise Conflict(
            f"{len(erased)} documents of this shard were erased while it was worked on, and what was staged of them is "
            "removed: start a new run for the others"
        )


def _erased(document_ids: Sequence[UUID], adapters: Adapters) -> set[UUID]:
    return {
        document_id
        for page in slices(document_ids, _DOCUMENTS_A_QUESTION)
        for document_id in adapters.ledger.erased(page)
    }
