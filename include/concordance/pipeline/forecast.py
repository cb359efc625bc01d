"""What a plan would cost and touch, and what of it is unusual enough that a person must agree.

Bytes are known; chunks, texts to embed and seconds are estimates, from what the last runs took where there were any.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ParamSpec

from concordance.ledger.runs import Measured
from concordance.model import Action, PlanEntry
from concordance.pipeline.compare import Comparison
from concordance.pipeline.references import ShardReference
from concordance.settings import Settings

Parameters = ParamSpec("Parameters")

# What two cores did when nothing was measured yet: Markdown of 800 characters a chunk, 30 texts a second.
_ASSUMED = Measured(
    runs=0,
    bytes=800_000,
    chunks=1000,
    embedded=1000,
    reused=0,
    seconds={"extract": 5.0, "embed": 33.0, "load": 3.0},
)


def timed(stage: Callable[Parameters, ShardReference]) -> Callable[Parameters, ShardReference]:
    """A stage that says in its shard's reference how many seconds it took: what the next plan estimates from."""

    @functools.wraps(stage)
    def measured(*args: Parameters.args, **kwargs: Parameters.kwargs) -> ShardReference:
        began = time.monotonic()
        shard = stage(*args, **kwargs)
        return replace(shard, seconds={stage.__name__: round(time.monotonic() - began, 3), **shard.seconds})

    return measured


@dataclass(frozen=True, slots=True)
class Forecast:
    """`bytes` that are read; `chunks` of which `embed` texts are new and `reuse` are known; `seconds` of work."""

    bytes: int
    chunks: int
    embed: int
    reuse: int
    seconds: float
    basis: str

    def as_json(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("bytes", "chunks", "embed", "reuse", "seconds")}


def forecast(entries: Sequence[PlanEntry], measured: Measured | None) -> Forecast:
    """The estimates for what these entries read. `measured` are the last runs of the source, or of all sources."""
    size = sum(entry.size_bytes for entry in entries if entry.action is not Action.DELETE)
    known = measured or _ASSUMED
    chunks = size * known.chunks / known.bytes
    embed = chunks * known.embedded / max(1, known.embedded + known.reused)
    return _forecast(size, round(chunks), round(embed), round(chunks) - round(embed), known)


def exactly(size: float, found: Mapping[str, int], measured: Measured | None) -> Forecast:
    """The same for what was extracted and looked up: only the seconds are still estimates."""
    exact = _forecast(int(size), found["chunks"], found["embed"], found["reuse"], measured or _ASSUMED)
    return replace(exact, basis=f"exact, but for the seconds: {exact.basis}")


def _forecast(size: int, chunks: int, embed: int, reuse: int, known: Measured) -> Forecast:
    # Runs that only copied vectors do not tell how long a text takes.
    encoding = known if known.embedded else _ASSUMED
    seconds = (
        size * known.seconds["extract"] / known.bytes
        + embed * encoding.seconds["embed"] / encoding.embedded
        + chunks * known.seconds["load"] / max(1, known.chunks)
    )
    basis = f"measured over the last {known.runs} runs" if known.runs else "assumed: no run was measured yet"
    return Forecast(size, chunks, embed, reuse, round(seconds, 1), basis)


def unusual(
    compared: Comparison, counts: dict[str, int], read_bytes: int, *, source: str, settings: Settings
) -> tuple[str, ...]:
    """What of the plan is above a threshold, in words; empty when it may go on by itself."""
    found = []
    # What only stands damaged in a store has not changed in its source.
    moved = counts["changed"] - compared.damaged
    of_known = f"of {compared.known} known documents of source {source!r}"
    if counts["deleted"] > settings.max_delete_fraction * compared.known:
        found.append(f"{counts['deleted']} {of_known} are gone, more than {settings.max_delete_fraction:.0%}")
    if moved > max(settings.tolerated_changed_documents, settings.max_changed_fraction * compared.known):
        found.append(f"{moved} {of_known} have changed, more than {settings.max_changed_fraction:.0%}")
    if read_bytes > settings.max_planned_bytes:
        found.append(f"{read_bytes:,} bytes are to be read, more than {settings.max_planned_bytes:,}")
    return tuple(found)
