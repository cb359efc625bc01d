"""Jumps against the last runs of a source: what no single document shows, but a person who knows the source would ask.

A run is compared with the median of the last published runs of the same scope. Nothing is said before there are enough
of them, nor of a run that read only a few documents.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from concordance.settings import Settings

DOCUMENTS, CHECKED = "documents", "checked_documents"
CHUNK_CHARACTERS, ENTITIES = "chunk_characters", "entities_per_chunk"
_NAMED = {
    DOCUMENTS: "The number of the source's documents",
    CHUNK_CHARACTERS: "The mean length of a chunk in characters",
    ENTITIES: "The mean number of entities that a chunk mentions",
}
# Added to both sides of a ratio: between none and hardly any is no jump.
_LEAST = 0.1


def jumps(
    figures: Mapping[str, float], earlier: Sequence[Mapping[str, float]], *, settings: Settings
) -> tuple[str, ...]:
    """A sentence for each figure of a run beyond `max_jump_factor` of the median of the `earlier` runs' figures."""
    found = []
    for name in [name for name in _NAMED if name in figures]:
        # The mean of a run says something from a number of documents on; their own number is what it is.
        is_mean = name != DOCUMENTS
        past = [
            run[name]
            for run in earlier
            if name in run and not (is_mean and run.get(CHECKED, 0) < settings.min_jump_documents)
        ]
        if len(past) < settings.min_jump_runs:
            continue
        now, before = figures[name], statistics.median(past)
        documents = figures.get(CHECKED, 0) if is_mean else max(now, before)
        factor = (max(now, before) + _LEAST) / (min(now, before) + _LEAST)
        if documents >= settings.min_jump_documents and factor > settings.max_jump_factor:
            found.append(
                f"{_NAMED[name]} is {now:,.4g}, at the median of the last {len(past)} runs it was {before:,.4g}: "
                f"more than the factor {settings.max_jump_factor:g} that max_jump_factor allows. Look at the source"
            )
    return tuple(found)
