"""Scale: what a chunk costs at ten thousand, at a hundred thousand, at a million; flat means that nothing grows faster.

Each size is measured in a process of its own, on stores of its own (`bench/scale_size.py`), with hash vectors so that
no encoder hides the rest. What is told: seconds a chunk by stage and their ratio to those of the smallest size, the
process' peak of memory, and bytes on the disk a chunk. The ratio is one of two runs on one machine, minutes apart: a
neighbour who comes and goes is in it, and what counts for a stage is whether it stays below the bound.

    PYTHONPATH=tests python -m bench.scale                           10,000 and 100,000 chunks, the embedded stores
    PYTHONPATH=tests python -m bench.scale 10000 1000000 --budget-seconds 14400
    PYTHONPATH=tests python -m bench.scale 10000 --stores memory     a quick look at the pipeline and the ledger alone

What each size has told stands in `.concordance/bench/scale-<stores>-<size>.json`, from its first stage on: one that is
broken off, or passes the budget, has told something. `CONCORDANCE_BENCH_SCALE` sets the sizes of `measure`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / ".concordance" / "bench"
SIZES = (10_000, 100_000)
# What a run does to a chunk, once; the others are told apart.
INGEST = (
    "plan",
    "extract",
    "check_documents",
    "embed",
    "check_chunks",
    "load",
    "check_stores",
    "publish",
    "report",
)
# A plan holds a row of each document that it compares.
_PLANS = ("plan", "plan without changes", "edit: plan")
FLAT = "<= 1.5"
# So long may the stores take to stop once their process was told to.
_STOP_SECONDS = 120.0

Told = dict[str, Any]


def measure() -> list[Figure]:
    """All figures of scale, for the sizes that the environment names."""
    named = os.environ.get("CONCORDANCE_BENCH_SCALE", "")
    sizes = [int(size) for size in named.split(",")] if named else list(SIZES)
    return figures(_all(sizes, stores="embedded", budget_seconds=float("inf")))


def figures(told: list[Told]) -> list[Figure]:
    """Of each size, and of the largest against the smallest that was told whole."""
    found = [figure for one in told for figure in _of_one(one)]
    whole = sorted((one for one in told if one["is_whole"]), key=lambda one: one["chunks"])
    return [*found, *_flatness(whole[0], whole[-1])] if len(whole) > 1 else found


def _of_one(one: Told) -> list[Figure]:
    name, chunks = f"scale, {one['size']:,} chunks", max(1, one["chunks"])
    stages = [
        Figure(f"{name}: {stage}", 1e6 * seconds / chunks, "us/chunk") for stage, seconds in one["seconds"].items()
    ]
    places = [Figure(f"{name}: {place}", size / chunks, "bytes/chunk") for place, size in one["bytes"].items()]
    seconds = one["seconds"].get("plan without changes")
    plan = (
        [Figure(f"{name}: plan without changes", one["notes"] / seconds, "documents/s", ">= 10000")] if seconds else []
    )
    return [
        Figure(f"{name}: made", one["chunks"], "chunks"),
        Figure(f"{name}: whole run", 1e6 * _seconds(one, INGEST) / chunks, "us/chunk"),
        *stages,
        *plan,
        Figure(f"{name}: peak of memory", max(one["peak_mb"].values(), default=0.0), "MB"),
        *places,
    ]


def _flatness(small: Told, large: Told) -> list[Figure]:
    name = f"scale, {large['size']:,} / {small['size']:,} chunks"

    def ratio(stages: tuple[str, ...]) -> float:
        a_chunk: list[float] = [_seconds(one, stages) / one["chunks"] for one in (large, small)]
        return a_chunk[0] / a_chunk[1]

    peaks, planning = (
        [max(peak for stage, peak in one["peak_mb"].items() if stage in stages) for one in (small, large)]
        for stages in (small["peak_mb"], _PLANS)
    )
    return [
        Figure(f"{name}: time a chunk, whole run", ratio(INGEST), "x", FLAT),
        *(
            Figure(f"{name}: time a chunk, {stage}", ratio((stage,)), "x", FLAT)
            for stage in (*INGEST, "verify", "rebuild")
        ),
        # A process that holds the stores too grows with them.
        Figure(f"{name}: peak of memory", peaks[1] / peaks[0], "x", "<= 1.15" if large["stores"] == "embedded" else ""),
        Figure(
            f"{name}: memory of a plan",
            1e6 * (planning[1] - planning[0]) / (large["documents"] - small["documents"]),
            "bytes/document",
        ),
        Figure(
            f"{name}: seconds of a run that changes one document",
            _seconds(large, ("edit: the rest",)) / _seconds(small, ("edit: the rest",)),
            "x",
            FLAT,
        ),
    ]


def _seconds(one: Told, stages: tuple[str, ...]) -> float:
    return sum(float(one["seconds"].get(stage, 0.0)) for stage in stages)


def _all(sizes: list[int], *, stores: str, budget_seconds: float) -> list[Told]:
    """The smallest first: what is learned before the budget is spent are whole sizes."""
    until = time.monotonic() + budget_seconds
    told = []
    for size in sorted(sizes):
        left = until - time.monotonic()
        if left <= 0:
            print(f"{size:,} chunks: left out, the budget is spent", file=sys.stderr)
            continue
        print(f"{size:,} chunks, {stores} stores ...", file=sys.stderr, flush=True)
        told.append(_one(size, stores=stores, seconds=left))
    return told


def _one(size: int, *, stores: str, seconds: float) -> Told:
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = RESULTS / f"scale-{stores}-{size}.json"
    result.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="concordance-scale-") as folder:
        command = [sys.executable, "-m", "bench.scale_size", str(size)]
        command += ["--stores", stores, "--folder", folder, "--result", str(result)]
        with subprocess.Popen(command, cwd=ROOT, env=dict(os.environ)) as process:
            try:
                process.wait(timeout=None if seconds == float("inf") else seconds)
            except subprocess.TimeoutExpired:
                print(f"{size:,} chunks: broken off, the budget is spent", file=sys.stderr)
                _stop(process)
            except BaseException:
                _stop(process)
                raise
    if not result.exists():
        raise RuntimeError(f"The measurement of {size:,} chunks ended with code {process.returncode} before any stage")
    told: Told = json.loads(result.read_text())
    if process.returncode and not told["is_whole"] and seconds == float("inf"):
        raise RuntimeError(f"The measurement of {size:,} chunks ended with code {process.returncode}: see {result}")
    return told


def _stop(process: subprocess.Popen[bytes]) -> None:
    """As by a person's Ctrl-C: it stops its stores before it ends."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.scale")
    arguments.add_argument("sizes", type=int, nargs="*", default=list(SIZES), help="chunks")
    arguments.add_argument("--stores", choices=("embedded", "memory"), default="embedded")
    arguments.add_argument("--budget-seconds", type=float, default=float("inf"))
    given = arguments.parse_args()
    for figure in figures(_all(given.sizes, stores=given.stores, budget_seconds=given.budget_seconds)):
        kept = {True: "kept", False: "NOT KEPT", None: ""}[figure.is_kept]
        print(f"{figure.name:75} {figure.value:16,.2f} {figure.unit:12} {figure.bound:10} {kept}")


if __name__ == "__main__":
    main()
