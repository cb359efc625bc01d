"""Bad state: each gives one clear sentence with what to do, and nothing half-started stays behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from concordance.errors import Misconfigured
from concordance.local import postgres, processes, stack, state
from concordance.local.stack import Condition
from concordance.settings import Settings
from support.stacks import stack_settings

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's folder, or a small disk")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a stack that was never started; none of its processes may be left by a test."""
    settings = stack_settings(tmp_path / "state")
    yield settings
    assert processes.members(state.locate(settings)) == []


def test_where_nothing_was_started_status_and_down_make_nothing(fresh: Settings) -> None:
    for status in (stack.status(fresh), stack.down(fresh)):
        assert {service.condition for service in status.services} == {Condition.STOPPED}
        assert not status.is_healthy
        assert status.is_stopped
    assert not fresh.state_dir.exists()


def test_a_port_in_use_is_named_with_its_setting_and_its_holder(fresh: Settings) -> None:
    with socket.create_server(("127.0.0.1", fresh.bolt_port)), pytest.raises(Misconfigured) as caught:
        stack.up(fresh)
    said = str(caught.value)
    assert f"port {fresh.bolt_port}" in said
    assert "AIRFLOW__CONCORDANCE__BOLT_PORT" in said
    assert f"(process {os.getpid()})" in said
    assert stack.status(fresh).is_stopped


def test_a_port_taken_on_all_addresses_is_in_use_too(fresh: Settings) -> None:
    careless = socket.create_server(("0.0.0.0", fresh.postgres_port))  # noqa: S104  what a careless program does
    with careless, pytest.raises(Misconfigured, match="AIRFLOW__CONCORDANCE__POSTGRES_PORT"):
        stack.up(fresh)


def test_one_port_for_two_services_is_refused(fresh: Settings) -> None:
    same = fresh.model_copy(update={"qdrant_port": fresh.bolt_port})
    with pytest.raises(Misconfigured, match=r"QDRANT_PORT and .*BOLT_PORT are both"):
        stack.up(same)


def test_a_disk_that_is_nearly_full_is_refused_before_anything_starts(fresh: Settings) -> None:
    demanding = fresh.model_copy(update={"stack_min_free_bytes": 1_000_000_000_000})
    with pytest.raises(Misconfigured, match=r"disk of .* is full: \d+ MB are free.*STACK_MIN_FREE_BYTES"):
        stack.up(demanding)
    assert not (fresh.state_dir / "secrets.json").exists()


@as_root
def test_a_disk_that_becomes_full_leaves_no_half_database(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        settings = stack_settings(disk / "state", stack_min_free_bytes=0)
        with pytest.raises(Misconfigured, match="disk is full"):
            stack.up(settings)
        assert sorted(path.name for path in (settings.state_dir / "postgres").iterdir()) == []
        assert processes.members(state.locate(settings)) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@as_root
def test_a_state_folder_of_another_user_is_refused(fresh: Settings) -> None:
    fresh.state_dir.mkdir()
    os.chown(fresh.state_dir, 65534, 65534)
    for call in (stack.up, stack.status, stack.down):
        with pytest.raises(Misconfigured, match=r"belongs to user .*AIRFLOW__CONCORDANCE__STATE_DIR"):
            call(fresh)


def test_a_state_folder_that_is_a_file_is_refused(fresh: Settings) -> None:
    fresh.state_dir.write_text("")
    with pytest.raises(Misconfigured, match=r"cannot be made.*AIRFLOW__CONCORDANCE__STATE_DIR"):
        stack.up(fresh)


@pytest.mark.parametrize("content", ['{"ledger_pass', "[]", '{"ledger_password": 7}', "\x00\x00"])
def test_a_broken_secrets_file_is_named_and_kept(fresh: Settings, content: str) -> None:
    fresh.state_dir.mkdir()
    broken = fresh.state_dir / "secrets.json"
    broken.write_text(content)
    with pytest.raises(Misconfigured, match=r"secrets\.json cannot be read"):
        stack.up(fresh)
    assert broken.read_text() == content


def test_lost_secrets_of_a_database_that_is_there_are_not_made_anew(fresh: Settings) -> None:
    made = state.create(fresh)
    kept = state.ensure_secrets(made)
    (made.path / "postgres" / "data").mkdir(parents=True)
    made.secrets_file.write_text(json.dumps({name: kept[name] for name in kept if name != "postgres_password"}))
    with pytest.raises(Misconfigured, match=r"lacks postgres_password.*put the file back.*rm -r"):
        stack.up(fresh)


def test_a_secret_that_a_newer_release_needs_is_added_to_the_others(fresh: Settings) -> None:
    made = state.create(fresh)
    kept = state.ensure_secrets(made)
    made.secrets_file.write_text(json.dumps({name: kept[name] for name in kept if name != "airflow_fernet_key"}))
    added = state.ensure_secrets(made)
    assert added["airflow_fernet_key"] != kept["airflow_fernet_key"]
    assert {**added, "airflow_fernet_key": ""} == {**kept, "airflow_fernet_key": ""}
    assert made.secrets_file.stat().st_mode & 0o777 == 0o600
    assert state.ensure_secrets(made) == added


@pytest.mark.parametrize(("version", "said"), [(None, "not a whole PostgreSQL"), ("16", "written by PostgreSQL 16")])
def test_a_data_folder_that_is_not_this_postgresqls_is_refused(fresh: Settings, version: str | None, said: str) -> None:
    made = state.create(fresh)
    state.ensure_secrets(made)
    data = made.path / "postgres" / "data"
    data.mkdir(parents=True)
    if version:
        (data / "PG_VERSION").write_text(version + "\n")
    with pytest.raises(Misconfigured, match=said):
        stack.up(fresh)


def test_what_a_set_up_that_was_cut_off_left_behind_is_in_nobodys_way(fresh: Settings) -> None:
    made = state.create(fresh)
    unfinished = made.path / "postgres" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "half").write_text("")
    postgres.set_up(made, state.ensure_secrets(made)["postgres_password"], postgres.choose_account(made))
    assert not unfinished.exists()
    assert sorted(path.name for path in (made.path / "postgres").iterdir()) == ["data"]
    assert (made.path / "postgres" / "data" / "pg_hba.conf").read_text().count("scram-sha-256") == 1
