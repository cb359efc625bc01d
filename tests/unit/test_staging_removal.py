"""What an erase needs of the staging area: all that is there, and a removal that leaves no dangling reference."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from concordance.errors import Corrupt
from concordance.staging import Artefact, Staging


@pytest.fixture(params=["file", "memory"])
def staging(request: pytest.FixtureRequest, tmp_path: Path) -> Staging:
    if request.param == "file":
        return Staging(f"file://{tmp_path / 'area'}")
    return Staging(f"memory://{tmp_path.name}")


def put(staging: Staging, content: bytes, inputs: object = "inputs", suffix: str = ".parquet") -> Artefact:
    return staging.put("chunks", inputs, content, rows=1, suffix=suffix)


def test_contents_are_all_files_but_the_references_also_those_that_nothing_leads_to(staging: Staging) -> None:
    first = put(staging, b"first")
    loser = put(staging, b"second")
    assert loser == first
    verdict = staging.put("gate", "inputs", b'{"rejected": {}}', rows=1, suffix=".json")
    assert {content for _, content in staging.contents("chunks")} == {b"first", b"second"}
    assert list(staging.contents("gate")) == [(verdict.path, b'{"rejected": {}}')]
    assert list(staging.contents("nothing")) == []


def test_a_removed_artefact_is_not_found_by_its_inputs_and_whoever_holds_it_is_told(staging: Staging) -> None:
    removed, kept = put(staging, b"removed"), put(staging, b"kept", "others")
    assert staging.discard({removed.path, "chunks/never-there.parquet"}) == 1
    assert staging.find("chunks", "inputs") is None
    with pytest.raises(Corrupt, match="an erase removes those"):
        staging.read(removed)
    assert staging.read(kept) == b"kept"
    assert put(staging, b"made anew").path != removed.path
    assert staging.discard({removed.path}) == 0


def test_two_references_to_one_content_both_go_with_it(staging: Staging) -> None:
    one, other = put(staging, b"same"), put(staging, b"same", "others")
    assert one == other
    assert staging.discard({one.path}) == 1
    assert staging.find("chunks", "inputs") is staging.find("chunks", "others") is None


def test_half_written_files_go_once_their_writer_cannot_be_at_work(tmp_path: Path) -> None:
    staging = Staging(f"file://{tmp_path / 'area'}")
    put(staging, b"whole")
    folder = tmp_path / "area" / "chunks"
    for name, age in ((".writing-old", 1000), (".writing-young", 10)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    assert [content for _, content in staging.contents("chunks")] == [b"whole"]
    assert staging.discard_unfinished("chunks", older_than_seconds=600) == 1
    assert {path.name for path in folder.glob(".writing-*")} == {".writing-young"}
