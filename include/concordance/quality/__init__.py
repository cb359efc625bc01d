"""The gates between the stages: data quality over what a run has made, before any reader can see it."""

from concordance.quality.gates import GATES_REVISION, GateResult, check_chunks, check_documents, check_stores

__all__ = ["GATES_REVISION", "GateResult", "check_chunks", "check_documents", "check_stores"]
