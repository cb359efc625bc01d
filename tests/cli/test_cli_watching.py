"""`watch --once` and `alerts`: what is wrong now, and what was told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from concordance.__main__ import main
from concordance.ledger import Ledger
from concordance.settings import Settings
from support.alerting import breach
from support.played_airflow import LOGIN, PlayedAirflow, played_airflow


@pytest.fixture
def airflow(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedAirflow]:
    with played_airflow() as played:
        given = {
            "STATE_DIR": str(stack.state_dir),
            "POSTGRES_PORT": str(stack.postgres_port),
            "AIRFLOW_URL": played.url,
            "AIRFLOW_PASSWORD": LOGIN["password"],
        }
        for name, value in given.items():
            monkeypatch.setenv(f"AIRFLOW__CONCORDANCE__{name}", value)
        yield played


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_once_shows_what_is_wrong_now_and_what_is_open_and_fires_nothing(
    airflow: PlayedAirflow, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    airflow.run("long", "running", datetime.now(UTC) - timedelta(days=2))
    ledger.alerting.fire(breach("another"), alert_id=uuid4(), channels=["log"])
    main(["watch", "--once", "--json"])
    shown = said(capsys)
    late = [each for each in shown["breaches"] if each["kind"] == "run_late"]
    assert [(each["run"], each["source"]) for each in late] == [("long", "notes")]
    assert [each["run"] for each in shown["open"]] == ["another"]
    assert len(ledger.alerting.recent(limit=5)) == 1


def test_once_says_who_cannot_tell_and_why(
    airflow: PlayedAirflow, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    airflow.status = 503
    assert main(["watch", "--once", "--json"]) == 3
    assert "answers 503" in said(capsys)["cannot_tell"]["runs"]


def test_alerts_lists_the_open_ones_first_with_what_was_not_delivered(
    airflow: PlayedAirflow, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    over, still = uuid4(), uuid4()
    ledger.alerting.fire(breach("still"), alert_id=still, channels=["webhook"])
    ledger.alerting.fire(breach("over"), alert_id=over, channels=[])
    ledger.alerting.recover(over, ended="the run is done", channels=[])
    assert main(["alerts", "--json"]) == 0
    first, second = said(capsys)["alerts"]
    assert (first["run"], first["recovered_at"]) == ("still", None)
    assert first["undelivered"] == ["fired webhook, 0 attempts: "]
    assert (second["run"], second["ended"], second["undelivered"]) == ("over", "the run is done", [])
    assert main(["alerts", "--open", "--json"]) == 0
    assert [each["run"] for each in said(capsys)["alerts"]] == ["still"]
    assert main(["alerts"]) == 0
    assert "alerts: 1 open" in capsys.readouterr().out


def test_a_wrong_number_of_rows_and_a_watch_that_does_not_run_say_what_to_do(
    airflow: PlayedAirflow, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    assert main(["alerts", "--limit", "0"]) == 2
    assert "--limit is 0; allowed: 1 to 10,000" in capsys.readouterr().err
    monkeypatch.setenv("AIRFLOW__CONCORDANCE__STATE_DIR", str(tmp_path))
    assert main(["watch", "--check"]) == 2
    assert "the watch has not run here" in capsys.readouterr().err
