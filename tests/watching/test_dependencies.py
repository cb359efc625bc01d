"""What answers, beats and is stale, as the watch sees it: real stores, and a server that speaks as Airflow does."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from concordance.errors import Misconfigured, Unavailable
from concordance.ledger import Ledger
from concordance.operations import telemetry
from concordance.operations.alerts import AlertKind, Breach
from concordance.operations.slas import Freshness, Slas
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from concordance.watching.freshness import Sources
from concordance.watching.health import STORES, Dependencies, Dependency, ready
from concordance.watching.heartbeats import Heartbeats
from concordance.watching.liveness import live
from concordance.watching.sizes import Sizes
from support.silent_proxy import closed_port
from support.small_house import SmallHouse

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
COMPONENTS = ("scheduler", "triggerer", "dag_processor")


@dataclass
class PretendAirflow:
    """What an API server answers about itself: by path, the JSON."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=lambda: {"/api/v2/version": {"version": "3.3.2"}})

    def beat(self, ages: Mapping[str, float | None], *, now: datetime, database: str = "healthy") -> None:
        said: dict[str, Any] = {"metadatabase": {"status": database}}
        for name in COMPONENTS:
            age = ages.get(name, 1)
            at = None if age is None else (now - timedelta(seconds=age)).isoformat()
            said[name] = {"status": "healthy", f"latest_{name}_heartbeat": at}
        self.answers["/api/v2/monitor/health"] = said


@contextmanager
def serving(airflow: PretendAirflow) -> Iterator[PretendAirflow]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = airflow.answers.get(self.path)
            content = json.dumps(found).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        airflow.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield airflow
        finally:
            server.shutdown()


@pytest.fixture
def airflow() -> Iterator[PretendAirflow]:
    with serving(PretendAirflow()) as pretended:
        yield pretended


@pytest.fixture
def gauges() -> Iterator[dict[tuple[str, ...], float]]:
    """The last level of each gauge, by name and tags."""
    found: dict[tuple[str, ...], float] = {}

    class Kept(telemetry.NoBackend):
        def gauge(self, name: str, value: float, tags: Mapping[str, str]) -> None:
            found[name, *tags.values()] = value

    previous = telemetry.use(Kept())
    yield found
    telemetry.use(previous)


@pytest.fixture
def watched(stack: Settings, airflow: PretendAirflow) -> Settings:
    return stack.model_copy(update={"airflow_url": airflow.url})


@pytest.fixture
def dependencies() -> Iterator[Callable[[Settings], Dependencies]]:
    made: list[Dependencies] = []

    def make(settings: Settings) -> Dependencies:
        made.append(Dependencies(settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def kinds(breaches: list[Breach]) -> set[AlertKind]:
    return {breach.kind for breach in breaches}


# --- dependencies


def test_everything_that_answers_is_told_with_version_latency_and_breaker(
    watched: Settings, airflow: PretendAirflow, dependencies: Any, gauges: dict[tuple[str, ...], float]
) -> None:
    airflow.beat({}, now=datetime.now(UTC))
    probes = ready(watched)
    assert [each.dependency for each in probes] == list(Dependency)
    assert not any(each.faults for each in probes)
    assert probes[-1].server == "Airflow 3.3.2"
    assert dependencies(watched).look(NOW) == []
    assert {name: level for name, level in gauges.items() if name[0] in ("dependency.up", "dependency.breaker")} == {
        **{("dependency.up", str(each)): 1 for each in Dependency},
        **{("dependency.breaker", str(each)): 0 for each in STORES},
    }
    assert all(gauges["dependency.latency_seconds", str(each)] > 0 for each in Dependency)


def test_a_store_is_down_after_its_time_and_not_for_one_lost_answer(
    watched: Settings, airflow: PretendAirflow, dependencies: Any, gauges: dict[tuple[str, ...], float]
) -> None:
    airflow.beat({}, now=datetime.now(UTC))
    gone = watched.model_copy(update={"qdrant_url": f"http://127.0.0.1:{closed_port()}", "store_down_seconds": 20})
    watcher = dependencies(gone)
    assert watcher.look(NOW) == []
    assert watcher.look(NOW + timedelta(seconds=19)) == []
    (breach,) = watcher.look(NOW + timedelta(seconds=21))
    assert (breach.kind, breach.subject) == (AlertKind.STORE_DOWN, {"store": "vectors"})
    assert breach.since == NOW + timedelta(seconds=20)
    assert gauges["dependency.up", "vectors"] == 0
    # What it is told stays the same alert for as long as it lasts.
    (later,) = watcher.look(NOW + timedelta(seconds=60))
    assert later.key == breach.key


def test_an_airflow_that_does_not_answer_is_down_and_one_answer_ends_it(
    watched: Settings, airflow: PretendAirflow, dependencies: Any
) -> None:
    watcher = dependencies(watched.model_copy(update={"airflow_down_seconds": 10}))
    watcher.look(NOW)
    assert kinds(watcher.look(NOW + timedelta(seconds=11))) == {AlertKind.AIRFLOW_DOWN}
    airflow.beat({}, now=datetime.now(UTC))
    assert watcher.look(NOW + timedelta(seconds=12)) == []
    del airflow.answers["/api/v2/monitor/health"]
    assert watcher.look(NOW + timedelta(seconds=13)) == []


def test_a_breaker_that_opens_is_told(
    watched: Settings, airflow: PretendAirflow, dependencies: Any, gauges: dict[tuple[str, ...], float]
) -> None:
    airflow.beat({}, now=datetime.now(UTC))
    port = closed_port()
    gone = watched.model_copy(update={"neo4j_url": f"bolt://127.0.0.1:{port}", "circuit_failures": 2})
    watcher = dependencies(gone)
    watcher.look(NOW)
    watcher.look(NOW)
    assert gauges["dependency.breaker", "graph"] == 2


# --- heartbeats


@pytest.mark.parametrize("silent", COMPONENTS)
def test_a_component_without_a_heartbeat_is_silent_from_its_limit_on(
    watched: Settings, airflow: PretendAirflow, silent: str
) -> None:
    limit = getattr(watched, f"{silent}_silent_seconds")
    watcher = Heartbeats(watched)
    airflow.beat({}, now=NOW - timedelta(seconds=600))
    watcher.look(NOW - timedelta(seconds=600))
    airflow.beat({silent: limit - 1}, now=NOW)
    assert watcher.look(NOW) == []
    airflow.beat({silent: limit + 1}, now=NOW)
    (breach,) = watcher.look(NOW)
    assert (str(breach.kind), breach.subject) == (f"{silent}_silent", {"component": silent})
    assert breach.since == NOW - timedelta(seconds=1)
    airflow.beat({silent: 2}, now=NOW)
    assert watcher.look(NOW) == []


@pytest.mark.parametrize("age", [None, 86_400])
def test_a_component_without_a_heartbeat_of_this_start_counts_from_the_first_look(
    watched: Settings, airflow: PretendAirflow, age: float | None
) -> None:
    """After a stop over night Airflow still tells of yesterday's: that fires nothing, and ends nothing either."""
    watcher = Heartbeats(watched)
    airflow.beat({"triggerer": age}, now=NOW)
    with pytest.raises(Unavailable, match="triggerer yet since the watch began"):
        watcher.look(NOW)
    late = NOW + timedelta(seconds=watched.triggerer_silent_seconds + 1)
    airflow.beat({"triggerer": age}, now=late)
    assert kinds(watcher.look(late)) == {AlertKind.TRIGGERER_SILENT}


def test_while_airflow_does_not_tell_nothing_new_is_known_and_the_ages_go_on(
    watched: Settings, airflow: PretendAirflow, gauges: dict[tuple[str, ...], float]
) -> None:
    watcher = Heartbeats(watched)
    airflow.beat({"scheduler": 3}, now=NOW)
    watcher.look(NOW)
    assert gauges["airflow.heartbeat_age_seconds", "scheduler"] == 3
    airflow.beat({}, now=NOW, database="unhealthy")
    with pytest.raises(Unavailable, match="own database"):
        watcher.look(NOW + timedelta(seconds=30))
    assert gauges["airflow.heartbeat_age_seconds", "scheduler"] == 33
    airflow.answers.clear()
    with pytest.raises((Unavailable, Misconfigured)):
        watcher.look(NOW + timedelta(seconds=60))


def test_a_dead_component_is_a_fault_of_airflow(watched: Settings, airflow: PretendAirflow) -> None:
    airflow.beat({"scheduler": 3600}, now=datetime.now(UTC))
    (probe,) = ready(watched, (Dependency.AIRFLOW,))
    assert probe.answers
    (fault,) = probe.faults
    assert "scheduler" in fault


# --- this process


def test_a_process_is_live_where_it_can_write_and_its_work_goes_on(tmp_path: Path, stack: Settings) -> None:
    settings = stack.model_copy(update={"state_dir": tmp_path / "state"})
    assert live(settings) == ()
    assert list((tmp_path / "state").iterdir()) == []

    def too_old(_: Settings) -> float:
        raise Misconfigured("the last round was long ago")

    assert live(settings, heartbeat=too_old) == ("the last round was long ago",)
    (tmp_path / "full").write_text("no folder")
    (fault,) = live(stack.model_copy(update={"state_dir": tmp_path / "full"}))
    assert "cannot work" in fault


# --- freshness and sizes


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    declared = tmp_path / "sources.toml"
    tables = (
        f'[[source]]\nname = "{name}"\nkind = "files"\ntenant = "acme"\nlocation = "."\nglob = ["**/*.md"]\n{more}'
        for name, more in (("shelf", "schedule = true\n"), ("attic", ""), ("cellar", "schedule = true\n"))
    )
    declared.write_text("\n".join(tables))
    house = SmallHouse(ledger, stack, staging=tmp_path / "staging", parser=parser)
    house.settings = house.settings.model_copy(
        update={
            "sources_file": declared,
            "staging_url": f"file://{tmp_path / 'staging'}",
            "sizes_interval_seconds": 3600,
        }
    )
    house.texts["alpha"] = "# alpha\n\nThe river.\n"
    house.texts["empty"] = "\n"
    house.run()
    return house


def test_scheduled_sources_are_stale_after_their_limit_and_others_by_name_alone(
    house: SmallHouse, gauges: dict[tuple[str, ...], float]
) -> None:
    slas = Slas(freshness=(Freshness(stale_seconds=7200),))
    assert Sources(house.settings, slas).look(NOW) == []
    house.wait(3 * 3600)
    breaches = Sources(house.settings, slas).look(NOW)
    assert {breach.subject["source"] for breach in breaches} == {"shelf", "cellar"}
    assert kinds(breaches) == {AlertKind.SOURCE_STALE}
    assert {name[1] for name in gauges if name[0] == "freshness.seconds"} == {"shelf", "attic", "cellar"}
    named = Slas(freshness=(Freshness(source="attic", stale_seconds=7200),))
    assert [breach.subject for breach in Sources(house.settings, named).look(NOW)] == [{"source": "attic"}]


def test_a_source_that_is_fresh_again_has_recovered_at_once(house: SmallHouse) -> None:
    settings = house.settings.model_copy(update={"freshness_interval_seconds": 3600})
    watcher = Sources(settings, Slas(freshness=(Freshness(source="shelf", stale_seconds=3600),)))
    house.wait(2 * 3600)
    assert len(watcher.look(NOW)) == 1
    house.run()
    # Before it is called stale again it is asked once more, whatever the interval.
    assert watcher.look(NOW) == []


def test_sizes_are_counted_once_in_their_interval(house: SmallHouse, gauges: dict[tuple[str, ...], float]) -> None:
    watcher = Sizes(house.settings)
    assert watcher.look(NOW) == []
    assert gauges["store.bytes", "ledger"] > 1_000_000
    assert gauges["staging.bytes",] > 1000
    assert gauges["index.version",] == 1
    assert gauges["parity.rows", "documents", "ledger"] == 1
    assert gauges["quarantine.waiting", "shelf", "no_text"] == 1
    gauges.clear()
    assert watcher.look(NOW) == []
    assert gauges == {}


def test_what_no_longer_waits_in_quarantine_is_said_to_be_none(
    house: SmallHouse, gauges: dict[tuple[str, ...], float]
) -> None:
    watcher = Sizes(house.settings.model_copy(update={"sizes_interval_seconds": 0}))
    watcher.look(NOW)
    house.texts["empty"] = "# No longer\n\nA text.\n"
    house.run()
    watcher.look(NOW)
    assert gauges["quarantine.waiting", "shelf", "no_text"] == 0
