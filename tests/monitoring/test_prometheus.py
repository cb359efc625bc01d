"""A real Prometheus reads the exporter and judges the rules; a real Alertmanager tells whoever listens."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from concordance.operations import telemetry
from concordance.operations.metrics import METRICS, Kind
from concordance.settings import Settings
from support.monitoring import Exporter, get, running_alertmanager, running_prometheus
from support.waiting import wait_for

SECONDS = 60


class Told:
    """What Alertmanager posted: by alert, its last state, label by label."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    def hear(self, body: bytes) -> None:
        for alert in json.loads(body)["alerts"]:
            self.states[alert["labels"]["alertname"]] = alert["status"]


@contextmanager
def listening(told: Told) -> Iterator[str]:
    """A receiver on a free loopback port; yields its address."""

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.hear(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def test_what_was_sent_is_scraped_recorded_judged_and_told(exporter: Exporter, tmp_path: Path) -> None:
    told = Told()
    with (
        listening(told) as webhook,
        running_alertmanager(tmp_path, webhook=webhook) as alertmanager_port,
        running_prometheus(tmp_path, exporter, alertmanager_port=alertmanager_port) as prometheus,
    ):
        telemetry.configure(Settings(statsd_host="127.0.0.1", statsd_port=exporter.udp_port))
        try:
            for metric in METRICS.values():
                if metric.kind is Kind.COUNTER:
                    telemetry.count(metric.name, 5, **dict.fromkeys(metric.tags, "a"))
        finally:
            telemetry.close()
        names = {metric.prometheus for metric in METRICS.values() if metric.kind is Kind.COUNTER}
        for name in sorted(names):
            wait_for(lambda name=name: 5.0 in prometheus.query(name).values(), seconds=SECONDS, what=name)
        # The exporter has just begun to count, so that all five are new.
        wait_for(
            lambda: (
                prometheus.query("gate_source:concordance_gate_failed:new_1h")
                == {
                    frozenset(
                        {"__name__": "gate_source:concordance_gate_failed:new_1h", "gate": "a", "source": "a"}.items()
                    ): 5
                }
            ),
            seconds=SECONDS,
            what="the recorded value",
        )
        expected = {"GateFailed", "NotSound"}
        wait_for(lambda: expected <= prometheus.firing(), seconds=SECONDS, what="the alerts")
        assert prometheus.firing() <= expected | {"AlertChannelFails"}
        wait_for(
            lambda: all(told.states.get(name) == "firing" for name in expected), seconds=SECONDS, what="the telling"
        )
        silenced = json.loads(get(alertmanager_port, "/api/v2/alerts?active=true&silenced=false"))
        assert {alert["labels"]["severity"] for alert in silenced} == {"page", "ticket"}
