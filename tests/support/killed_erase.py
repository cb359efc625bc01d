"""A worker that kills itself inside an erase: `python killed_erase.py SETTINGS.json ERASURE URI POINT`.

It begins the erasure and, if its time has come, finishes it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from uuid import UUID

from concordance import fault_points
from concordance.consistency.erase import EraseRequest, erase, finish
from concordance.errors import Leased
from concordance.ledger.erasure_scope import Scope
from concordance.pipeline.adapters import open_adapters
from concordance.settings import load_settings


def main(settings_file: str, erasure_id: str, uri: str, point: str) -> None:
    settings = load_settings(json.loads(Path(settings_file).read_text()), environment={})

    def die(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    asked = EraseRequest(UUID(erasure_id), Scope(source="shelf", uri=uri), requested_by="ann", reason="")
    with open_adapters(settings) as adapters, fault_points.hooked(die):
        erase(asked, adapters=adapters, settings=settings)
        try:
            finish(asked.erasure_id, adapters=adapters, settings=settings)
        except Leased:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
