"""The gates between the stages: data quality over what a run has made, before any reader can see it."""

from concordance.quality.document_truths import Origin
from concordance.quality.gates import (
    GATES_REVISION,
    Encoding,
    ShardFrames,
    check_chunks,
    check_documents,
    check_stores,
)
from concordance.quality.verdict import GateResult

__all__ = [
    "GATES_REVISION",
    "Encoding",
    "GateResult",
    "Origin",
    "ShardFrames",
    "check_chunks",
    "check_documents",
    "check_stores",
]
