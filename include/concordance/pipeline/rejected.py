"""The lines about documents that a stage or a gate rejected; `counted` counts them."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from concordance.model import Rejection

# A gate may reject a whole source; the ledger's quarantine holds all of them.
_MOST_LINES = 1_000

log = structlog.get_logger(__name__)


def tell_rejected(rejections: Sequence[Rejection], *, source: str) -> None:
    """One line for each, once they are recorded. Ids and codes only: the detail is in the quarantine."""
    for rejection in rejections[:_MOST_LINES]:
        log.info(
            "a document is quarantined",
            source=source,
            document_id=str(rejection.document_id),
            reason=str(rejection.reason),
            rejected_by=rejection.stage,
        )
    if len(rejections) > _MOST_LINES:
        log.info("more documents are quarantined", source=source, more=len(rejections) - _MOST_LINES)
