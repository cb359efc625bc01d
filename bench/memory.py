"""The most memory that a task of a run needs, and whether it grows with the corpus: each stage in a process of its own.

A corpus that fills one shard, and one of four times as many chunks, goes through the whole run on the embedded stores
with hash vectors; every task of every stage is a process that opens its adapters and ends, as under Airflow. What an
encoder needs is the model's own (`bench.encoding`). The parser's processes, which have a limit of their own, are not
counted.
`python -m bench.memory CHUNKS` runs this file alone with another size.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.corpora import document
from bench.figures import Figure, show
from bench.stacks import stack

from concordance.operations.process import peak_bytes
from concordance.pipeline.adapters import open_adapters
from concordance.pipeline.check import check_chunks, check_documents, check_stores
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import PlanReference, RunRequest, ShardReference
from concordance.pipeline.report import report
from concordance.settings import Settings, load_settings

# As much text as one shard takes: what a task holds grows with its shard, and must not grow with the corpus beyond.
CHUNKS = 25_000
GROWTH = 4
CHUNKS_A_DOCUMENT = 42
SHARDED = {"extract": extract, "embed": embed, "load": load}
GATES = {"check_documents": check_documents, "check_chunks": check_chunks, "check_stores": check_stores}
STAGES = ("plan", "extract", "check_documents", "embed", "check_chunks", "load", "check_stores", "publish", "report")
TASK_SECONDS = 3600


def measure(chunks: int = CHUNKS) -> list[Figure]:
    """All figures of memory, in two runs."""
    small, large = _peaks(chunks), _peaks(GROWTH * chunks)
    highest = max(large.values())
    return [
        *(Figure(f"peak memory of {stage}, {GROWTH * chunks:,} chunks", large[stage] / 1e6, "MB") for stage in STAGES),
        Figure(f"peak memory of any task, {GROWTH * chunks:,} chunks", highest / 1e6, "MB", "<= 1000"),
        *(
            Figure(f"  {stage}, when the corpus grows {GROWTH} times", large[stage] / small[stage], "x")
            for stage in STAGES
        ),
        Figure(
            f"peak memory of any task, when the corpus grows {GROWTH} times",
            highest / max(small.values()),
            "x",
            "<= 1.15",
        ),
    ]


def _peaks(chunks: int) -> dict[str, int]:
    """Peak bytes by stage, the largest of its tasks, in a run of about so many chunks."""
    with stack() as (settings, folder), tempfile.TemporaryDirectory() as name:
        for number in range(chunks // CHUNKS_A_DOCUMENT):
            (folder / "corpus" / f"{number:05}.md").write_text(document(number))
        tasks = _Tasks(settings, Path(name))
        plan = tasks.run("plan")
        shards: list[Any] = list(range(plan["shards"]))
        for stage in STAGES[1:]:
            if stage in SHARDED:
                shards = [tasks.run(stage, plan, shard) for shard in shards]
            else:
                tasks.run(stage, plan, shards)
        return tasks.peaks


class _Tasks:
    """Runs tasks one after another, each in a process of its own, and keeps the highest peak of each stage."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder = folder
        self.peaks: dict[str, int] = {}
        shown = {name: getattr(settings, name) for name in ("ledger_password", "neo4j_password", "qdrant_api_key")}
        secrets = {name: secret.get_secret_value() for name, secret in shown.items()}
        (folder / "settings.json").write_text(json.dumps({**settings.model_dump(mode="json"), **secrets}))

    def run(self, stage: str, plan: Any = None, given: Any = None) -> Any:
        """What the task gives back, as JSON."""
        (self._folder / "given.json").write_text(json.dumps([stage, plan, given]))
        subprocess.run(
            [sys.executable, "-c", f"from bench.memory import task; task({str(self._folder)!r})"],
            check=True,
            timeout=TASK_SECONDS,
            stdout=subprocess.DEVNULL,
        )
        peak, result = json.loads((self._folder / "result.json").read_text())
        self.peaks[stage] = max(peak, self.peaks.get(stage, 0))
        return result


def task(folder: str) -> None:
    """One task: reads what it is given from the folder, leaves its peak and what it gives back there."""
    settings = load_settings(json.loads((Path(folder) / "settings.json").read_text()), environment={})
    stage, plan, given = json.loads((Path(folder) / "given.json").read_text())
    with open_adapters(settings) as adapters:
        result = _walk(stage, plan, given, tools={"adapters": adapters, "settings": settings})
    (Path(folder) / "result.json").write_text(json.dumps([peak_bytes(), result]))


def _walk(stage: str, plan: Any, given: Any, *, tools: dict[str, Any]) -> Any:
    if stage == "plan":
        return make_plan(RunRequest("corpus", "bench-memory", approved=True), **tools).as_json()
    reference = PlanReference.from_json(plan)
    if stage in SHARDED:
        shard = given if stage == "extract" else ShardReference.from_json(given)
        done: ShardReference = SHARDED[stage](reference, shard, **tools)  # type: ignore[operator]  # of one shape
        return done.as_json()
    shards = [ShardReference.from_json(shard) for shard in given]
    if stage in GATES:
        GATES[stage](reference, shards, **tools)
    elif stage == "publish":
        publish(reference, **tools)
    else:
        report(reference, shards, adapters=tools["adapters"])
    return None


if __name__ == "__main__":
    show(measure(*map(int, sys.argv[1:2])))
