"""A lease at work: asked for in time, never taken back, and over with the work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from concordance.errors import Leased, Misconfigured, Unavailable
from concordance.operations import correlation
from concordance.pipeline import lease as lease_module
from concordance.pipeline.lease import Lease
from support.waiting import wait_for

LOST = Leased("another run holds the source", retry_after_seconds=20)
# A third of it passes at once.
SHORT = 0.01


@dataclass
class Clock:
    """Stands in for the module `time`."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Book:
    """Where a lease is renewed: how often that was asked for, by whom, and what is answered: at last the same."""

    answers: list[Exception | None] = field(default_factory=lambda: [None])
    asked: int = 0
    threads: set[int] = field(default_factory=set)
    runs: set[object] = field(default_factory=set)
    on_asked: Callable[[], None] = lambda: None

    def keep(self) -> None:
        self.on_asked()
        self.threads.add(threading.get_ident())
        self.runs.add(correlation.carried().fields.get("run"))
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if answer is not None:
            raise answer

    def was_asked(self, times: int) -> None:
        wait_for(lambda: self.asked >= times, what=f"{times} renewals")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "time", clock)
    return clock


def _keepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_who_goes_document_by_document_asks_the_ledger_once_in_a_third_of_the_lease(clock: Clock) -> None:
    book = Book()
    lease = Lease(book.keep, seconds=300)
    for _ in range(1000):
        clock.now += 1
        lease.renew_when_due()
    assert book.asked == 10


def test_the_span_is_counted_from_before_the_ledger_was_asked(clock: Clock) -> None:
    def slow() -> None:
        clock.now += 90

    book = Book(on_asked=slow)
    lease = Lease(book.keep, seconds=300)
    lease.renew()
    clock.now += 10
    lease.renew_when_due()
    assert book.asked == 2


def test_a_lease_that_was_lost_stops_the_work_at_the_next_document(clock: Clock) -> None:
    lease = Lease(Book([LOST]).keep, seconds=300)
    clock.now += 100
    with pytest.raises(Leased):
        lease.renew_when_due()


def test_a_long_call_is_renewed_for_beside_it_and_not_after_it() -> None:
    book = Book()
    with correlation.bound(run="run-1"), Lease(book.keep, seconds=SHORT).kept():
        assert all(thread.daemon for thread in _keepers())
        book.was_asked(3)
    assert not _keepers()
    assert book.runs == {"run-1"}
    assert len(book.threads - {threading.get_ident()}) == 1


def test_a_short_call_asks_nobody() -> None:
    book = Book()
    with Lease(book.keep, seconds=300).kept():
        pass
    assert book.asked == 0


def test_a_call_that_hangs_past_the_lease_learns_at_its_end_who_holds_it_now(clock: Clock) -> None:
    """The thread was as still as the call: the whole process had stopped."""
    with pytest.raises(Leased), Lease(Book([LOST]).keep, seconds=300).kept():
        clock.now += 301


@pytest.mark.parametrize("error", [LOST, Misconfigured("the password is wrong"), KeyError("a defect")])
def test_what_is_lost_meanwhile_is_raised_where_the_work_is_and_not_asked_for_again(error: Exception) -> None:
    book = Book([None, error, None])
    with pytest.raises(type(error)), Lease(book.keep, seconds=SHORT).kept():
        wait_for(lambda: not _keepers(), what="the end of the thread")
    assert book.asked == 2


def test_a_loop_inside_learns_at_once_that_the_lease_was_lost() -> None:
    lease, done = Lease(Book([LOST]).keep, seconds=SHORT), list[str]()

    def work() -> None:
        with lease.kept():
            wait_for(lambda: not _keepers(), what="the end of the thread")
            lease.renew_when_due()
            done.append("another document")

    with pytest.raises(Leased):
        work()
    assert not done


def test_a_ledger_that_does_not_answer_for_a_moment_ends_nothing() -> None:
    book = Book([Unavailable("the ledger restarts"), None])
    with Lease(book.keep, seconds=SHORT).kept():
        book.was_asked(2)


def test_a_ledger_that_does_not_answer_in_the_end_is_an_error() -> None:
    book = Book([Unavailable("the ledger is away")])
    with pytest.raises(Unavailable), Lease(book.keep, seconds=SHORT).kept():
        book.was_asked(2)


def test_the_works_own_error_is_the_one_that_is_raised() -> None:
    def work() -> None:
        with Lease(Book([LOST]).keep, seconds=SHORT).kept():
            wait_for(lambda: not _keepers(), what="the end of the thread")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
