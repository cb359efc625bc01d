"""A real process is killed inside an erase, on the real embedded stores; the same erasure is then finished.

`make faults` kills at every point of an erase, `make test` at the most telling one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from concordance import fault_points, ids
from concordance.consistency.erase import finish
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings
from support import killed_erase
from support.ledgers import move_clock
from support.shelves import SOURCE, Shelf, make_shelf, run_ungated
from support.trials import is_full

# The points are cleared, the graph is not.
TELLING = ("graph.erase.before",)
URI = "note-1.md"
ERASED = ids.document_id(tenant="acme", source=SOURCE, uri=URI)


@pytest.fixture
def shelf(stack: Settings, ledger: Ledger, tmp_path: Path) -> Shelf:
    return make_shelf(stack, tmp_path, documents=4)


@pytest.mark.fault("F01", engine="embedded")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", sorted(fault_points.ERASE_POINTS) if is_full() else TELLING)
def test_an_erase_whose_process_is_killed_is_finished_by_the_same_one(shelf: Shelf, parser: Parser, point: str) -> None:
    erasure_id = uuid4()
    with shelf.adapters(parser) as adapters:
        run_ungated("first", adapters=adapters)
        status = kill(shelf, erasure_id, point)
        if status == 0:
            # Only the finish passes this point, and its time had not come.
            pass_the_grace(adapters)
            status = kill(shelf, erasure_id, point)
        assert status == -signal.SIGKILL
        if point == "erase.begin.before":
            assert adapters.ledger.erased([ERASED]) == set()
            assert kill(shelf, erasure_id, "none") == 0
        assert adapters.ledger.erased([ERASED]) == {ERASED}
        pass_the_grace(adapters)
        assert finish(erasure_id, adapters=adapters, settings=adapters.settings).is_erased
        nothing_is_left(adapters)
        again = run_ungated("second", adapters=adapters)
        assert (again.state, again.counts["erased"], again.counts["unchanged"]) == ("nothing", 1, 3)


def kill(shelf: Shelf, erasure_id: UUID, point: str) -> int:
    worker = subprocess.run(
        [sys.executable, killed_erase.__file__, str(shelf.settings_file), str(erasure_id), URI, point],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
    )
    assert worker.returncode in (0, -signal.SIGKILL), worker.stderr[-2000:]
    return worker.returncode


def pass_the_grace(adapters: Adapters) -> None:
    # What a killed process held is given back when the server notices that it is gone.
    move_clock(adapters.settings, adapters.settings.lease_seconds + adapters.settings.sweep_grace_seconds + 1)


def nothing_is_left(adapters: Adapters) -> None:
    version = adapters.ledger.versions.live()
    assert version is not None
    for store in (adapters.graph, adapters.vectors):
        assert store.generations_of(version, [ERASED]) == {}
    assert set(adapters.graph.orphans(version).values()) == {0}
    with adapters.ledger.snapshot() as snapshot:
        committed = list(snapshot.committed(version))
    assert ERASED not in {chunk.document_id for chunk in committed}
    assert list(adapters.graph.chunks(version)) == committed
    assert list(adapters.vectors.points(version)) == committed
