"""What telemetry costs: processor seconds of a whole run with it, against the same run without, in pairs.

On: every metric goes through a real UDP socket to a listener in another process, what a run did is counted in the
ledger, each stage looks at its process and its disks, log lines are written as JSON. Off: none of these calls is made.
Hash vectors and memory stores beside the real ledger, so that neither encoder nor stores hide anything: a real run
spends far more elsewhere. Each run edits all of its documents; the two of a pair take turns in going first. Airflow's
listeners are no part of it: they run in Airflow's own code, once a task. `python -m bench.telemetry` runs this alone.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from bench.corpora import document
from bench.figures import Figure, median_of, show, taking_turns
from bench.stacks import stack

from concordance.ledger import open_ledger
from concordance.operations import telemetry
from concordance.operations.logs import configure_logs
from concordance.parsing.parser import Parser
from concordance.pipeline import counted
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings
from concordance.stores.memory import MemoryGraph, MemoryVectors

PAIRS = 24
# Of about 42 chunks each.
DOCUMENTS = 16
_LISTEN = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
packets = 0
while server.recv(2048) != b"enough":
    packets += 1
print(packets, flush=True)
"""


def measure() -> list[Figure]:
    """The ratio's median and quartiles over `PAIRS` pairs, and how many metrics one run sends."""
    with stack() as (settings, folder), _house(settings, folder) as (adapters, runs):
        with _listener() as listener:
            on = settings.model_copy(update={"statsd_host": "127.0.0.1", "statsd_port": listener.port})
            for is_on in (True, False):  # the first makes the index version and imports what the gates need
                _run(adapters, on, runs, is_on=is_on)
            pairs = taking_turns(
                lambda: _run(adapters, on, runs, is_on=True), lambda: _run(adapters, on, runs, is_on=False), pairs=PAIRS
            )
        metrics = listener.packets / (len(pairs) + 1)
    ratios = [with_it / without for with_it, without in pairs]
    return [
        median_of("run without telemetry, processor time", [without for _, without in pairs], "s"),
        Figure("metrics that a run sends", metrics, "packets"),
        median_of("telemetry on / off, processor time", ratios, "x", "<= 1.02"),
    ]


@contextmanager
def _house(settings: Settings, folder: Path) -> Iterator[tuple[Adapters, Iterator[int]]]:
    """Memory stores on the stack's ledger, with a source in memory; and the numbers of the runs."""
    from simulation.world import Shelf
    from support.memory_adapters import memory_adapters

    ledger = open_ledger(settings)
    try:
        with Parser(settings) as parser:
            yield (
                memory_adapters(
                    ledger,
                    settings,
                    parser,
                    source=Shelf(),
                    graph=MemoryGraph(),
                    vectors=MemoryVectors(),
                    staging=f"file://{folder / 'staging'}",
                ),
                itertools.count(),
            )
    finally:
        ledger.close()


class _Listener:
    """A StatsD server in a process of its own, which counts what comes. `packets` is known once it was stopped."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process, self._out = process, process.stdout
        self.port = int(self._out.readline())
        self.packets = 0

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"enough", ("127.0.0.1", self.port))
        self.packets = int(self._out.readline())
        self._process.wait(timeout=10)


@contextmanager
def _listener() -> Iterator[_Listener]:
    with subprocess.Popen([sys.executable, "-c", _LISTEN], stdout=subprocess.PIPE, text=True) as process:
        try:
            listener = _Listener(process)
            yield listener
            listener.stop()
        finally:
            process.kill()


def _run(adapters: Adapters, settings: Settings, runs: Iterator[int], *, is_on: bool) -> float:
    """Processor seconds, of this process and the parser's children, of one run in which every document has changed."""
    number = next(runs)
    shelf: Any = adapters.source("shelf")
    shelf.documents.update({f"{uri:03}": document(number * DOCUMENTS + uri) for uri in range(DOCUMENTS)})
    request = RunRequest("shelf", f"telemetry-{number}", approved=True)
    gc.collect()
    with _reporting(settings) if is_on else _silent():
        began = _spent(adapters.parser)
        ran = ingest(request, adapters=adapters, settings=settings)
        spent = _spent(adapters.parser) - began
    assert ran.counts["committed"] == DOCUMENTS
    return spent


def _spent(parser: Parser) -> float:
    children = [psutil.Process(pid).cpu_times() for pid in parser.child_pids]
    return time.process_time() + sum(times.user + times.system for times in children)


@contextmanager
def _reporting(settings: Settings) -> Iterator[None]:
    with open(os.devnull, "w") as nowhere:
        configure_logs(level="INFO", as_json=True, stream=nowhere)
        telemetry.configure(settings)
        try:
            yield
        finally:
            telemetry.close()


@contextmanager
def _silent() -> Iterator[None]:
    """As if the product had none of these calls."""

    def nothing(*given: object, **tags: object) -> None:
        return None

    def nothing_around(*given: object, **tags: object) -> contextlib.AbstractContextManager[None]:
        return nullcontext()

    with open(os.devnull, "w") as nowhere, ExitStack() as replaced:
        configure_logs(level="CRITICAL", as_json=True, stream=nowhere)
        for module, names, instead in (
            (telemetry, ("count", "gauge", "timing"), nothing),
            (telemetry, ("timer", "stage"), nothing_around),
            (counted, ("_count",), nothing),
            (counted, ("_work",), lambda *given: {}),
        ):
            for name in names:
                replaced.enter_context(mock.patch.object(module, name, instead))
        yield


if __name__ == "__main__":
    show(measure())
