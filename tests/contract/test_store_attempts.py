"""What a server that is ill really sees of us: the policy's attempts, and nothing once the circuit is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from concordance.circuit import Circuit, CircuitOpen, Condition
from concordance.errors import OutcomeUnknown, Transient
from concordance.ledger import open_ledger
from concordance.resilience import Store
from concordance.settings import Settings, load_settings
from concordance.stores import open_graph, open_vectors
from support import broken_servers as broken
from support.index_rows import Written, graph_batch, index_version, points
from support.waiting import wait_for

ATTEMPTS, FAILURES, OPEN_SECONDS = 2, 3, 60.0


@dataclass(frozen=True)
class Opened:
    """A store's adapter on a server that is ill: what it is asked for, and its circuit."""

    store: Store
    call: Callable[[], Any]
    circuit: Circuit
    server: broken.Asked

    def fails(self) -> Transient:
        with pytest.raises(Transient) as failed:
            self.call()
        return failed.value


def _graph(settings: Settings, *, writes: bool) -> tuple[Any, Callable[[], Any]]:
    store, version = open_graph(settings), index_version()
    batch = graph_batch(version, Written("a"))
    return store, (lambda: store.write(version, batch, timeout_seconds=30)) if writes else store.ping


def _vectors(settings: Settings, *, writes: bool) -> tuple[Any, Callable[[], Any]]:
    store, version = open_vectors(settings), index_version()
    rows = points(version, Written("a"))
    return store, (lambda: store.upsert(version, rows, timeout_seconds=30)) if writes else store.ping


def _ledger(settings: Settings, *, writes: bool) -> tuple[Any, Callable[[], Any]]:
    ledger = open_ledger(settings)

    def snapshot() -> None:
        with ledger.snapshot():
            raise AssertionError("there is nothing to read")

    return ledger, ledger.ping if writes else snapshot


CASES = [
    pytest.param(Store.GRAPH, broken.bolt_that_hangs_up, False, id="graph hangs up, reading"),
    pytest.param(Store.GRAPH, broken.bolt_that_hangs_up, True, id="graph hangs up, writing"),
    pytest.param(Store.GRAPH, broken.bolt_that_is_silent, True, id="graph is silent"),
    pytest.param(Store.VECTORS, broken.http_that_is_unavailable, False, id="vectors answer 503, reading"),
    pytest.param(Store.VECTORS, broken.http_that_is_unavailable, True, id="vectors answer 503, writing"),
    pytest.param(Store.VECTORS, broken.http_that_hangs_up, True, id="vectors hang up"),
    pytest.param(Store.VECTORS, broken.http_that_is_silent, True, id="vectors are silent"),
    pytest.param(Store.LEDGER, broken.postgresql_that_hangs_up, False, id="ledger hangs up, reading"),
    pytest.param(Store.LEDGER, broken.postgresql_that_hangs_up, True, id="ledger hangs up, writing"),
    pytest.param(Store.LEDGER, broken.postgresql_that_is_silent, True, id="ledger is silent"),
]


@contextmanager
def opened(store: Store, speak: broken.Speak, *, writes: bool, **changes: float) -> Iterator[Opened]:
    with broken.serving(speak) as server:
        given: dict[str, Any] = {
            "neo4j_url": f"bolt://127.0.0.1:{server.port}",
            "qdrant_url": f"http://127.0.0.1:{server.port}",
            "ledger_url": f"postgresql://writer@127.0.0.1:{server.port}/ledger",
            "retry_attempts": ATTEMPTS,
            "retry_wait_seconds": 0.001,
            "retry_wait_max_seconds": 0.001,
            "circuit_failures": FAILURES,
            "circuit_open_seconds": OPEN_SECONDS,
            "graph_timeout_seconds": 0.5,
            "vectors_timeout_seconds": 1,
            "ledger_timeout_seconds": 0.5,
            **changes,
        }
        make = {Store.GRAPH: _graph, Store.VECTORS: _vectors, Store.LEDGER: _ledger}[store]
        adapter, call = make(load_settings(given, environment={}), writes=writes)
        try:
            yield Opened(store, call, adapter.circuit, server)
        finally:
            adapter.close()


@pytest.mark.parametrize(("store", "speak", "writes"), CASES)
def test_an_ill_server_sees_the_attempts_of_the_policy_and_none_once_the_circuit_is_open(
    store: Store, speak: broken.Speak, writes: bool
) -> None:
    with opened(store, speak, writes=writes) as ill:
        assert not isinstance(ill.fails(), CircuitOpen)
        assert ill.server.attempts == ATTEMPTS
        # The second call is in the middle of its attempts when the third failure in a row opens the circuit.
        assert isinstance(ill.fails(), CircuitOpen)
        assert ill.server.attempts == FAILURES
        for _ in range(3):
            said = str(ill.fails())
        assert ill.server.attempts == FAILURES
        assert f"the {store} at " in said
        assert str(ill.server.port) in said
        assert ill.circuit.state().condition is Condition.OPEN


@pytest.mark.parametrize(
    ("store", "speak"),
    [
        (Store.GRAPH, broken.bolt_that_hangs_up),
        (Store.VECTORS, broken.http_that_is_unavailable),
        (Store.LEDGER, broken.postgresql_that_hangs_up),
    ],
)
def test_after_its_time_one_attempt_tries_the_server_again(store: Store, speak: broken.Speak) -> None:
    with opened(store, speak, writes=True, circuit_open_seconds=0.1) as ill:
        while ill.circuit.state().condition is not Condition.OPEN:
            ill.fails()
        seen = ill.server.attempts
        wait_for(lambda: ill.circuit.state().retry_after_seconds == 0, what="the end of the open time")
        ill.fails()
        assert ill.server.attempts == seen + 1


def test_a_write_that_was_sent_and_not_answered_has_an_open_outcome() -> None:
    with opened(Store.VECTORS, broken.http_that_hangs_up, writes=True) as ill:
        assert isinstance(ill.fails(), OutcomeUnknown)


def test_two_adapters_of_one_process_do_not_share_a_circuit() -> None:
    with (
        opened(Store.VECTORS, broken.http_that_is_unavailable, writes=True) as ill,
        opened(Store.VECTORS, broken.http_that_is_unavailable, writes=True) as other,
    ):
        while ill.circuit.state().condition is not Condition.OPEN:
            ill.fails()
        assert other.circuit.state().condition is Condition.CLOSED


@pytest.mark.parametrize(("store", "opener"), [(Store.GRAPH, open_graph), (Store.VECTORS, open_vectors)])
def test_the_driver_s_own_pool_is_as_large_as_the_setting(store: Store, opener: Callable[[Settings], Any]) -> None:
    settings = load_settings({f"{store}_pool_connections": 7}, environment={})
    adapter = opener(settings)
    try:
        if store is Store.GRAPH:
            assert adapter._bolt._driver._pool.pool_config.max_connection_pool_size == 7
        else:
            assert adapter._client.http.client._client._transport._pool._max_connections == 7
    finally:
        adapter.close()


def test_a_request_that_is_too_much_for_the_server_in_its_time_is_repeated_with_less() -> None:
    version = index_version(dimension=192)
    rows = points(version, Written("a", texts=[f"text {number}" for number in range(24)]))
    with broken.serving(broken.http_that_takes_little) as server:
        given = {
            "qdrant_url": f"http://127.0.0.1:{server.port}",
            "vectors_timeout_seconds": 1,
            "retry_wait_seconds": 0.001,
            "retry_wait_max_seconds": 0.001,
            "write_answer_seconds": 0.05,
            "write_rows_min": 4,
        }
        vectors = open_vectors(load_settings(given, environment={}))
        vectors.upsert(version, rows, timeout_seconds=30)
        vectors.close()
    # All 24 at once got no answer; then 4, 8 and the other 12 did.
    assert server.attempts == 4
