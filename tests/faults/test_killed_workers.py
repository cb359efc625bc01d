"""F03, a handful: a real worker process on the real embedded stores is killed in mid-step; the same run is then done.

In full (`make faults`) it is killed at every named point instead of the most telling ones.
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
from concordance.pipeline.references import RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings, load_settings
from support import killed_ingest, trials
from support.ledgers import move_clock, skip_versions

TELLING = ("graph.write.after", "vectors.upsert.before", "batch.verified.after", "run.publish.after")
# These are reached only once a replaced generation's grace has passed.
SWEEPS = fault_points.points_of("vectors.sweep", "graph.sweep", "generation.swept")
POINTS = sorted(fault_points.RUN_POINTS) if trials.is_full() else list(TELLING)


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


@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_in_mid_run_loses_nothing_and_the_same_run_is_finished(
    shelf: tuple[Adapters, Path], point: str
) -> None:
    adapters, folder = shelf
    if point in SWEEPS:
        leave_something_to_sweep(adapters, folder)
    worker = subprocess.run(
        [sys.executable, killed_ingest.__file__, str(folder / "settings.json"), "run", point],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=300,
    )
    assert worker.returncode == -signal.SIGKILL, worker.stderr[-2000:]
    move_clock(adapters.settings, adapters.settings.lease_seconds)
    report = ingest(RunRequest("shelf", "run", allow_deletes=True), adapters=adapters, settings=adapters.settings)
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
