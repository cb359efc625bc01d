"""Artefacts: whole or not at all, the first attempt wins, and nothing altered is ever read."""

from __future__ import annotations

from pathlib import Path

import pytest

from concordance.errors import Corrupt, Unavailable
from concordance.staging import Artefact, Staging


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(f"file://{tmp_path / 'area'}")


def put(staging: Staging, content: bytes, inputs: object = "inputs") -> Artefact:
    return staging.put("chunks", inputs, content, rows=1, suffix=".parquet")


def test_what_was_put_is_found_by_its_inputs_and_read_back(staging: Staging) -> None:
    artefact = put(staging, b"content")
    assert staging.find("chunks", "inputs") == artefact
    assert staging.read(artefact) == b"content"
    assert Artefact.from_json(artefact.as_json()) == artefact
    assert staging.find("chunks", "other inputs") is None


def test_of_two_attempts_with_different_content_both_go_on_with_the_first(staging: Staging) -> None:
    first = put(staging, b"first")
    assert put(staging, b"second") == first
    assert staging.find("chunks", "inputs") == first


def test_content_without_its_reference_is_not_found(staging: Staging, tmp_path: Path) -> None:
    put(staging, b"content")
    for reference in (tmp_path / "area" / "chunks").glob("*.json"):
        reference.unlink()
    assert staging.find("chunks", "inputs") is None
    assert staging.read(put(staging, b"content")) == b"content"


def test_a_reference_whose_content_has_expired_finds_nothing_and_gives_way_to_what_is_made_anew(
    staging: Staging, tmp_path: Path
) -> None:
    (tmp_path / "area" / put(staging, b"content").path).unlink()
    assert staging.find("chunks", "inputs") is None
    other = put(staging, b"made otherwise")
    assert staging.find("chunks", "inputs") == other
    assert staging.read(other) == b"made otherwise"


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"X" + content[1:], lambda _: b""])
def test_a_torn_or_altered_artefact_is_refused_and_put_anew(staging: Staging, tmp_path: Path, damage: object) -> None:
    artefact = put(staging, b"content")
    path = tmp_path / "area" / artefact.path
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(Corrupt, match="altered"):
        staging.read(artefact)
    assert staging.read(put(staging, b"content")) == b"content"


def test_a_damaged_reference_is_refused(staging: Staging, tmp_path: Path) -> None:
    put(staging, b"content")
    (reference,) = (tmp_path / "area" / "chunks").glob("*.json")
    reference.write_text(reference.read_text().replace('"rows": 1', '"rows": 2'))
    with pytest.raises(Corrupt, match="damaged"):
        staging.find("chunks", "inputs")


def test_a_missing_artefact_is_refused(staging: Staging, tmp_path: Path) -> None:
    artefact = put(staging, b"content")
    (tmp_path / "area" / artefact.path).unlink()
    with pytest.raises(Corrupt, match="not in the staging area"):
        staging.read(artefact)


def test_a_staging_area_that_cannot_be_written_says_which_setting_moves_it(tmp_path: Path) -> None:
    blocked = tmp_path / "area"
    blocked.write_text("a file stands where the folder should be")
    with pytest.raises(Unavailable, match="AIRFLOW__CONCORDANCE__STAGING_URL"):
        put(Staging(f"file://{blocked}"), b"content")


def test_no_writing_leaves_a_temporary_file(staging: Staging, tmp_path: Path) -> None:
    put(staging, b"content")
    put(staging, b"other")
    assert not list((tmp_path / "area").rglob(".writing-*"))


def test_any_fsspec_file_system_holds_artefacts() -> None:
    staging = Staging("memory://concordance-test")
    artefact = put(staging, b"content")
    assert put(staging, b"other") == artefact
    assert staging.read(artefact) == b"content"


def test_what_no_reference_leads_to_is_named_once_it_is_old(tmp_path: Path) -> None:
    staging = Staging(f"file://{tmp_path}")
    staging.put("chunks", ["inputs"], b"whole", rows=1, suffix=".parquet")
    staging.put("gate", ["inputs"], b"{}", rows=1, suffix=".json")
    assert staging.unreferred(older_than_seconds=0) == []
    (tmp_path / "chunks" / "stray.parquet").write_bytes(b"half")
    assert staging.unreferred(older_than_seconds=3600) == []
    assert staging.unreferred(older_than_seconds=0) == ["chunks/stray.parquet"]
    assert staging.discard(["chunks/stray.parquet"]) == 1
    assert staging.unreferred(older_than_seconds=0) == []
