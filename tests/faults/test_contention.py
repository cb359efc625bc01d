"""F13 and shared nodes: parallel batches that mention the same entities, on a real Neo4j and on the embedded graph."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import neo4j
import pytest

from concordance.model import IndexVersion
from concordance.settings import Settings
from concordance.stores import GraphStore, open_graph
from support import neo4j_server, trials
from support.index_rows import Written, graph_batch, index_version
from support.trials import RecordTrials

# The embedded graph has no locks to wait on: whoever loses a race starts again, which takes its time.
BATCHES = {"Neo4j": 8, "embedded": 3}
SHARED, OWN = 40, 10
SECONDS = 60.0
ENGINES = [
    pytest.param(
        "Neo4j",
        # The first run fetches 118 MB.
        marks=[pytest.mark.neo4j, pytest.mark.timeout(neo4j_server.FETCH_SECONDS + 900)],
    ),
    pytest.param("embedded", marks=pytest.mark.timeout(1200)),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Settings by engine; the Neo4j of this file starts with its first use and ends with the file."""
    started: dict[str, Settings] = {}
    endings: list[Any] = []

    def settings_of(engine: str) -> Settings:
        if engine == "embedded":
            settings: Settings = request.getfixturevalue("stack")
            return settings
        if engine not in started:
            reason = neo4j_server.why_not()
            if reason is not None and neo4j_server.is_required():
                pytest.fail(f"{neo4j_server.REQUIRE}=1, but {reason}")
            if reason is not None:
                pytest.skip(reason)
            running = neo4j_server.running(tmp_path_factory.mktemp("neo4j"))
            started[engine] = running.__enter__()
            endings.append(running)
        return started[engine]

    yield settings_of
    for running in endings:
        running.__exit__(None, None, None)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(servers: Any, engine: str) -> Settings:
    found: Settings = servers(engine)
    return found


@pytest.fixture
def graph(settings: Settings) -> Iterator[GraphStore]:
    opened = open_graph(settings)
    opened.prepare()
    yield opened
    opened.close()


def _entities(settings: Settings, version: IndexVersion) -> list[str]:
    """Every entity node's key, as a raw reader sees them: one that stands twice is there twice."""
    credentials = (settings.effective_neo4j_user, settings.neo4j_password.get_secret_value())
    with (
        neo4j.GraphDatabase.driver(settings.effective_neo4j_url, auth=credentials) as driver,
        driver.session(database=settings.effective_neo4j_database) as session,
    ):
        found = session.run("MATCH (e:Entity {index_version: $version}) RETURN e.key AS key", version=version.version)
        return [str(row["key"]) for row in found]


def _at_once(calls: list[Any]) -> None:
    """All calls in threads of their own, started together; the first error is raised."""
    barrier = threading.Barrier(len(calls))

    def start(call: Any) -> None:
        barrier.wait(SECONDS)
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(start, call) for call in calls]:
            future.result()


def _batch(dice: random.Random, number: int) -> list[Written]:
    """Five documents, four fifths of whose entities every other batch mentions too, each in an order of its own."""
    names = [f"shared-{each}" for each in range(SHARED)] + [f"own-{number}-{each}" for each in range(OWN)]
    dice.shuffle(names)
    documents = []
    for place in range(5):
        mine = names[place * 10 : place * 10 + 10]
        documents.append(
            Written(
                f"batch-{number}/{place}",
                texts=(f"text {number} {place}", f"more {number} {place}"),
                mentions={0: dict.fromkeys(mine, 1), 1: dict.fromkeys(mine[:5], 2)},
                requires=[(mine[0], mine[1]), (mine[2], "shared-0")],
                authors=["everybody"],
            )
        )
    return documents


def test_parallel_batches_that_share_their_entities_end_with_one_of_each(
    graph: GraphStore, settings: Settings, engine: str, record_trials: RecordTrials
) -> None:
    batches_at_once = BATCHES[engine]
    for seed in trials.seeds(1, full=20):
        record_trials("F13", engine=engine)
        dice = random.Random(seed)
        version = index_version()
        batches = [_batch(dice, number) for number in range(batches_at_once)]

        def write(documents: list[Written], version: IndexVersion = version) -> None:
            graph.write(version, graph_batch(version, *documents), timeout_seconds=SECONDS)

        _at_once([lambda documents=documents: write(documents) for documents in batches])
        found = _entities(settings, version)
        assert len(found) == len(set(found)), f"seed {seed}: an entity stands there twice"
        assert len(found) == SHARED + batches_at_once * OWN + 1, f"seed {seed}"
        counted = graph.counts(version).rows
        assert (counted["documents"], counted["chunks"]) == (batches_at_once * 5, batches_at_once * 10), f"seed {seed}"
        assert not any(graph.orphans(version).values()), f"seed {seed}: {graph.orphans(version)}"


def test_two_batches_that_create_one_entity_at_once_end_with_one(
    graph: GraphStore, settings: Settings, engine: str, record_trials: RecordTrials
) -> None:
    for seed in trials.seeds(2, full=100):
        record_trials("F13", engine=engine)
        version = index_version()
        twins = [Written(f"twin-{each}", mentions={0: {"lonely": 1}}) for each in range(2)]
        _at_once(
            [
                lambda twin=twin, version=version: graph.write(
                    version, graph_batch(version, twin), timeout_seconds=SECONDS
                )
                for twin in twins
            ]
        )
        assert len(_entities(settings, version)) == 1, f"seed {seed}"
        assert graph.counts(version).rows["mentions"] == 2, f"seed {seed}"


@pytest.mark.parametrize("order", ["write first", "sweep first", "at once"])
def test_an_entity_that_lost_its_last_edge_goes_without_racing_a_batch_that_mentions_it_again(
    graph: GraphStore, settings: Settings, engine: str, order: str, record_trials: RecordTrials
) -> None:
    for seed in trials.seeds(1, full=60):
        record_trials("F13", engine=engine)
        dice = random.Random(seed)
        version = index_version()
        names = [f"name-{each}" for each in range(6)]
        old = [
            Written(f"old-{each}", mentions={0: {names[each]: 1}}, requires=[(names[each], names[each - 1])])
            for each in range(6)
        ]
        graph.write(version, graph_batch(version, *old), timeout_seconds=SECONDS)
        again = dice.sample(names, 3)
        new = Written("new", mentions={0: dict.fromkeys(again, 1)})

        def sweep(version: IndexVersion = version, old: list[Written] = old) -> None:
            graph.sweep(version, [document.key for document in old], timeout_seconds=SECONDS)

        def write(version: IndexVersion = version, new: Written = new) -> None:
            graph.write(version, graph_batch(version, new), timeout_seconds=SECONDS)

        if order == "at once":
            _at_once([sweep, write])
        else:
            for call in (write, sweep) if order == "write first" else (sweep, write):
                call()
        counted = graph.counts(version).rows
        assert counted["mentions"] == len(again), f"seed {seed}: the batch lost a mention"
        assert counted["entities"] == len(again) == len(_entities(settings, version)), f"seed {seed}"
        assert counted["documents"] == 1, f"seed {seed}"
        assert not any(graph.orphans(version).values()), f"seed {seed}: {graph.orphans(version)}"
