"""The runbook keeps up with the product: each alert and reason code has its section, what a section names is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from concordance.commands.parser import build_parser
from concordance.model import Reason
from concordance.operations.alerts import AlertKind
from concordance.settings import ROOT, Settings

RUNBOOK = ROOT / "docs" / "runbook"
PAGES = sorted(RUNBOOK.glob("*.md"))
PARTS = ["Means", "Impact", "First look", "Fix", "Practise"]


def sections(page: str) -> dict[str, str]:
    """The third-level sections of a page, by heading."""
    return dict(re.findall(r"^### (\S+)\n(.*?)(?=^#|\Z)", (RUNBOOK / page).read_text(), re.MULTILINE | re.DOTALL))


def rules() -> list[dict[str, Any]]:
    """The alert rules of Prometheus."""
    found = []
    for file in sorted((ROOT / "deploy" / "monitoring" / "rules").glob("*.yml")):
        groups = yaml.safe_load(file.read_text()).get("groups", [])
        found += [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return found


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    alerts = {kind.value for kind in AlertKind} | {rule["alert"] for rule in rules()}
    assert set(sections("alerts.md")) == alerts


def test_every_reason_code_has_its_section_and_every_section_its_code() -> None:
    assert set(sections("reasons.md")) == {reason.value for reason in Reason}


@pytest.mark.parametrize("page", ["alerts.md", "reasons.md"])
def test_every_section_says_all_five_things_in_order(page: str) -> None:
    for name, text in sections(page).items():
        said = re.findall(r"^- \*\*([^*]+):\*\* (\S.*)$", text, re.MULTILINE)
        assert [part for part, _ in said] == PARTS, name


def test_every_alert_rule_leads_to_its_section() -> None:
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page.endswith("docs/runbook/alerts.md"), rule["alert"]
        assert anchor in {name.lower() for name in sections("alerts.md")}, rule["alert"]


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        leads_to = page if not file else page.parent / file
        assert leads_to.is_file(), target
        assert not anchor or anchor in _anchors(leads_to), target


def _code(page: Path) -> Iterator[str]:
    text = page.read_text()
    for block in re.findall(r"```\n(.*?)```", text, re.DOTALL):
        yield from (line.partition("#")[0].strip() for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_is_one(page: Path) -> None:
    for code in _code(page):
        if not code.startswith("python -m concordance "):
            continue
        words = [{"SOURCE": "notes", "N": "7", "ID": "7"}.get(word, word) for word in shlex.split(code)[3:]]
        build_parser().parse_args(words)


# What the pages name beside settings and the closed lists above.
OTHERS = {
    "attempt_seconds", "done_seconds", "run_seconds", "stale_seconds", "check_documents", "check_chunks",
    "concordance_embed", "concordance_extract", "concordance_reconcile", "task_instance_heartbeat_timeout",
    "pg_stat_activity", "names_like_this",
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_is_one(page: Path) -> None:
    known = {*Settings.model_fields, *OTHERS, *(kind.value for kind in AlertKind), *(reason.value for reason in Reason)}
    named = {word for code in _code(page) for word in re.findall(r"(?<![\w./-])[a-z]+(?:_[a-z0-9]+)+(?![\w./(])", code)}
    assert named - known == set()
