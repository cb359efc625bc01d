"""The files of deploy/monitoring as their own programs judge them, and what every alert rule does as time goes by."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from concordance.settings import ROOT
from support.monitoring import FILES, tool

RULE_FILES = sorted((FILES / "rules").glob("*.yml"))
RULE_TESTS = sorted((FILES / "rule-tests").glob("*.yml"))


def alert_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "rules" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@functools.cache
def stories() -> list[dict[str, Any]]:
    loaded = [yaml.load(file.read_text(), Loader=yaml.CSafeLoader) for file in RULE_TESTS]
    return [story for file in loaded for story in file["tests"]]


def test_prometheus_accepts_its_configuration_and_all_rules() -> None:
    done = tool("promtool", "check", "config", FILES / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(str(file.name) in done.stdout for file in RULE_FILES)


def test_alertmanager_accepts_its_configuration() -> None:
    done = tool("amtool", "check-config", FILES / "alertmanager.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_every_alert_fires_when_it_should_and_at_no_other_time(file: Path) -> None:
    done = tool("promtool", "test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [rule["alert"] for rule in alert_rules()])
def test_an_alert_is_seen_silent_firing_and_silent_again(name: str) -> None:
    """In one and the same story, so that the rule tests say when it begins and that it ends."""
    told = [
        [
            "fires" if check["exp_alerts"] else "silent"
            for check in story["alert_rule_test"]
            if check["alertname"] == name
        ]
        for story in stories()
    ]
    assert any(re.fullmatch(r"(silent)+(fires)+(silent)+", "".join(story)) for story in told)
    assert any(story and set(story) == {"silent"} for story in told)


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_what_happened_and_where_to_read_on(rule: dict[str, Any]) -> None:
    labels, said = rule["labels"], rule["annotations"]
    assert labels["severity"] in ("page", "ticket")
    assert said["summary"]
    assert said["description"]
    assert said["runbook"] == f"docs/runbook/alerts.md#{labels['runbook']}"
    assert labels["runbook"] == rule["alert"].lower()


def test_what_alertmanager_silences_are_alerts_that_exist() -> None:
    names = {rule["alert"] for rule in alert_rules()}
    config = yaml.safe_load((FILES / "alertmanager.yml").read_text())
    matchers = [
        matcher
        for rule in config["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        if matcher.startswith("alertname")
    ]
    silenced = {name for matcher in matchers for name in matcher.partition('"')[2].rstrip('"').split("|")}
    assert silenced
    assert silenced <= names


def test_no_secret_and_no_address_of_a_person_stands_in_the_files() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for file in FILES.rglob("*"):
        if file.is_file():
            said = file.read_text()
            assert not re.search(r"password|api_key|bearer|basic_auth|smtp_auth", said, re.IGNORECASE), file
            outside = re.findall(r"https?://([\w.-]+)", said)
            assert set(outside) <= {*services, "127.0.0.1"}, file
