"""Erase: hide at once, clear everywhere, wait for the last writer, clear again, read back empty, write the receipt.

`erase` hides in one ledger transaction: from its commit on no reader sees the documents, nothing ingests them, and
nothing lifts the bar; a plan that lists them again counts them as erased. Then it clears what it can reach. `finish`
clears again, once no writer that began before can be at work, reads both stores back, and only if nothing is left says
"erased". Until then the word is "hidden". Whatever fails on the way is raised, and the same `finish` goes on.

Where something of a document stands, and what becomes of it:
- graph: chunks, their edges, edges of its own, the Document node, entities that nothing else names; every index version
- vectors: points with text, payload and vectors; every index version
- staging: plan, documents, chunks, vectors, evidence and gate artefacts, and half-written files: `erased_artefacts`
- ledger: quarantine rows with their details, titles (at once); chunk and link rows, digests, stamps, access labels,
  the uri itself, scopes of runs over it alone (at the end). Ids, numbers, states, times and reason codes stay
- run reports, gate reports of the orchestrator, metrics and XCom: counts and ids only, nothing to remove
What is kept on purpose: which ids are barred (`bars`), so that a rebuilt ledger bars them again, and the receipt.
What it does not reach: the source itself (remove it there too, although nothing will read it here); the same words
under another uri, source or tenant, which is another document; the spelling of an entity that a living document names
as well; names that the source gave to the gazetteer, frozen with an index version (a version that is built after the
source has dropped the document lacks them); links to it in other documents' texts; log lines that name its uri, until
they rotate; the conf of the orchestrator's run that asked for it; pages that an engine has freed but not yet
overwritten (compaction and log rotation are the engine's own); backups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from concordance import fault_points
from concordance.consistency.bars import keep_bars
from concordance.consistency.erased_artefacts import clear_artefacts
from concordance.errors import ConcordanceError, Conflict, Leased, Transient, Unavailable
from concordance.ledger.erasing import Erasure
from concordance.ledger.erasure_scope import Scope
from concordance.model import GenerationKey, IndexVersion
from concordance.operations import telemetry
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings
from concordance.slices import weighed_slices

# The ledger holds the documents of a page while it is cleared, the graph those of one transaction.
_PAGE_DOCUMENTS = 100
_GENERATIONS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class EraseRequest:
    """Who asks for what, under an id of the caller's choice: the same id is the same erasure, however often it is
    asked for."""

    erasure_id: UUID
    scope: Scope
    requested_by: str
    reason: str


def preview(scope: Scope, *, adapters: Adapters) -> dict[str, int]:
    """What an erasure would hide, as counts; writes nothing. 0 documents: nothing of this name is known."""
    return adapters.ledger.erasing.preview(scope, tenant=_declared_tenant(scope, adapters))


def erase(request: EraseRequest, *, adapters: Adapters, settings: Settings) -> Erasure:
    """Hide the documents, then clear both stores and the staging area. The answer is hidden, never yet erased.

    Raises `Misconfigured` when the scope names nothing. Any other error names the erasure if it stands: it is hidden
    then, and `finish` goes on with it.
    """
    with fault_points.around("erase.begin"):
        erasure = adapters.ledger.erasing.begin(
            request.erasure_id,
            scope=request.scope,
            requested_by=request.requested_by,
            reason=request.reason,
            tenant=_declared_tenant(request.scope, adapters),
        )
    if erasure.is_new:
        telemetry.count("erase.hidden", erasure.counts["documents"])
    if not erasure.is_erased:
        clear(erasure, adapters=adapters, settings=settings)
    return adapters.ledger.erasing.get(erasure.erasure_id)


def finish(erasure_id: UUID, *, adapters: Adapters, settings: Settings) -> Erasure:
    """Clear again, read both stores back, and end the erasure with its receipt; a finished one is only returned.

    Raises `Leased` with the seconds to wait while a writer or reader that began before may be at work; then, too, what
    can be cleared already is. Raises `Unavailable` when something is still there, or a store does not answer.
    """
    ledger = adapters.ledger.erasing
    erasure = ledger.get(erasure_id)
    if erasure.is_erased:
        return erasure
    # Asked before the stores are cleared: what is cleared after the last writer's time stays clear.
    left = ledger.seconds_left(erasure_id)
    clear(erasure, adapters=adapters, settings=settings)
    if left > 0:
        raise Leased(
            f"Erasure {erasure_id} is hidden, not erased: a writer that began before it may be at work for {left:.0f} "
            f"s more. {_goes_on(erasure_id)}",
            retry_after_seconds=left,
        )
    evidence = read_back(erasure, adapters=adapters)
    with fault_points.around("erase.done"):
        ended = ledger.finish(erasure_id, evidence=evidence)
    telemetry.count("erase.erased", ended.counts["documents"])
    return ended


def finish_due(*, adapters: Adapters, settings: Settings) -> list[Erasure]:
    """Finish every erasure that is hidden and whose time has come; returns those that are erased now.

    For a schedule: nobody has to remember a name. Raises what `finish` raises; the others are tried the next time.
    """
    ledger = adapters.ledger.erasing
    due = [each for each in ledger.unfinished() if ledger.seconds_left(each.erasure_id) == 0]
    return [finish(each.erasure_id, adapters=adapters, settings=settings) for each in due]


def clear(erasure: Erasure, *, adapters: Adapters, settings: Settings) -> None:
    """Delete what the two stores and the staging area hold of the documents, in every index version kept; and stage
    the bars, for a ledger that is rebuilt.

    Each of these is tried, also when another one fails: what can go, goes. Raises what failed, as one error.
    """
    failed: dict[str, ConcordanceError] = {}
    steps: dict[str, Callable[[], object]] = {
        "vectors": lambda: _clear_vectors(erasure, adapters, settings),
        "graph": lambda: _clear_graph(erasure, adapters, settings),
        "staging": lambda: clear_artefacts(erasure, adapters=adapters, settings=settings),
        "bars": lambda: keep_bars(erasure, adapters=adapters),
    }
    for name, step in steps.items():
        try:
            step()
        except ConcordanceError as error:
            telemetry.count("erase.failed", store=name)
            failed[name] = error
    if failed:
        said = "; ".join(f"{name}: {error}" for name, error in failed.items())
        kind = Unavailable if any(isinstance(error, Transient) for error in failed.values()) else Conflict
        raise kind(
            f"Erasure {erasure.erasure_id} is hidden, not erased: {', '.join(failed)} could not be done ({said}). "
            f"Once that is mended: {_goes_on(erasure.erasure_id)}"
        ) from next(iter(failed.values()))


def read_back(erasure: Erasure, *, adapters: Adapters) -> dict[str, Any]:
    """Look for any row of the documents, of whatever generation, in both stores and every index version kept.

    Returns what was looked at. Raises `Unavailable` when something is there.
    """
    looked = 0
    versions = adapters.ledger.erasing.kept_versions()
    for version, documents in _pages(erasure, versions, adapters):
        for name, store in (("graph", adapters.graph), ("vectors", adapters.vectors)):
            if name == "vectors" and not _has_collection(version, adapters):
                continue
            found = store.generations_of(version, documents)
            if found:
                raise Unavailable(
                    f"Erasure {erasure.erasure_id} is hidden, not erased: the {name} of index version "
                    f"{version.version} still hold {sum(found.values())} rows. {_goes_on(erasure.erasure_id)}"
                )
        looked += len(documents) if version is versions[0] else 0
    return {
        "index_versions": [version.version for version in versions],
        "documents_looked_for": looked,
        "rows_in_graph": 0,
        "points_in_vectors": 0,
    }


def _clear_vectors(erasure: Erasure, adapters: Adapters, settings: Settings) -> None:
    for version, documents in _pages(erasure, adapters.ledger.erasing.kept_versions(), adapters):
        if version.state == "building":
            # A version that is only just made may not have its collection yet.
            with fault_points.around("index.prepare"):
                adapters.vectors.prepare(version)
        if not _has_collection(version, adapters):
            continue
        with adapters.ledger.erasing.clearing(version, documents) as known:
            stored = adapters.vectors.generations_of(version, documents)
            for some in _slices(known, stored, settings):
                with fault_points.around("vectors.erase"):
                    adapters.vectors.sweep(version, some, timeout_seconds=settings.call_timeout_seconds)


def _clear_graph(erasure: Erasure, adapters: Adapters, settings: Settings) -> None:
    for version, documents in _pages(erasure, adapters.ledger.erasing.kept_versions(), adapters):
        with adapters.ledger.erasing.clearing(version, documents) as known:
            stored = adapters.graph.generations_of(version, documents)
            for some in _slices(known, stored, settings):
                with fault_points.around("graph.erase"):
                    adapters.graph.sweep(version, some, timeout_seconds=settings.call_timeout_seconds)


def _has_collection(version: IndexVersion, adapters: Adapters) -> bool:
    # One that is being dropped has lost it by now, or was given up before it had any.
    return version.state != "dropping" or version.version in adapters.vectors.kept()


def _pages(
    erasure: Erasure, versions: Sequence[IndexVersion], adapters: Adapters
) -> Iterator[tuple[IndexVersion, list[UUID]]]:
    for documents in adapters.ledger.erasing.documents(erasure.erasure_id, page_documents=_PAGE_DOCUMENTS):
        for version in versions:
            yield version, documents


def _slices(
    known: Sequence[GenerationKey], stored: Mapping[GenerationKey, int], settings: Settings
) -> Iterator[Sequence[GenerationKey]]:
    """What the ledger or the store knows, in pieces; the Document nodes (generation 0) last, after all their chunks.

    None when the store holds nothing: a second clearing costs one look a page.
    """
    keys = sorted({*known, *stored} if stored else (), key=lambda key: (key.generation == 0, key))
    return weighed_slices(
        keys, lambda key: stored.get(key, 0), size=_GENERATIONS_AT_ONCE, heaviest=settings.settle_chunks
    )


def _declared_tenant(scope: Scope, adapters: Adapters) -> str | None:
    declaration = adapters.declarations.get(scope.source) if scope.source is not None else None
    return None if declaration is None else declaration.tenant


def _goes_on(erasure_id: UUID) -> str:
    return f"Go on with `python -m concordance erase --finish {erasure_id}`"
