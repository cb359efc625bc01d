"""Metrics on a real UDP socket, and through an exchanged backend."""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from concordance.operations import telemetry
from concordance.operations.metrics import METRICS
from concordance.settings import ROOT, Settings


class Kept:
    """A backend that keeps what it is given."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, int, dict[str, str]]] = []
        self.timed: list[tuple[str, dict[str, str]]] = []

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
        self.counted.append((name, n, dict(tags)))

    def gauge(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        raise AssertionError("no level is reported here")

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None:
        assert milliseconds >= 0
        self.timed.append((name, dict(tags)))


@pytest.fixture
def kept() -> Iterator[Kept]:
    backend = Kept()
    previous = telemetry.use(backend)
    yield backend
    telemetry.use(previous)


@pytest.fixture
def statsd() -> Iterator[socket.socket]:
    """A StatsD server's socket; the product is configured to send to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        telemetry.configure(Settings(statsd_host="127.0.0.1", statsd_port=server.getsockname()[1]))
        yield server
        telemetry.close()


def test_a_count_reaches_a_statsd_server_with_its_tags(statsd: socket.socket) -> None:
    telemetry.count("documents.quarantined", 3, source="notes", reason="too_large")
    assert statsd.recv(512) == b"concordance.documents.quarantined,source=notes,reason=too_large:3|c"


def test_a_level_reaches_a_statsd_server_and_a_negative_one_is_a_defect(statsd: socket.socket) -> None:
    telemetry.gauge("index.version", 7)
    assert statsd.recv(512) == b"concordance.index.version:7|g"
    with pytest.raises(ValueError, match="is a level and cannot be -1"):
        telemetry.gauge("index.version", -1)


def test_a_timer_reaches_a_statsd_server_in_milliseconds(statsd: socket.socket) -> None:
    with telemetry.timer("search.duration"):
        pass
    name, _, value = statsd.recv(512).partition(b":")
    assert name == b"concordance.search.duration"
    assert value.endswith(b"|ms")


def test_without_a_host_nothing_is_sent_and_nothing_fails() -> None:
    telemetry.configure(Settings(statsd_host=""))
    telemetry.count("search.answered")
    with telemetry.timer("search.duration"):
        pass


def test_a_host_that_cannot_be_resolved_is_said_and_does_not_stop_the_run() -> None:
    with structlog.testing.capture_logs() as lines:
        telemetry.configure(Settings(statsd_host="no such host.invalid"))
    telemetry.count("search.answered")
    assert "statsd_host cannot be resolved" in lines[0]["event"]


def test_nothing_that_did_not_happen_is_counted(kept: Kept) -> None:
    telemetry.count("chunks.embedded", 0, source="notes")
    assert kept.counted == []


def test_a_stage_that_ends_well_is_timed_and_finished(kept: Kept) -> None:
    with telemetry.stage("extract", source="notes"):
        pass
    tags = {"stage": "extract", "source": "notes"}
    assert kept.counted == [("stage.finished", 1, tags)]
    assert kept.timed == [("stage.duration", tags)]


def test_a_stage_that_raises_is_timed_and_failed(kept: Kept) -> None:
    with pytest.raises(LookupError), telemetry.stage("extract", source="notes"):
        raise LookupError
    assert [name for name, _, _ in kept.counted] == ["stage.failed"]
    assert len(kept.timed) == 1


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("two words", "two_words"),
        ("a/b:c|d,e=f\ng", "a_b_c_d_e_f_g"),
        ("Ünï", "_n_"),
        ("", "none"),
        ("x" * 100, "x" * 64),
        ("v1.2-rc_3", "v1.2-rc_3"),
    ],
)
def test_a_tag_value_that_would_break_the_line_is_cleaned(value: str, sent: str) -> None:
    assert telemetry.clean_tag(value) == sent


def test_an_unknown_metric_tag_or_kind_is_a_defect() -> None:
    with pytest.raises(ValueError, match=r"no counter 'documents\.imagined'"):
        telemetry.count("documents.imagined")
    with pytest.raises(ValueError, match="has the tags"):
        telemetry.count("documents.added", 1, uri="notes/1.md")
    with pytest.raises(ValueError, match=r"no counter 'search\.duration'"):
        telemetry.count("search.duration")


def test_every_metric_says_what_it_means() -> None:
    assert all(metric.help and metric.name == name for name, metric in METRICS.items())


def _calls() -> Iterator[tuple[Path, str, set[str]]]:
    """Every call of `telemetry.count`, `gauge`, `timing` and `timer` with a literal name: file, name, tags."""
    for path in sorted((ROOT / "include").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            is_ours = isinstance(node.func.value, ast.Name) and node.func.value.id == "telemetry"
            if (
                is_ours
                and node.func.attr in ("count", "gauge", "timing", "timer")
                and isinstance(node.args[0], ast.Constant)
            ):
                yield path, str(node.args[0].value), {str(keyword.arg) for keyword in node.keywords} - {"n", "value"}


def test_every_metric_that_the_product_emits_is_entered_with_its_tags() -> None:
    calls = list(_calls())
    assert calls
    wrong = [
        (str(path.relative_to(ROOT)), name, tags)
        for path, name, tags in calls
        if name not in METRICS or tags != set(METRICS[name].tags)
    ]
    assert wrong == []
