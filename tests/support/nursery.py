"""Worker processes that start at once: a process that has imported everything forks one for each order.

`python nursery.py`, then one JSON line an order on its input: {"settings": FILE, "run": ID}. It answers with the
worker's process id, and when that has ended with its exit code (negative: the signal). With the argument `gated` the
runs have their gates, whose library takes seconds to import.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Worker:
    """A worker under way; only one at a time."""

    def __init__(self, nursery: subprocess.Popen[str], pid: int) -> None:
        self._nursery = nursery
        self.pid = pid

    def killed_after(self, seconds: float) -> bool:
        """Let it work for so long, then SIGKILL it. False when it came to its end before."""
        assert self._nursery.stdout is not None
        ended, _, _ = select.select([self._nursery.stdout], [], [], seconds)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
        return self.exit_code() == -signal.SIGKILL

    def exit_code(self) -> int:
        assert self._nursery.stdout is not None
        return int(self._nursery.stdout.readline())


class Nursery:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, settings_file: Path, run_id: str) -> Worker:
        """A process of its own that ingests the shelf."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"settings": str(settings_file), "run": run_id}), file=self._process.stdin, flush=True)
        return Worker(self._process, int(self._process.stdout.readline()))


@contextmanager
def nursery(*, gated: bool) -> Iterator[Nursery]:
    process = subprocess.Popen(
        [sys.executable, __file__, "gated" if gated else "ungated"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Nursery(process)
    finally:
        process.communicate(timeout=60)


def _serve(*, gated: bool) -> None:
    if gated:
        import great_expectations  # noqa: F401
    import neo4j  # noqa: F401
    import qdrant_client  # noqa: F401

    import concordance.pipeline.run
    import concordance.stores  # noqa: F401
    import support.shelves  # noqa: F401

    print("ready", flush=True)
    # Read by bytes: a child that inherited a buffer with the next order would answer it as well.
    while line := os.read(0, 65536):
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _work(order, gated=gated)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _work(order: dict[str, str], *, gated: bool) -> None:
    from concordance.pipeline.adapters import open_adapters
    from concordance.pipeline.references import RunRequest
    from concordance.pipeline.run import ingest
    from concordance.settings import load_settings
    from support.shelves import run_ungated

    # Its words must not be taken for the nursery's.
    os.dup2(2, 1)
    try:
        settings = load_settings(json.loads(Path(order["settings"]).read_text()), environment={})
        with open_adapters(settings) as adapters:
            if gated:
                ingest(RunRequest("shelf", order["run"], approved=True), adapters=adapters, settings=settings)
            else:
                run_ungated(order["run"], adapters=adapters)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    _serve(gated=sys.argv[1] == "gated")
