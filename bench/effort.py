"""How much trouble this run of the bench takes: said once by its command, read by the rooms' own processes."""

from __future__ import annotations

import os

_PAIRS, _QUICK = "CONCORDANCE_BENCH_PAIRS", "CONCORDANCE_BENCH_QUICK"


def pairs(usual: int) -> int:
    """So many pairs as were asked for, else as many as the room usually takes."""
    return int(os.environ.get(_PAIRS, "0")) or usual


def is_quick() -> bool:
    """A look, not a figure for the history: smaller corpora, and what takes minutes is left out."""
    return os.environ.get(_QUICK) == "1"


def environment(*, pairs: int | None, quick: bool) -> dict[str, str]:
    """What tells a room's process of it."""
    return {**({_PAIRS: str(pairs)} if pairs else {}), **({_QUICK: "1"} if quick else {})}
