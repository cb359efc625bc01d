"""F01 with SIGKILL: a real worker process on the real embedded stores dies at a point; the same run is then done.

In full (`make faults`) it dies at every named point instead of the most telling ones.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from concordance import fault_points
from concordance.consistency.verify import verify
from concordance.ledger import Ledger
from concordance.pipeline.adapters import Adapters, open_adapters
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings, load_settings
from support import killed_ingest, trials
from support.ledgers import move_clock, skip_versions

TELLING = ("graph.write.after", "vectors.upsert.before", "batch.verified.after", "run.publish.after")
# These are reached only once a replaced generation's grace has passed.
SWEEPS = fault_points.points_of("vectors.sweep", "graph.sweep", "generation.swept")
# These only when something else is wrong as well, and this only when nothing is new.
MISHAPS = {
    **dict.fromkeys(fault_points.points_of("batch.reject"), "a refused text"),
    **dict.fromkeys(fault_points.points_of("batch.release"), "vectors away"),
}
NOTHING_NEW = fault_points.points_of("plan.close")
WHOLE_RUNS = sorted(fault_points.RUN_POINTS - MISHAPS.keys() - NOTHING_NEW)


def write_notes(folder: Path, *, edition: str) -> None:
    for number in range(8):
        (folder / "shelf" / f"{number}.md").write_text(
            f"# Note {number}\n\nStone {number} in the river, {edition} edition, see [next]({(number + 1) % 8}.md).\n"
        )


def leave_something_to_sweep(adapters: Adapters, folder: Path) -> None:
    """Two editions are ingested and time goes by: the next run, of a third one, sweeps the first."""
    for run_id, following in (("first", "second"), ("second", "third")):
        ingest(RunRequest("shelf", run_id), adapters=adapters, settings=adapters.settings)
        write_notes(folder, edition=following)
    move_clock(adapters.settings, adapters.settings.lease_seconds + adapters.settings.sweep_grace_seconds + 1)


@pytest.fixture
def shelf(stack: Settings, ledger: Ledger, tmp_path: Path) -> Iterator[tuple[Adapters, Path]]:
    """A folder of notes as the only source, hash vectors, and the running embedded stores."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    write_notes(tmp_path, edition="first")
    sources = tmp_path / "sources.toml"
    sources.write_text(
        f'[[source]]\nname = "shelf"\nkind = "files"\ntenant = "acme"\nlocation = "{folder}"\nglob = "*.md"\n'
    )
    given = {
        **stack.model_dump(mode="json", exclude={"ledger_password", "neo4j_password", "qdrant_api_key"}),
        "sources_file": str(sources),
        "staging_url": f"file://{tmp_path / 'staging'}",
        "embedding_backend": "hash",
        "batch_chunks": 3,
    }
    (tmp_path / "settings.json").write_text(json.dumps(given))
    skip_versions(stack)
    with open_adapters(load_settings(given, environment={})) as adapters:
        yield adapters, tmp_path


def kill_a_worker(adapters: Adapters, folder: Path, point: str, mishap: str = "") -> None:
    worker = subprocess.run(
        [sys.executable, killed_ingest.__file__, str(folder / "settings.json"), "run", point, mishap],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=300,
    )
    assert worker.returncode == -signal.SIGKILL, worker.stderr[-2000:]
    move_clock(adapters.settings, adapters.settings.lease_seconds)


def finish(adapters: Adapters) -> RunReport:
    """The same run again."""
    return ingest(RunRequest("shelf", "run", approved=True), adapters=adapters, settings=adapters.settings)


@pytest.mark.timeout(600)
@pytest.mark.fault("F01", engine="embedded")
@pytest.mark.parametrize("point", WHOLE_RUNS if trials.is_full() else TELLING)
def test_a_worker_killed_in_mid_run_loses_nothing_and_the_same_run_is_finished(
    shelf: tuple[Adapters, Path], point: str
) -> None:
    adapters, folder = shelf
    if point in SWEEPS:
        leave_something_to_sweep(adapters, folder)
    kill_a_worker(adapters, folder, point)
    report = finish(adapters)
    assert report.counts["committed"] == 8
    checked = verify(ledger=adapters.ledger, graph=adapters.graph, vectors=adapters.vectors)
    assert checked.is_sound, checked.findings
    assert checked.rows["ledger"] == 8
    assert {store: checked.rows[store] - rows for store, rows in checked.recovered.items()} == {
        "graph": 8,
        "vectors": 8,
    }
    again = ingest(RunRequest("shelf", "next"), adapters=adapters, settings=adapters.settings)
    assert again.state == "nothing"


@pytest.mark.timeout(600)
@pytest.mark.fault("F01", engine="embedded")
@pytest.mark.parametrize("point", sorted(MISHAPS) if trials.is_full() else ["batch.reject.after"])
def test_a_worker_killed_while_something_else_is_wrong_loses_nothing_either(
    shelf: tuple[Adapters, Path], point: str
) -> None:
    adapters, folder = shelf
    (folder / "shelf" / "0.md").write_text(f"# Note 0\n\nA piece of {killed_ingest.POISON}.\n")
    kill_a_worker(adapters, folder, point, MISHAPS[point])
    is_rejected = point == "batch.reject.after"
    counts = finish(adapters).counts
    assert (counts["committed"], counts.get("quarantined", 0)) == ((7, 1) if is_rejected else (8, 0))
    assert verify(ledger=adapters.ledger, graph=adapters.graph, vectors=adapters.vectors).is_sound


@pytest.mark.timeout(600)
@pytest.mark.fault("F01", engine="embedded")
@pytest.mark.parametrize("point", sorted(NOTHING_NEW) if trials.is_full() else ["plan.close.after"])
def test_a_worker_killed_where_nothing_is_new_leaves_everything_as_it_was(
    shelf: tuple[Adapters, Path], point: str
) -> None:
    adapters, folder = shelf
    assert ingest(RunRequest("shelf", "first"), adapters=adapters, settings=adapters.settings).counts["committed"] == 8
    kill_a_worker(adapters, folder, point)
    assert finish(adapters).counts["unchanged"] == 8
    assert verify(ledger=adapters.ledger, graph=adapters.graph, vectors=adapters.vectors).is_sound
