"""Dashboards and rules name only metrics and labels that exist."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from concordance.operations.metrics import METRICS, Kind
from support.expressions import Selector, grouping_labels, selectors
from support.monitoring import FILES

DASHBOARDS = sorted((FILES / "grafana" / "dashboards").glob("*.json"))
# What Prometheus and the exporter say of themselves.
PLATFORM = {
    "up": frozenset({"job", "instance"}),
    "process_start_time_seconds": frozenset({"job", "instance"}),
    "ALERTS": frozenset({"alertname", "alertstate"}),
    "statsd_exporter_udp_packet_drops_total": frozenset({"job", "instance"}),
    "statsd_exporter_sample_errors_total": frozenset({"job", "instance", "reason"}),
}
HISTOGRAM = ("_bucket", "_sum", "_count")
ADDED = {"le", "job", "instance"}
# Tags of Airflow's own metrics beyond the variables of their older names.
AIRFLOW_TAGS = frozenset({"dag_id", "task_id", "run_type", "state", "pool_name", "operator_name", "hostname", "queue"})


def test_the_reader_of_expressions_finds_what_promql_names() -> None:
    found = list(
        selectors('sum by (a, le) (rate(x_total{b=~"$b", c!="d e"}[5m] offset 1h)) / on (f) y:z > 0.5 * time()')
    )
    assert found == [Selector("x_total", frozenset({"b", "c"})), Selector("y:z", frozenset())]
    assert grouping_labels("sum by (a, le) (x) * on (f) group_left (g) y") == {"a", "le", "f", "g"}


def rules() -> Iterator[dict[str, Any]]:
    for file in sorted((FILES / "rules").glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            if panel["type"] != "row":
                yield file.stem, panel


def expressions() -> list[tuple[str, str]]:
    """Where each expression stands, and the expression."""
    return [
        *((rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()),
        *((f"{name}: {panel['title']}", target["expr"]) for name, panel in panels() for target in panel["targets"]),
    ]


@functools.cache
def known() -> dict[str, frozenset[str]]:
    """Every name that Prometheus may know, with its labels."""
    ours = {metric.prometheus: (frozenset(metric.tags), metric.kind) for metric in METRICS.values()}
    found = {**PLATFORM, **airflow_names()}
    for name, (tags, kind) in ours.items():
        found |= {name + part: tags for part in (HISTOGRAM if kind is Kind.TIMER else ("",))}
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] = frozenset(grouping_labels(rule["expr"]))
    return found


def airflow_names() -> dict[str, frozenset[str]]:
    """Airflow's own metrics from the registry that it ships, as the mapping renames them."""
    package = importlib.util.find_spec("airflow")
    assert package is not None
    assert package.submodule_search_locations
    registry = Path(package.submodule_search_locations[0], "_shared/observability/metrics/metrics_template.yaml")
    found: dict[str, frozenset[str]] = {}
    for metric in yaml.load(registry.read_text(), Loader=yaml.CSafeLoader)["metrics"]:
        name = "airflow_" + re.sub(r"[^A-Za-z0-9_]", "_", metric["name"])
        endings = {"counter": ("_total",), "gauge": ("",), "timer": tuple(f"_seconds{part}" for part in HISTOGRAM)}
        found |= {name + ending: AIRFLOW_TAGS for ending in endings[metric["type"]]}
    return found


@pytest.mark.parametrize(("place", "expression"), expressions(), ids=[place for place, _ in expressions()])
def test_an_expression_names_metrics_and_labels_that_exist(place: str, expression: str) -> None:
    named = list(selectors(expression))
    assert named, place
    for selector in named:
        assert selector.name in known(), selector.name
        assert selector.labels <= known()[selector.name] | ADDED, selector
    labels = frozenset().union(*(known()[selector.name] for selector in named)) | ADDED
    assert grouping_labels(expression) <= labels


def test_a_legend_shows_labels_that_its_expression_leaves() -> None:
    for name, panel in panels():
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            (*_, last) = selectors(target["expr"])
            assert shown <= (grouping_labels(target["expr"]) or known()[last.name] | ADDED), (name, panel["title"])


def test_a_variable_lists_a_label_of_a_metric_that_exists() -> None:
    for file in DASHBOARDS:
        for variable in json.loads(file.read_text())["templating"]["list"]:
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert asked is not None
            assert asked[2] in known()[asked[1]]


def test_every_recorded_name_is_used() -> None:
    used = {selector.name for _, expression in expressions() for selector in selectors(expression)}
    assert {rule["record"] for rule in rules() if "record" in rule} <= used


def test_dashboards_are_four_and_use_the_provisioned_data_source() -> None:
    said = [json.loads(file.read_text()) for file in DASHBOARDS]
    assert [dashboard["uid"] for dashboard in said] == [file.stem for file in DASHBOARDS]
    assert len({dashboard["title"] for dashboard in said}) == len(said) == 4
    provisioned = yaml.safe_load((FILES / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    for dashboard in said:
        identifiers = [panel["id"] for panel in dashboard["panels"]]
        assert len(identifiers) == len(set(identifiers))
        for panel in dashboard["panels"]:
            assert panel["type"] == "row" or panel["datasource"]["uid"] == source["uid"]
