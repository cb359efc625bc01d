"""The parity gate: the next version holds what the live one holds, and both stores hold it as the ledger says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from concordance import ids
from concordance.consistency.verify import Scope, verify_version
from concordance.model import IndexVersion
from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.reindex.build import is_lost
from concordance.settings import Settings
from concordance.staging import Artefact


@dataclass(frozen=True, slots=True)
class ParityResult:
    """`lost` documents by source (at most so many by id as a gate's report names); `behind` is how many documents runs
    have moved on meanwhile: the swap catches up with them. `findings` are those of a verify."""

    passed: bool
    message: str
    documents: int
    chunks: int
    behind: int
    lost: dict[str, list[str]]
    lost_documents: int
    findings: tuple[dict[str, Any], ...]
    report: Artefact | None = None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "findings": list(self.findings)}


def check_parity(live: IndexVersion, version: IndexVersion, *, adapters: Adapters, settings: Settings) -> ParityResult:
    """Compare the version with the live one in the ledger, and with both stores. Raises what the stores raise."""
    checked = verify_version(
        version,
        ledger=adapters.ledger,
        graph=adapters.graph,
        vectors=adapters.vectors,
        scope=Scope(stale_after_seconds=settings.stale_after_seconds),
    )
    lost, behind = _lost_and_behind(live, version, adapters)
    number = sum(map(len, lost.values()))
    with adapters.ledger.snapshot() as snapshot:
        counts = snapshot.counts(version)
    why = [
        *(f"{each.count} {each.what} in {each.store}" for each in checked.findings),
    ]
    if number > settings.max_lost_documents:
        why.append(
            f"{number} documents of the live version cannot be made again, {settings.max_lost_documents} are allowed: "
            "make them readable in their source, or erase them"
        )
    result = ParityResult(
        passed=not why,
        message="; ".join(why) or f"the same {counts['documents']} documents, {counts['chunks']} chunks",
        documents=counts["documents"],
        chunks=counts["chunks"],
        behind=behind,
        lost={source: found[: settings.gate_report_documents] for source, found in lost.items()},
        lost_documents=number,
        findings=tuple(finding.as_json() for finding in checked.findings),
    )
    telemetry.count("build.gate_passed" if result.passed else "build.gate_failed", 1, gate="parity")
    return _kept(result, version, adapters)


def _lost_and_behind(live: IndexVersion, version: IndexVersion, adapters: Adapters) -> tuple[dict[str, list[str]], int]:
    lost: dict[str, list[str]] = {}
    behind = 0
    for source in adapters.ledger.building.sources([live, version]):
        differences = adapters.ledger.building.differences(live, version, source)
        gone = [str(each.document_id) for each in differences if is_lost(each)]
        behind += len(differences) - len(gone)
        if gone:
            lost[source] = gone
    return lost, behind


def _kept(result: ParityResult, version: IndexVersion, adapters: Adapters) -> ParityResult:
    # The documents that a verdict names stand in one place, whatever the gate: an erase looks for them there.
    named = sorted(document_id for found in result.lost.values() for document_id in found)
    said = {**result.as_json(), "counts": {"documents": result.documents, "chunks": result.chunks}, "documents": named}
    content = ids.canonical_json(said).encode()
    inputs = ["parity", version.version, ids.bytes_digest(content)]
    kept = adapters.staging.put("gate", inputs, content, rows=result.documents, suffix=".json")
    return replace(result, report=kept)
