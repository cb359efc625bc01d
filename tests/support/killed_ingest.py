"""A worker process that kills itself at a named point: `python killed_ingest.py SETTINGS.json RUN POINT`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from concordance import fault_points
from concordance.pipeline.adapters import open_adapters
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import load_settings


def main(settings_file: str, run_id: str, point: str) -> None:
    settings = load_settings(json.loads(Path(settings_file).read_text()), environment={})

    def die(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_adapters(settings) as adapters, fault_points.hooked(die):
        ingest(RunRequest("shelf", run_id, allow_deletes=True), adapters=adapters, settings=settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
