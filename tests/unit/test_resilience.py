"""One table says who repeats what; a store that fails too often in a row is left alone, then tried with one call."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest

from concordance import errors
from concordance.circuit import CircuitOpen, Condition
from concordance.errors import (
    BatchTooLarge,
    ConcordanceError,
    Conflict,
    Leased,
    Misconfigured,
    OutcomeUnknown,
    PoisonDocument,
    Transient,
    Unavailable,
)
from concordance.operations import telemetry
from concordance.resilience import RULES, By, LostRace, Policy, PoolExhausted, Store, StoreCalls, rule_of
from concordance.settings import load_settings
from support.kept_metrics import kept_metrics

QUICK = Policy(
    store=Store.GRAPH,
    timeout_seconds=5,
    call_timeout_seconds=30,
    attempts=3,
    wait_seconds=0.0,
    wait_max_seconds=0.0,
    circuit_failures=5,
    circuit_open_seconds=60,
    connections=50,
    acquire_seconds=30,
)
POISON = PoisonDocument("refused", reason="store_refused")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Failing:
    """Raises the given errors one after the other, then returns "done"."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> str:
        self.seconds.append(seconds)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def calls(clock: Callable[[], float] | None = None, **changes: object) -> StoreCalls:
    policy = replace(QUICK, **changes)  # type: ignore[arg-type]
    return StoreCalls(policy, address="bolt://127.0.0.1:1", now=clock or Clock())


def down(times: int) -> list[BaseException]:
    return [Unavailable(f"down {number}") for number in range(times)]


def opened(clock: Clock, **changes: object) -> StoreCalls:
    """Calls whose circuit has just opened."""
    made = calls(clock, attempts=1, **changes)
    for _ in range(made.policy.circuit_failures):
        with pytest.raises(Unavailable):
            made.call(Failing(Unavailable("down")))
    assert made.circuit.state().condition is Condition.OPEN
    return made


@pytest.fixture
def counted() -> Iterator[list[tuple[str, str]]]:
    """The changes of circuits that were reported as metrics: (store, state)."""
    seen: list[tuple[str, str]] = []

    class Kept(telemetry.NoBackend):
        def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
            if name == "store.circuit":
                seen.extend([(tags["store"], tags["state"])] * n)

    previous = telemetry.use(Kept())
    yield seen
    telemetry.use(previous)


class TestRules:
    def test_every_error_of_the_product_has_one_row_and_somebody_who_repeats_it_or_nobody(self) -> None:
        ours = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ConcordanceError)}
        ours.discard(ConcordanceError)
        for kind in ours | {LostRace, CircuitOpen, PoolExhausted}:
            rule = next(rule for rule in RULES if issubclass(kind, rule.error))
            assert rule.error is not Exception, f"say in RULES who repeats {kind.__name__}"
            assert (rule.by is By.NOBODY) is (issubclass(kind, errors.Terminal) and kind is not PoisonDocument)

    def test_no_row_is_hidden_by_one_above_it(self) -> None:
        for above, below in itertools.combinations(RULES, 2):
            assert not issubclass(below.error, above.error), (
                f"{below.error.__name__} stands below {above.error.__name__}"
            )

    def test_only_a_store_that_did_not_answer_counts_as_an_outage(self) -> None:
        outages = [Unavailable("down"), OutcomeUnknown("cut off")]
        answers = [LostRace("second"), BatchTooLarge("halve"), POISON, Conflict("late"), Misconfigured("password")]
        assert [rule_of(error).is_outage for error in (*outages, *answers)] == [True, True, *[False] * 5]


class TestRepeating:
    @pytest.mark.parametrize("error", [Unavailable("down"), OutcomeUnknown("cut off"), LostRace("second")])
    def test_a_transient_error_is_tried_again(self, error: ConcordanceError) -> None:
        operation = Failing(error, error)
        assert calls().call(operation) == "done"
        assert len(operation.seconds) == 3

    @pytest.mark.parametrize(
        "error",
        [
            BatchTooLarge("halve it"),
            Leased("taken", retry_after_seconds=1),
            Misconfigured("wrong password"),
            POISON,
            Transient("the lease ran out"),
            ZeroDivisionError(),
        ],
    )
    def test_an_error_that_somebody_else_repeats_or_nobody_is_raised_at_once(self, error: Exception) -> None:
        operation = Failing(error)
        with pytest.raises(type(error)):
            calls().call(operation)
        assert len(operation.seconds) == 1

    def test_the_last_error_is_raised_when_the_attempts_are_used_up(self) -> None:
        operation = Failing(*down(10))
        with pytest.raises(Unavailable, match="down 2"):
            calls().call(operation)
        assert len(operation.seconds) == 3

    def test_each_repeated_attempt_that_is_sent_is_counted(self) -> None:
        with kept_metrics() as kept:
            calls(attempts=9).call(Failing(*down(2), LostRace("second")))
            assert kept.of("store.retried") == {(("store", "graph"),): 3}
            with pytest.raises(Misconfigured):
                calls().call(Failing(Misconfigured("password")))
            assert kept.total("store.retried") == 3

    def test_a_repetition_that_an_open_circuit_keeps_back_is_not_counted(self) -> None:
        with kept_metrics() as kept, pytest.raises(Unavailable):
            calls(attempts=9, circuit_failures=2).call(Failing(*down(9)))
        assert kept.total("store.retried") == 1

    def test_lost_races_do_not_count_as_attempts(self) -> None:
        operation = Failing(*(LostRace("second") for _ in range(8)), *down(2))
        assert calls().call(operation) == "done"
        assert len(operation.seconds) == 11

    def test_no_attempt_begins_after_the_time_of_the_call(self) -> None:
        operation = Failing(*down(50))
        with pytest.raises(Unavailable):
            calls(attempts=50, wait_seconds=10.0, wait_max_seconds=10.0).call(operation, timeout_seconds=0.05)
        assert len(operation.seconds) == 1

    def test_each_attempt_is_given_the_time_that_is_left(self) -> None:
        operation = Failing(*down(2))
        calls().call(operation, timeout_seconds=30)
        assert operation.seconds == sorted(operation.seconds, reverse=True)
        assert 0 < operation.seconds[-1] <= operation.seconds[0] <= 30

    def test_waits_grow_from_the_least_to_the_most_and_are_drawn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waits: list[float] = []
        monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
        with pytest.raises(Unavailable):
            calls(
                attempts=9, circuit_failures=50, wait_seconds=0.1, wait_max_seconds=30.0, call_timeout_seconds=600
            ).call(Failing(*down(9)))
        highest = [0.1, 0.4, 1.6, 6.4, 25.6, 30.0, 30.0, 30.0]
        assert len(waits) == len(highest)
        assert all(0.1 <= wait <= high for wait, high in zip(waits, highest, strict=True))
        assert len(set(waits[1:])) == len(waits) - 1


class TestCircuit:
    def test_it_opens_after_its_failures_in_a_row_and_nothing_more_is_sent(self) -> None:
        clock = Clock()
        made = opened(clock)
        operation = Failing()
        with pytest.raises(CircuitOpen) as refused:
            made.call(operation)
        assert operation.seconds == []
        said = str(refused.value)
        assert "graph at bolt://127.0.0.1:1 failed 5 times in a row" in said
        assert "since " in said
        assert "tried again in 60 s" in said
        assert "concordance status" in said

    def test_a_call_ends_with_the_failure_that_opened_it_although_attempts_are_left(self) -> None:
        made = calls(attempts=50)
        operation = Failing(*down(50))
        with pytest.raises(CircuitOpen):
            made.call(operation)
        assert len(operation.seconds) == made.policy.circuit_failures

    @pytest.mark.parametrize("answer", [None, POISON, LostRace("second"), BatchTooLarge("halve"), Misconfigured("no")])
    def test_any_answer_ends_the_row(self, answer: Exception | None) -> None:
        made = calls(attempts=1)
        for _ in range(3):
            for _ in range(4):
                with pytest.raises(Unavailable):
                    made.call(Failing(Unavailable("down")))
            with made.circuit.attempt() if answer is None else pytest.raises(type(answer)), made.circuit.attempt():
                if answer is not None:
                    raise answer
        assert made.circuit.state().condition is Condition.CLOSED

    def test_after_its_time_one_call_tries_and_its_success_closes_it(self, counted: list[tuple[str, str]]) -> None:
        clock = Clock()
        made = opened(clock)
        clock.seconds += 60
        assert made.call(Failing()) == "done"
        assert made.circuit.state().condition is Condition.CLOSED
        assert counted == [("graph", "open"), ("graph", "half-open"), ("graph", "closed")]

    def test_a_failed_trial_opens_it_for_as_long_again(self) -> None:
        clock = Clock()
        made = opened(clock)
        clock.seconds += 60
        with pytest.raises(Unavailable, match="still down"):
            made.call(Failing(Unavailable("still down")))
        clock.seconds += 59
        with pytest.raises(CircuitOpen):
            made.call(Failing())
        clock.seconds += 1
        assert made.call(Failing()) == "done"

    def test_only_one_call_is_the_trial(self) -> None:
        clock = Clock()
        made = opened(clock)
        clock.seconds += 60
        begun, may_end = threading.Event(), threading.Event()

        def trial(seconds: float) -> str:
            begun.set()
            assert may_end.wait(30)
            return "done"

        tried = threading.Thread(target=lambda: made.call(trial))
        tried.start()
        assert begun.wait(30)
        with pytest.raises(CircuitOpen, match="is being tried now"):
            made.call(Failing())
        may_end.set()
        tried.join(30)
        assert made.call(Failing()) == "done"

    def test_a_trial_that_was_interrupted_leaves_the_next_call_to_try(self) -> None:
        clock = Clock()
        made = opened(clock)
        clock.seconds += 60
        with pytest.raises(KeyboardInterrupt):
            made.call(Failing(KeyboardInterrupt()))
        assert made.call(Failing()) == "done"

    def test_requests_do_not_wait_for_each_other(self) -> None:
        made, both = calls(), threading.Barrier(2)

        def operation(seconds: float) -> int:
            return both.wait(30)

        other = threading.Thread(target=lambda: made.call(operation))
        other.start()
        assert made.call(operation) in (0, 1)
        other.join(30)

    def test_an_answer_to_what_was_sent_before_it_opened_does_not_close_it(self) -> None:
        clock = Clock()
        made = calls(clock, attempts=1)
        with made.circuit.attempt():
            for _ in range(5):
                with pytest.raises(Unavailable):
                    made.call(Failing(Unavailable("down")))
        assert made.circuit.state().condition is Condition.OPEN

    def test_failures_of_many_threads_are_counted_one_by_one(self) -> None:
        made = calls(attempts=1, circuit_failures=80)

        def fail() -> None:
            for _ in range(10):
                with pytest.raises(Unavailable):
                    made.call(Failing(Unavailable("down")))

        threads = [threading.Thread(target=fail) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert made.circuit.state().condition is Condition.OPEN

    def test_its_state_says_what_it_counts_and_when_it_is_tried_again(self) -> None:
        clock = Clock()
        made = opened(clock)
        clock.seconds += 18
        assert "tried again in 42 s" in str(made.circuit.state())
        assert str(calls().circuit.state()) == "closed, 0 of 5 failures"


class TestConnections:
    def test_a_call_that_finds_none_free_says_which_setting_to_raise_and_blames_no_store(self) -> None:
        made = calls(attempts=1, connections=1, acquire_seconds=0.01)
        made.call(Failing(), keeps_connection=True)
        for _ in range(10):
            with pytest.raises(PoolExhausted, match="GRAPH_POOL_CONNECTIONS"):
                made.call(Failing())
        assert made.circuit.state().condition is Condition.CLOSED
        made.give_connection_back()
        assert made.call(Failing()) == "done"

    def test_a_connection_is_free_again_whatever_happened(self) -> None:
        made = calls(connections=1, acquire_seconds=0.01)
        for error in (POISON, Unavailable("down"), KeyboardInterrupt()):
            operation = Failing(error)
            if isinstance(error, Unavailable):
                made.call(operation)
            else:
                with pytest.raises(type(error)):
                    made.call(operation)
        assert made.call(Failing()) == "done"


class TestSettings:
    def test_a_store_s_policy_is_what_the_settings_say(self) -> None:
        settings = load_settings(environment={})
        limits = {store: Policy.of(settings, store) for store in Store}
        assert [limits[store].timeout_seconds for store in Store] == [5, 10, 5]
        for policy in limits.values():
            assert (policy.attempts, policy.wait_seconds, policy.wait_max_seconds) == (5, 0.1, 30)
            assert (policy.circuit_failures, policy.circuit_open_seconds) == (5, 60)
            assert (policy.connections, policy.acquire_seconds) == (50, 30)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"vectors_timeout_seconds": 61}, "must not exceed call_timeout_seconds"),
            ({"call_timeout_seconds": 121}, "no request to a store may outlast its lease"),
            ({"lease_seconds": 30}, "must not exceed lease_seconds"),
            ({"ledger_bulk_timeout_seconds": 4}, "must not exceed ledger_bulk_timeout_seconds"),
            ({"retry_wait_seconds": 31}, "must not exceed retry_wait_max_seconds"),
            ({"circuit_failures": 0}, "CIRCUIT_FAILURES"),
        ],
    )
    def test_times_that_contradict_each_other_are_refused(self, given: dict[str, float], said: str) -> None:
        with pytest.raises(Misconfigured, match=said):
            load_settings(given, environment={})
