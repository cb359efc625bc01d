"""Artefacts that nothing needs any more: old, and made for no plan and named by no row that the ledger keeps.

Files are listed first and the ledger is asked then, so that whatever was staged for a newer plan is either in what it
says or too young. An artefact that is staged a second time becomes young again (`Staging.put`), and each file's age is
read once more as it goes. References go after what they lead to: a content without one would count as stray to `verify`
until the next maintenance has removed it. The bars of erased documents are of a kind of their own, which is never
looked at here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from concordance import fault_points
from concordance.errors import Corrupt
from concordance.ledger.expiring import Kept, KeptPlan
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import PlanReference
from concordance.pipeline.staged import documents_inputs, inputs_of
from concordance.settings import Settings
from concordance.staging import KINDS, StagedFile, Staging, reference_name

GATE = "gate"
_EVIDENCE = "evidence"
_CHUNKS = "chunks"
# Chunks are older than the vectors that were made of them, by as long as a run may take, and go after them.
_CHUNKS_STAY_SECONDS = 86_400
_HOUR_SECONDS = 3600
# Files that go between two looks at the time that is left.
_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Expired:
    """Staged files of one kind whose time is over, in the order in which they are to go."""

    kind: str
    names: tuple[str, ...]
    older_than_seconds: float


def expired_artefacts(*, adapters: Adapters, settings: Settings) -> list[Expired]:
    """What may go now, by kind; nothing is removed. Raises `Unavailable`."""
    files = {kind: adapters.staging.files(kind) for kind in KINDS}
    if adapters.ledger.versions.live() is None:
        # Nothing is known to be needed: a ledger that was lost is made anew from just these files.
        return []
    run_seconds = settings.artefact_retention_hours * _HOUR_SECONDS
    gate_seconds = settings.gate_retention_days * 24 * _HOUR_SECONDS
    kept = adapters.ledger.expiring.kept(run_seconds=run_seconds, gate_seconds=gate_seconds)
    references = {name for plan in kept.plans for name in _needed(plan, adapters.staging)}
    paths = kept.paths | {path for plan in kept.plans if plan.is_whole for path in _rehearsed(plan)}
    found = []
    # The last made go first: an erase knows the vectors of a text by the chunks that hold it.
    for kind in reversed(KINDS):
        seconds = _seconds(kind, kept, run_seconds=run_seconds, gate_seconds=gate_seconds)
        names = _expired(files[kind], adapters.staging, references=references, paths=paths, older_than_seconds=seconds)
        found.append(Expired(kind, tuple(names), seconds))
    return found


def remove_artefacts(expired: Expired, *, adapters: Adapters) -> Iterator[int]:
    """Remove the files in small steps; yields how many went in each."""
    for start in range(0, len(expired.names), _AT_ONCE):
        with fault_points.around("artefacts.expire"):
            yield sum(
                adapters.staging.remove_older(name, older_than_seconds=expired.older_than_seconds)
                for name in expired.names[start : start + _AT_ONCE]
            )


def _seconds(kind: str, kept: Kept, *, run_seconds: float, gate_seconds: float) -> float:
    if kind == GATE:
        return max(run_seconds, gate_seconds)
    if kind == _EVIDENCE:
        # It says only what it was read back of: none of an open plan can be older than that plan, by two clocks.
        return max(run_seconds, kept.open_seconds + _HOUR_SECONDS if kept.open_seconds else 0)
    return run_seconds + (_CHUNKS_STAY_SECONDS if kind == _CHUNKS else 0)


def _needed(plan: KeptPlan, staging: Staging) -> Iterator[str]:
    """The references of the plan's artefacts that its stages, repairs and builds look for."""
    plan_id = str(plan.plan_id)
    if plan.is_whole:
        yield reference_name("plan", [plan_id])
    if plan.reference is None:
        return
    made = PlanReference.from_json(plan.reference)
    for shard in range(made.shards):
        inputs = inputs_of(made, shard, plan.settings)
        yield reference_name("chunks", inputs)
        # A reference that is damaged leads nowhere: its stage makes everything anew.
        with suppress(Corrupt):
            chunks = staging.find("chunks", inputs)
            if chunks is not None:
                yield reference_name("documents", documents_inputs(inputs, chunks.digest))
            if chunks is not None and plan.is_whole:
                yield reference_name("vectors", [plan_id, chunks.digest, plan.settings.model.digest])


def _rehearsed(plan: KeptPlan) -> Iterator[str]:
    """What an exact plan extracted, for the run that is to do exactly this."""
    made = None if plan.reference is None else PlanReference.from_json(plan.reference)
    for shard in made.rehearsed if made else ():
        yield from (shard.documents.path, shard.chunks.path, shard.rejections.path)


def _expired(
    files: Sequence[StagedFile],
    staging: Staging,
    *,
    references: Collection[str],
    paths: Collection[str],
    older_than_seconds: float,
) -> list[str]:
    led = {file.name: to for file in files if (to := staging.leads_to(file.name)) is not None}
    old = [file.name for file in files if file.age_seconds >= older_than_seconds]
    gone = [name for name in old if name in led and name not in references and led[name] not in paths]
    leaving = set(gone)
    needed = {*paths, *(to for name, to in led.items() if name not in leaving)}
    return [*(name for name in old if name not in led and name not in needed), *gone]
