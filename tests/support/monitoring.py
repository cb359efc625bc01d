"""The monitoring stack for tests: a real statsd_exporter, Prometheus and Alertmanager with deploy/monitoring's files.

`make monitoring-tools` brings the programs; without them tests skip, or fail if CONCORDANCE_REQUIRE_MONITORING=1.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from concordance.operations.metrics import METRICS
from concordance.pipeline.counted import OUTCOMES, WORK
from concordance.settings import ROOT
from support.stacks import free_ports
from support.waiting import wait_for

FILES = ROOT / "deploy" / "monitoring"
BIN = ROOT / ".concordance" / "monitoring" / "bin"
REQUIRE = "CONCORDANCE_REQUIRE_MONITORING"
START_SECONDS = 60
Labels = frozenset[tuple[str, str]]
# What is left of a page when the exporter's own metrics are taken away.
_OWN = re.compile(r"(go|process|promhttp|statsd)_")
_SAMPLE = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def is_there(program: str) -> bool:
    return (BIN / program).exists()


def needed(program: str) -> None:
    """Skip the test unless this program is there, or fail it where it is required."""
    if not is_there(program):
        said = f"{program} was not found: make monitoring-tools"
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(said)
        pytest.skip(said)


def tool(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool or amtool to its end."""
    needed(program)
    return subprocess.run([BIN / program, *arguments], capture_output=True, text=True, timeout=240, check=False)


@dataclass(frozen=True, slots=True)
class Page:
    """What an exporter's page said at one moment: values by name and labels, types by name."""

    values: Mapping[str, Mapping[Labels, float]]
    types: Mapping[str, str]

    def value(self, name: str, **labels: str) -> float:
        """One series' value; 0 for one that is not there."""
        return self.values.get(name, {}).get(frozenset(labels.items()), 0.0)

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The values of the series with these labels, by one more label."""
        found: dict[str, float] = {}
        for series, value in self.values.get(name, {}).items():
            if frozenset(labels.items()) <= series:
                found[dict(series)[label]] = found.get(dict(series)[label], 0.0) + value
        return found

    def since(self, before: Page) -> Page:
        """How much each counter has grown; series that did not are left out."""
        grown = {
            name: {
                labels: value - before.values.get(name, {}).get(labels, 0.0)
                for labels, value in series.items()
                if value != before.values.get(name, {}).get(labels, 0.0)
            }
            for name, series in self.values.items()
        }
        return Page({name: series for name, series in grown.items() if series}, self.types)


@dataclass(frozen=True, slots=True)
class Exporter:
    """A running statsd_exporter."""

    udp_port: int
    http_port: int

    def page(self) -> Page:
        """What it shows now. Whoever has just sent something uses `settled`."""
        values: dict[str, dict[Labels, float]] = {}
        types: dict[str, str] = {}
        for line in get(self.http_port, "/metrics").splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                types[name] = kind
            elif not line.startswith("#"):
                sample = _SAMPLE.fullmatch(line)
                assert sample is not None, line
                labels = frozenset(_LABEL.findall(sample["labels"] or ""))
                values.setdefault(sample["name"], {})[labels] = float(sample["value"])
        return Page(values, types)

    def settled(self, last: str) -> Page:
        """The page once the counter `concordance.<last>`, sent after all others, is on it: the packets of one sender
        stay in order on the loopback address."""
        name = "concordance_" + last.replace(".", "_") + "_total"
        wait_for(lambda: name in self.page().values, what=f"{name} on the exporter's page")
        return self.page()


# Counters that say what a run's report says, by the report's name for it.
FIGURES = {**OUTCOMES, **WORK}


def figures(page: Page, source: str) -> dict[str, float]:
    """What the counters of a source say, as a run's report says it."""
    said = {name: page.value(METRICS[metric].prometheus, source=source) for name, metric in FIGURES.items()}
    rejected = page.by(METRICS["documents.quarantined"].prometheus, "reason", source=source)
    return {**said, "quarantined": sum(rejected.values())}


def reported(counts: Mapping[str, int]) -> dict[str, int]:
    """The same figures of a run's report."""
    return {name: counts.get(name, 0) for name in (*FIGURES, "quarantined")}


def own_names(page: Page) -> set[str]:
    """The names on the page that are not the exporter's own."""
    return {name for name in page.types if not _OWN.match(name)}


def get(port: int, path: str) -> str:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
    assert answer.status == 200, (path, answer.status, body[:500])
    return body


@contextlib.contextmanager
def running_exporter(folder: Path) -> Iterator[Exporter]:
    """statsd_exporter with the deployment's mapping on free loopback ports."""
    needed("statsd_exporter")
    udp_port, http_port = free_ports(2)
    command = [
        *("--statsd.mapping-config", FILES / "statsd-mapping.yml"),
        *("--statsd.listen-udp", f"127.0.0.1:{udp_port}"),
        "--statsd.listen-tcp=",
        *("--web.listen-address", f"127.0.0.1:{http_port}"),
        # Nothing may be lost that is counted against the ledger.
        f"--statsd.read-buffer={4 * 1024 * 1024}",
    ]
    with _program("statsd_exporter", command, folder, port=http_port, path="/-/healthy"):
        yield Exporter(udp_port, http_port)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    port: int

    def query(self, expression: str) -> dict[Labels, float]:
        """The value of an expression now, by labels."""
        answer = json.loads(get(self.port, f"/api/v1/query?query={quote(expression, safe='')}"))
        return {frozenset(one["metric"].items()): float(one["value"][1]) for one in answer["data"]["result"]}

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        alerts = json.loads(get(self.port, "/api/v1/alerts"))["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@contextlib.contextmanager
def running_prometheus(folder: Path, exporter: Exporter, *, alertmanager_port: int) -> Iterator[Prometheus]:
    """Prometheus with the deployment's configuration and rules, but for addresses, and everything each second."""
    needed("prometheus")
    (port,) = free_ports(1)
    shutil.copytree(FILES / "rules", folder / "rules")
    config = yaml.safe_load((FILES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    addresses = {"concordance": exporter.http_port, "prometheus": port, "alertmanager": alertmanager_port}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{addresses[job['job_name']]}"]}]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _program("prometheus", command, folder, port=port, path="/-/ready"):
        yield Prometheus(port)


@contextlib.contextmanager
def running_alertmanager(folder: Path, *, webhook: str) -> Iterator[int]:
    """Alertmanager with the deployment's configuration, but for addresses and waiting times; yields its port."""
    needed("alertmanager")
    (port,) = free_ports(1)
    (folder / "webhook-url").write_text(webhook)
    config = yaml.safe_load((FILES / "alertmanager.yml").read_text())
    for receiver in config["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url_file"] = str(folder / "webhook-url")
    config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    command = [
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with _program("alertmanager", command, folder, port=port, path="/-/ready"):
        yield port


@contextlib.contextmanager
def _program(name: str, arguments: list[Any], folder: Path, *, port: int, path: str) -> Iterator[None]:
    """A program that answers on a port; it is stopped at the end, whatever happened."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([BIN / name, *map(str, arguments)], stdout=log, stderr=subprocess.STDOUT)
    try:

        def answers() -> bool:
            said = (folder / f"{name}.log").read_text(errors="replace")
            assert process.poll() is None, f"{name} ended with {process.returncode}:\n{said[-3000:]}"
            try:
                get(port, path)
            except (OSError, http.client.HTTPException, AssertionError):
                return False
            return True

        wait_for(answers, seconds=START_SECONDS, what=f"the start of {name}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
