"""Alerts in the ledger: one fires of all that see the same, and each delivery has one sender at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from concordance.ledger import Ledger
from concordance.operations.alerts import Alert, AlertKind, Happening
from concordance.settings import Settings
from support.alerting import breach
from support.ledgers import connect

BOTH = ("log", "webhook")


def test_of_many_that_see_the_same_at_once_one_fires(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        fired = list(pool.map(lambda _: ledger.alerting.fire(breach(), alert_id=uuid4(), channels=BOTH), range(16)))
    assert fired.count(True) == 1
    assert len(ledger.alerting.open().alerts) == 1


def test_a_repeated_call_says_the_same_and_owes_nothing_twice(ledger: Ledger) -> None:
    alert_id = uuid4()
    assert [ledger.alerting.fire(breach(), alert_id=alert_id, channels=BOTH) for _ in range(3)] == [True] * 3
    assert [ledger.alerting.recover(alert_id, ended="over", channels=BOTH) for _ in range(3)] == [True, False, False]
    owed = ledger.alerting.undelivered([alert_id])[alert_id]
    assert [line.partition(",")[0] for line in owed] == [
        "fired log",
        "fired webhook",
        "recovered log",
        "recovered webhook",
    ]


def test_an_alert_is_kept_as_it_was_seen_and_fires_anew_when_it_comes_back(ledger: Ledger) -> None:
    seen, first, second = breach(shard="3", source="notes"), uuid4(), uuid4()
    assert ledger.alerting.fire(seen, alert_id=first, channels=())
    assert not ledger.alerting.fire(replace(seen, actual="later"), alert_id=second, channels=())
    (opened,) = ledger.alerting.open().alerts
    assert opened.breach == seen
    ledger.alerting.recover(first, ended="the attempt ended", channels=())
    kept = ledger.alerting.get(first)
    assert kept is not None
    assert (kept.ended, kept.recovered_at is not None) == ("the attempt ended", True)
    assert ledger.alerting.fire(seen, alert_id=second, channels=())
    assert [alert.alert_id for alert in ledger.alerting.recent(limit=10)] == [second, first]


def test_what_was_seen_before_it_recovered_does_not_fire_after_it(ledger: Ledger) -> None:
    alert_id = uuid4()
    looked_at = ledger.alerting.open().read_at
    ledger.alerting.fire(breach(), alert_id=alert_id, channels=())
    ledger.alerting.recover(alert_id, ended="over", channels=())
    assert not ledger.alerting.fire(breach(), alert_id=uuid4(), channels=(), looked_at=looked_at)
    later = ledger.alerting.open().read_at
    assert ledger.alerting.fire(breach(), alert_id=uuid4(), channels=(), looked_at=later)


def test_a_delivery_is_claimed_by_one_of_many(ledger: Ledger) -> None:
    ledger.alerting.fire(breach(), alert_id=uuid4(), channels=BOTH)
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: ledger.alerting.claim(attempts=5), range(16)))
    assert sorted(each.channel for each in claimed if each is not None) == ["log", "webhook"]


def test_a_delivery_whose_sender_died_is_due_again_when_its_lease_ends(ledger: Ledger, stack: Settings) -> None:
    ledger.alerting.fire(breach(), alert_id=uuid4(), channels=("log",))
    assert ledger.alerting.claim(attempts=5) is not None
    assert ledger.alerting.claim(attempts=5) is None
    pass_time(stack)
    again = ledger.alerting.claim(attempts=5)
    assert again is not None
    assert again.attempts == 2
    ledger.alerting.delivered(again)
    pass_time(stack)
    assert ledger.alerting.claim(attempts=5) is None


def pass_time(stack: Settings) -> None:
    with connect(stack) as connection:
        connection.execute("UPDATE alert_deliveries SET not_before = not_before - make_interval(secs => 86400)")


def test_after_so_many_attempts_it_is_given_up_and_shows_why(ledger: Ledger, stack: Settings) -> None:
    alert_id = uuid4()
    ledger.alerting.fire(breach(), alert_id=alert_id, channels=("webhook",))
    for _ in range(3):
        pass_time(stack)
        delivery = ledger.alerting.claim(attempts=3)
        assert delivery is not None
        ledger.alerting.failed(delivery, why="it answers 500", retry_seconds=60)
    pass_time(stack)
    assert ledger.alerting.claim(attempts=3) is None
    assert ledger.alerting.undelivered([alert_id]) == {alert_id: ["fired webhook, 3 attempts: it answers 500"]}


def test_that_it_is_over_is_told_only_after_it_was_told_or_given_up(ledger: Ledger, stack: Settings) -> None:
    alert_id = uuid4()
    ledger.alerting.fire(breach(), alert_id=alert_id, channels=("webhook",))
    ledger.alerting.recover(alert_id, ended="over", channels=("webhook",))
    first = ledger.alerting.claim(attempts=1)
    assert first is not None
    assert first.happening is Happening.FIRED
    # Its only attempt is under way, and then given up.
    ledger.alerting.failed(first, why="it is down", retry_seconds=0)
    then = ledger.alerting.claim(attempts=1)
    assert then is not None
    assert then.happening is Happening.RECOVERED


def test_deliveries_of_another_alert_or_by_a_channel_that_is_down_are_not_claimed(ledger: Ledger) -> None:
    one, other = uuid4(), uuid4()
    ledger.alerting.fire(breach("one"), alert_id=one, channels=BOTH)
    ledger.alerting.fire(breach("other"), alert_id=other, channels=BOTH)
    claimed = [ledger.alerting.claim(attempts=5, alert_id=other, without=["webhook"]) for _ in range(2)]
    assert claimed[0] is not None
    assert (claimed[0].alert.alert_id, claimed[0].channel, claimed[1]) == (other, "log", None)


def test_an_alert_that_fired_without_the_ledger_is_entered_with_what_was_told(ledger: Ledger) -> None:
    at = datetime.now(UTC) - timedelta(seconds=60)
    alert = Alert(uuid4(), breach(kind=AlertKind.STORE_DOWN, store="ledger"), at, at + timedelta(seconds=30), "back")
    owed = {Happening.FIRED: BOTH, Happening.RECOVERED: BOTH}
    for _ in range(2):
        ledger.alerting.adopt(alert, channels=owed, told={"fired log", "fired webhook", "recovered log"})
    assert ledger.alerting.get(alert.alert_id) == alert
    (left,) = ledger.alerting.undelivered([alert.alert_id])[alert.alert_id]
    assert left.startswith("recovered webhook")


def test_an_alert_whose_end_is_before_its_beginning_by_a_clock_that_was_put_back_is_entered(ledger: Ledger) -> None:
    at = datetime.now(UTC)
    alert = Alert(uuid4(), breach(), at, at - timedelta(seconds=30), "back")
    ledger.alerting.adopt(alert, channels={Happening.FIRED: (), Happening.RECOVERED: ()}, told=())
    assert ledger.alerting.get(alert.alert_id) == replace(alert, recovered_at=at)


def test_an_alert_that_fired_without_the_ledger_and_in_it_is_over_for_whoever_was_told_of_it(ledger: Ledger) -> None:
    first = uuid4()
    ledger.alerting.fire(breach(), alert_id=first, channels=())
    held = Alert(uuid4(), breach(), datetime.now(UTC))
    for _ in range(2):
        ledger.alerting.adopt(held, channels={Happening.FIRED: BOTH}, told={"fired webhook"})
    entered = ledger.alerting.get(held.alert_id)
    assert entered is not None
    assert (entered.recovered_at is not None, entered.ended) == (True, f"it is the same as {first}, which stays open")
    (left,) = ledger.alerting.undelivered([held.alert_id])[held.alert_id]
    assert left.startswith("recovered webhook")
    assert [alert.alert_id for alert in ledger.alerting.open().alerts] == [first]


@pytest.mark.parametrize(
    "change",
    ["UPDATE alerts SET kind = 'of_a_newer_release'", 'UPDATE alerts SET subject = subject || \'{"planet": "x"}\''],
)
def test_an_alert_of_a_newer_release_is_left_to_it_and_keeps_no_other(
    ledger: Ledger, stack: Settings, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    newer, ours = uuid4(), uuid4()
    ledger.alerting.fire(breach("newer"), alert_id=newer, channels=("log",))
    with connect(stack) as connection:
        connection.execute(change)
    ledger.alerting.fire(breach("ours"), alert_id=ours, channels=("log",))
    for _ in range(2):
        assert [alert.alert_id for alert in ledger.alerting.open().alerts] == [ours]
    assert [alert.alert_id for alert in ledger.alerting.recent(limit=9)] == [ours]
    claimed = [ledger.alerting.claim(attempts=5) for _ in range(2)]
    assert claimed[0] is not None
    assert (claimed[0].alert.alert_id, claimed[1]) == (ours, None)
    assert caplog.text.count(f"alert {newer} is left to the release that entered it") == 1


@pytest.mark.parametrize("field", ["expected", "actual"])
def test_what_is_said_of_a_breach_is_bounded(ledger: Ledger, field: str) -> None:
    ledger.alerting.fire(replace(breach(), **{field: "x" * 5000}), alert_id=uuid4(), channels=())
    (opened,) = ledger.alerting.open().alerts
    assert getattr(opened.breach, field) == "x" * 500
