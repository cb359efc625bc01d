"""What Airflow adds: trigger to published, against the same pipeline in one process, and where the seconds of a hop go.

The corpus is the demo's: the installed packages, each edition of them with a summary of its own, which is part of every
chunk's header, so that no text is known from the run before. Both sides of a pair ingest one edition each into the same
stores: a run of `concordance_ingest` from the trigger to the end of `publish`, and `python -m concordance ingest` from
the start of its process; imports are counted on both. What the model costs is `SentenceTransformer.encode` of the texts
that the run has made, alone, loaded and warm.

A run's parts are read off Airflow's own times and its tasks' logs. `work` is what a stage says of itself; `imports and
connections` is the rest of the task's own code.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench import effort
from bench.figures import Figure, median_of, seconds, show, taking_turns
from bench.stacks import stack

from concordance.commands.demo import DAG
from concordance.embedding.backends import model_folder
from concordance.local import airflow as programs
from concordance.local import processes, state
from concordance.pipeline import tables
from concordance.pipeline.adapters import open_adapters
from concordance.pipeline.references import ShardReference
from concordance.settings import ROOT, Settings
from concordance.watching.airflow import AirflowApi

PAIRS = 3
QUICK_DOCUMENTS = 40
# One that makes the index version, and one for each side of a pair.
EDITIONS = 1 + 2 * effort.pairs(PAIRS)
REST_SECONDS = 60
_RUN_SECONDS = 5400
# What Airflow's own lines say at the borders of a task's phases (task SDK 1.3.2).
_READS, _HAS_READ = "Filling up the DagBag", "Worker startup parse complete"
_BEGINS, _ENDS = "::endgroup::", "::group::Post"
PARTS = (
    "waits to be started",
    "starts its process",
    "reads the DAG",
    "prepares and reports",
    "imports and connects",
    "works",
)
_ENCODE = """
import json, sys, time
from sentence_transformers import SentenceTransformer
model, texts = SentenceTransformer(sys.argv[1], device="cpu"), json.load(sys.stdin)
model.encode(texts[:8])
began = time.perf_counter()
model.encode(texts)
print(time.perf_counter() - began)
"""
MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "hash vectors": ({"embedding_backend": "hash"}, ""),
    "fp32": ({"embedding_backend": "sentence-transformers"}, "<= 1.3"),
    "int8": ({"embedding_backend": "sentence-transformers", "embedding_precision": "int8"}, "<= 1.0"),
}


def measure() -> Iterator[Figure]:
    """All figures of Airflow's share, model by model; a quick look takes a slice of the corpus."""
    for model in MODELS:
        yield from _of_model(model)


def _of_model(model: str) -> Iterator[Figure]:
    given, bound = MODELS[model]
    runs: list[_Run] = []
    with _deployment(**given) as house:
        # Makes the index version, and imports in the API server what the first request needs.
        house.run_in_airflow(house.edition(documents=2))

        def through_airflow() -> float:
            runs.append(house.run_in_airflow(house.edition()))
            return runs[-1].seconds

        def alone() -> float:
            source = house.edition()
            return seconds(lambda: house.run_alone(source))

        pairs = taking_turns(through_airflow, alone, pairs=PAIRS)
        rest = house.at_rest()
        texts = house.texts(runs[0].shards)
        encoding = [] if "hash" in model else [house.encoding_seconds(texts) for _ in pairs]
    yield Figure(f"Airflow, {model}: chunks of a run", len(texts), "chunks")
    yield median_of(
        f"Airflow, {model}: trigger to published / without Airflow", [one / other for one, other in pairs], "x"
    )
    if encoding:
        ratios = [one / bare for (one, _), bare in zip(pairs, encoding, strict=True)]
        yield median_of(f"Airflow, {model}: trigger to published / bare encoding", ratios, "x", bound)
    hops = [(one - other) / len(run.tasks) for (one, other), run in zip(pairs, runs, strict=True)]
    yield median_of(f"Airflow, {model}: what a task adds", hops, "s")
    yield median_of(f"Airflow, {model}: trigger to published", [run.seconds for run in runs], "s")
    middle = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    until = [task for name, task in middle.tasks.items() if name != "report"]
    yield from (Figure(f"  {part}", sum(task[part] for task in until), "s") for part in PARTS)
    for name, task in middle.tasks.items():
        yield Figure(f"Airflow, {model}: {name}", sum(task.values()), "s")
        yield from (Figure(f"  {part}", task[part], "s") for part in PARTS)
    yield from (Figure(f"{name} at rest, {model}", spent, "CPU s/min") for name, spent in rest.items())


@dataclass(frozen=True, slots=True)
class _Run:
    """A run through Airflow: from its trigger until `publish` ended, and what each task's seconds went into."""

    shards: Sequence[ShardReference]
    seconds: float
    tasks: Mapping[str, Mapping[str, float]]


class _House:
    """A running deployment with editions of the corpus as its sources."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        password = state.read_secrets(state.locate(settings))["airflow_admin_password"]
        self._api = AirflowApi(settings.effective_airflow_url, user=programs.ADMIN, password=password)
        self._api.await_dag(DAG, wait_seconds=300)
        self._settings, self._folder = settings, folder
        self._editions = iter(range(EDITIONS))

    def edition(self, *, documents: int | None = None) -> str:
        """Write the next edition of the corpus; returns the source's name."""
        name = f"edition-{next(self._editions)}"
        count = documents or (QUICK_DOCUMENTS if effort.is_quick() else None)
        found = {each.name.lower(): each for each in metadata.distributions()}
        for key in sorted(found)[:count]:
            text = found[key].read_text("METADATA") or ""
            place = self._folder / name / f"{re.sub('[^a-z0-9]+', '_', key)}-{found[key].version}.dist-info"
            place.mkdir(parents=True)
            (place / "METADATA").write_text(re.sub(r"(?m)^Summary: ", f"Summary: {name} ", text, count=1))
        return name

    def run_in_airflow(self, source: str) -> _Run:
        run_id = self._api.trigger(DAG, {"source": source, "approved": True})
        *_, ended = self._api.follow(DAG, run_id, wait_seconds=_RUN_SECONDS)
        if ended.state != "success":
            raise RuntimeError(f"the run of {source} ended as {ended.state}")
        path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}"
        triggered = _moment(self._api.call("GET", path)["queued_at"])
        instances = self._api.call("GET", f"{path}/taskInstances?limit=1000")["task_instances"]
        started = sorted((each for each in instances if each["start_date"]), key=lambda each: each["start_date"])
        before, tasks = triggered, {}
        for each in started:
            asked = f"{path}/taskInstances/{each['task_id']}/logs/1?map_index={each['map_index']}&full_content=true"
            tasks[each["task_id"]] = _phases(each, self._api.call("GET", asked)["content"], before=before)
            before = _moment(each["end_date"])
        (published,) = (_moment(each["end_date"]) for each in started if each["task_id"] == "publish")
        made = f"{path}/taskInstances/extract/xcomEntries/return_value?deserialize=true&map_index="
        mapped = [each["map_index"] for each in started if each["task_id"] == "extract"]
        shards = [ShardReference.from_json(self._api.call("GET", f"{made}{index}")["value"]) for index in mapped]
        return _Run(shards, published - triggered, tasks)

    def run_alone(self, source: str) -> None:
        """The same work in a process without Airflow."""
        environment = {**os.environ, **programs.product_settings(self._settings)}
        argv = [sys.executable, "-m", "concordance", "ingest", source, "--approve"]
        subprocess.run(argv, env=environment, cwd=ROOT, check=True, capture_output=True)

    def texts(self, shards: Sequence[ShardReference]) -> list[str]:
        """The texts of the chunks that a run has made."""
        with open_adapters(self._settings) as adapters:
            read = (tables.from_parquet(adapters.staging.read(each.chunks), columns=["text"]) for each in shards)
            return [text for table in read for text in table.column(0).to_pylist()]

    def encoding_seconds(self, texts: Sequence[str]) -> float:
        """What the model alone takes for them, in a process of its own, loaded and warm."""
        argv = [sys.executable, "-c", _ENCODE, str(model_folder(self._settings))]
        told = subprocess.run(argv, input=json.dumps(texts), capture_output=True, text=True, check=True, cwd=ROOT)
        return float(told.stdout.split()[-1])

    def at_rest(self) -> dict[str, float]:
        """Processor seconds that each of Airflow's programs takes a minute while nothing runs, children included."""
        before = self._processor_seconds()
        began = time.monotonic()
        time.sleep(REST_SECONDS)
        passed = time.monotonic() - began
        return {name: (spent - before[name]) / passed * 60 for name, spent in self._processor_seconds().items()}

    def _processor_seconds(self) -> dict[str, float]:
        own = state.locate(self._settings)
        spent = {}
        for name in (programs.API_SERVER, programs.SCHEDULER, programs.DAG_PROCESSOR, programs.TRIGGERER):
            process = processes.find(own, name)
            assert process is not None
            family = [process, *process.children(recursive=True)]
            spent[name] = sum(sum(each.cpu_times()[:4]) for each in family)
        return spent


@contextmanager
def _deployment(**given: Any) -> Iterator[_House]:
    sources = [f"edition-{number}" for number in range(EDITIONS)]
    with stack(sources=sources, declared=_installed, programs="all", stack_start_seconds=400, **given) as (up, folder):
        yield _House(up, folder)


def _installed(folder: Path, source: str) -> str:
    return f'kind = "distributions"\noptions = {{ path = "{folder / source}" }}\n'


def _phases(instance: Mapping[str, Any], lines: Sequence[Any], *, before: float) -> dict[str, float]:
    """What a task's seconds went into, by `PARTS`; a phase that its log does not show is part of the one around it."""
    told = [line for line in lines if isinstance(line, dict) and line.get("timestamp")]

    def when(event: str, otherwise: float) -> float:
        return next((_moment(line["timestamp"]) for line in told if line["event"].startswith(event)), otherwise)

    started, ended = _moment(instance["start_date"]), _moment(instance["end_date"])
    reads = when(_READS, started)
    has_read = when(_HAS_READ, reads)
    begins = when(_BEGINS, has_read)
    ends = max(begins, when(_ENDS, ended))
    works = sum(line["seconds"] for line in told if line["event"] == "a stage is done")
    parts = (started - before, reads - started, has_read - reads, begins - has_read + ended - ends)
    return dict(zip(PARTS, (*parts, max(0.0, ends - begins - works), works), strict=True))


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    show(measure())
