"""F01 for alerts: whoever raises, ends or delivers one is struck before and after each step; it is told at least once,
always under the same id, and one is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from concordance import fault_points
from concordance.errors import ConcordanceError, OutcomeUnknown
from concordance.fault_points import points_of
from concordance.ledger import Ledger, open_ledger
from concordance.settings import Settings
from concordance.watching.book import Book
from concordance.watching.watch import quickly
from support.alerting import Sees, alert_settings, breach
from support.ledgers import connect
from support.receivers import Receiver, webhook
from support.stacks import free_ports

pytestmark = pytest.mark.fault("F01", engine="real ledger, alerts")

ADOPTION = points_of("alert.adopt")


class Killed(BaseException):
    """The process is gone: nothing that catches errors catches this."""


def a_kill(point: str) -> None:
    raise Killed(point)


def an_exception(point: str) -> None:
    raise RuntimeError(f"a defect at {point}")


def a_lost_answer(point: str) -> None:
    raise OutcomeUnknown(f"the answer was lost at {point}")


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with webhook() as receiver:
        yield receiver


@pytest.fixture
def settings(stack: Settings, hook: Receiver) -> Settings:
    return alert_settings(stack, alert_channels="webhook", alert_webhook_url=hook.url)


def struck(point: str, strike: Callable[[str], None], work: Callable[[], None]) -> None:
    """The work is struck where it passes the point for the first time, and its process is not heard of again."""
    passed: list[str] = []

    def hook(reached: str) -> None:
        if reached == point and not passed:
            passed.append(reached)
            strike(point)

    with fault_points.hooked(hook), suppress(Killed, RuntimeError, ConcordanceError):
        work()
    assert passed, f"{point} was not passed"


def pass_time(stack: Settings) -> None:
    with connect(stack) as connection:
        connection.execute("UPDATE alert_deliveries SET not_before = not_before - make_interval(secs => 86400)")


def a_round(book: Book, runs: Sees) -> None:
    """One round of a watch, its deliveries included, in this thread."""
    opened = book.read(datetime.now(UTC))
    book.enter(runs.breaches, decided=runs.kinds, opened=opened)
    book.deliver()


@pytest.mark.parametrize("strike", [a_kill, an_exception, a_lost_answer])
@pytest.mark.parametrize("point", sorted(fault_points.ALERT_POINTS - ADOPTION))
def test_an_alert_and_its_end_are_told_at_least_once_under_one_id_wherever_the_watch_dies(
    ledger: Ledger, stack: Settings, settings: Settings, hook: Receiver, point: str, strike: Callable[[str], None]
) -> None:
    runs = Sees(breaches=[breach("one")])
    book = Book(ledger.alerting, settings)
    if point.startswith("alert.recover"):
        a_round(book, runs)
        runs.breaches = []
    struck(point, strike, lambda: a_round(book, runs))
    if strike is not a_lost_answer:
        # Another process goes on, and knows what the ledger knows.
        book = Book(ledger.alerting, settings)
    for breaches in (runs.breaches, [], []):
        runs.breaches = breaches
        pass_time(stack)
        a_round(book, runs)
    said = [(each["happening"], each["alert_id"]) for each in hook.notices]
    (alert,) = ledger.alerting.recent(limit=10)
    assert set(said) == {("fired", str(alert.alert_id)), ("recovered", str(alert.alert_id))}
    assert said[-1][0] == "recovered"
    # Twice only where it was sent and could not be marked.
    assert len(said) == 2 + (point in ("alert.send.after", "alert.mark.before"))
    assert ledger.alerting.undelivered([alert.alert_id]) == {}


@pytest.mark.parametrize("point", sorted(ADOPTION))
def test_what_fired_without_the_ledger_keeps_its_id_though_the_answer_to_its_entry_is_lost(
    ledger: Ledger, stack: Settings, settings: Settings, hook: Receiver, point: str
) -> None:
    away = settings.with_values({"ledger_url": f"postgresql://concordance@127.0.0.1:{free_ports(1)[0]}/concordance"})
    absent = open_ledger(quickly(away))
    runs = Sees(breaches=[breach("one")])
    book = Book(absent.alerting, settings)
    a_round(book, runs)
    absent.close()
    book._alerting = ledger.alerting
    struck(point, a_lost_answer, lambda: a_round(book, runs))
    for breaches in (runs.breaches, [], []):
        runs.breaches = breaches
        a_round(book, runs)
    (alert,) = ledger.alerting.recent(limit=10)
    assert [(each["happening"], each["alert_id"]) for each in hook.notices] == [
        ("fired", str(alert.alert_id)),
        ("recovered", str(alert.alert_id)),
    ]
