"""Metrics on a real UDP socket, and through an exchanged backend."""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from concordance.commands.metrics import page
from concordance.operations import telemetry
from concordance.operations.metrics import METRICS
from concordance.settings import ROOT, Settings
from support.kept_metrics import KeptMetrics, kept_metrics


@pytest.fixture
def kept() -> Iterator[KeptMetrics]:
    with kept_metrics() as kept:
        yield kept


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


def test_nothing_that_did_not_happen_is_counted(kept: KeptMetrics) -> None:
    telemetry.count("chunks.embedded", 0, source="notes")
    assert not kept.counters


STAGE = (("source", "notes"), ("stage", "extract"))


def test_a_stage_that_ends_well_is_timed_and_finished(kept: KeptMetrics, tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    with telemetry.stage("extract", source="notes", settings=Settings(state_dir=tmp_path)):
        sum(number * number for number in range(300_000))
    assert kept.of("stage.finished") == {STAGE: 1}
    assert kept.timed == [("stage.duration", STAGE)]
    assert kept.total("process.cpu_milliseconds") > 0
    assert not kept.of("stage.failed")
    assert not kept.of("stage.retried")
    assert set(kept.gauges) == {
        ("process.memory_bytes", (("stage", "extract"),)),
        ("disk.free_bytes", (("place", "staging"),)),
        ("disk.free_bytes", (("place", "state"),)),
    }
    assert all(level > 1_000_000 for level in kept.gauges.values())


def test_a_stage_that_raises_is_timed_and_failed(kept: KeptMetrics, tmp_path: Path) -> None:
    with (
        pytest.raises(LookupError),
        telemetry.stage("extract", source="notes", settings=Settings(state_dir=tmp_path / "not there yet")),
    ):
        raise LookupError
    assert kept.of("stage.failed") == {STAGE: 1}
    assert not kept.of("stage.finished")
    assert len(kept.timers) == 1
    assert {name for name, _ in kept.gauges} == {"process.memory_bytes"}


def test_a_second_attempt_of_a_stage_is_a_retry(kept: KeptMetrics, tmp_path: Path) -> None:
    with telemetry.stage("extract", source="notes", settings=Settings(state_dir=tmp_path), attempt=2):
        assert kept.of("stage.retried") == {STAGE: 1}


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


def _calls() -> Iterator[tuple[Path, ast.Call]]:
    """Every call in the product of `telemetry.count`, `gauge`, `timing` and `timer`, or of these in `telemetry`."""
    for path in sorted((ROOT / "include").rglob("*.py")):
        own = {"telemetry"} if path.name != "telemetry.py" else set()
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            said = ast.unparse(node.func).split(".")
            if said[-1] in ("count", "gauge", "timing", "timer") and set(said[:-1]) == own:
                yield path, node


def _names(call: ast.Call) -> set[str]:
    """The metrics' names in a call's first argument; none where it is a variable."""
    return {
        str(node.value) for node in ast.walk(call.args[0]) if isinstance(node, ast.Constant) and "." in str(node.value)
    }


def test_every_metric_that_the_product_emits_is_entered_with_its_tags() -> None:
    calls = [(path, call, name) for path, call in _calls() for name in _names(call)]
    assert calls
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for path, call, name in calls
        if name not in METRICS
        or {str(keyword.arg) for keyword in call.keywords} - {"n", "value"} != set(METRICS[name].tags)
    ]
    assert wrong == []


def test_every_metric_that_is_entered_is_emitted_somewhere() -> None:
    emitted, variable = set(), set()
    for path, call in _calls():
        assert not isinstance(call.args[0], ast.JoinedStr), f"{path.name}: a name put together cannot be looked for"
        emitted |= _names(call)
        if not _names(call):
            variable.add(path)
    # Where the name is a variable, it comes from a table of that module.
    tables = (ast.walk(ast.parse(path.read_text())) for path in variable)
    emitted |= {str(node.value) for table in tables for node in table if isinstance(node, ast.Constant)}
    assert set(METRICS) - emitted == set()


def test_the_page_of_metrics_is_up_to_date() -> None:
    written = (ROOT / "docs" / "metrics.md").read_text()
    assert written == page(), "run `python -m concordance metrics --markdown > docs/metrics.md`"


def test_no_two_metrics_have_one_name_in_prometheus() -> None:
    assert len({metric.prometheus for metric in METRICS.values()}) == len(METRICS)
