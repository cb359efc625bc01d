"""What is told of documents that a stage or a gate rejected: one count for each reason, one line for each document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from concordance.model import Rejection
from concordance.operations import telemetry

# A gate may reject a whole source; the ledger's quarantine holds all of them.
_MOST_LINES = 1_000

log = structlog.get_logger(__name__)


def tell_rejected(rejections: Sequence[Rejection], *, source: str) -> None:
    """Called once they are recorded. Ids and codes only: the detail is in the quarantine."""
    for reason, rejected in Counter(rejection.reason for rejection in rejections).items():
        telemetry.count("documents.quarantined", rejected, source=source, reason=reason)
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
