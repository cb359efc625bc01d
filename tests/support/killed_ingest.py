"""A worker process that kills itself at a named point: `python killed_ingest.py SETTINGS.json RUN POINT [MISHAP]`.

A mishap lets the run come to points that it passes only when something else is wrong as well.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from concordance import fault_points
from concordance.errors import PoisonDocument, Unavailable
from concordance.model import Reason
from concordance.pipeline.adapters import Adapters, open_adapters
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import load_settings

POISON = "arsenic"


@dataclass(frozen=True)
class Refusing:
    """A graph that refuses one word."""

    store: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def write(self, version: Any, batch: Any, *, timeout_seconds: float) -> None:
        if any(POISON in chunk.text for chunk in batch.chunks):
            raise PoisonDocument("the graph refuses a text", reason=Reason.STORE_REFUSED)
        self.store.write(version, batch, timeout_seconds=timeout_seconds)


@dataclass(frozen=True)
class Away:
    """A vector store that no write reaches."""

    store: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def upsert(self, version: Any, points: Any, *, timeout_seconds: float) -> None:
        raise Unavailable("the vector store does not answer")


MISHAPS: Mapping[str, Callable[[Adapters], Adapters]] = {
    "": lambda adapters: adapters,
    "a refused text": lambda adapters: replace(adapters, graph=Refusing(adapters.graph)),  # type: ignore[arg-type]
    "vectors away": lambda adapters: replace(adapters, vectors=Away(adapters.vectors)),  # type: ignore[arg-type]
}


def main(settings_file: str, run_id: str, point: str, mishap: str = "") -> None:
    settings = load_settings(json.loads(Path(settings_file).read_text()), environment={})

    def die(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_adapters(settings) as opened, fault_points.hooked(die):
        request = RunRequest("shelf", run_id, approved=True)
        ingest(request, adapters=MISHAPS[mishap](opened), settings=settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
