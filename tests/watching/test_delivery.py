"""Alerts on their way: by real receivers that are well, broken, refusing, silent, or endless."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import json
import logging
import socket
from collections.abc import Iterator
from uuid import UUID

import pytest

from concordance.ledger import Ledger
from concordance.operations.channels import SIGNATURE_HEADER, _cut_off
from concordance.settings import Settings
from concordance.watching import delivery
from support.alerting import Kept, alert_settings, breach
from support.ledgers import connect
from support.receivers import Mood, Receiver, mail_server
from support.stacks import free_ports


@pytest.fixture
def mail() -> Iterator[Receiver]:
    with mail_server() as receiver:
        yield receiver


def by_webhook(stack: Settings, hook: Receiver, **given: object) -> Settings:
    return alert_settings(stack, alert_channels="log,webhook", alert_webhook_url=hook.url, **given)


def by_mail(stack: Settings, mail: Receiver, **given: object) -> Settings:
    address = {"smtp_host": "127.0.0.1", "smtp_port": mail.port, "smtp_starttls": False}
    to = {"alert_email_to": "night@acme.example, day@acme.example", "alert_email_from": "index@acme.example"}
    return alert_settings(stack, alert_channels="email", **address, **to, **given)


def fired(ledger: Ledger, settings: Settings, run: str = "r") -> UUID:
    alert_id = delivery.fire(breach(run, source="notes"), alerting=ledger.alerting, settings=settings)
    assert alert_id is not None
    delivery.deliver(alerting=ledger.alerting, settings=settings, alert_id=alert_id)
    return alert_id


def again(ledger: Ledger, stack: Settings, settings: Settings) -> int:
    """What is delivered once the waits are over."""
    with connect(stack) as connection:
        connection.execute("UPDATE alert_deliveries SET not_before = not_before - make_interval(secs => 86400)")
    return delivery.deliver(alerting=ledger.alerting, settings=settings)


def test_a_webhook_gets_everything_that_is_known_signed_by_the_secret(
    ledger: Ledger, stack: Settings, hook: Receiver
) -> None:
    settings = by_webhook(stack, hook, alert_webhook_secret="k-secret", runbook_url="https://book.example/alerts")
    alert_id = fired(ledger, settings)
    assert delivery.recover(alert_id, ended="the run is done", alerting=ledger.alerting, settings=settings)
    assert delivery.deliver(alerting=ledger.alerting, settings=settings) == 2
    first, second = hook.notices
    assert (first["happening"], second["happening"], second["ended"]) == ("fired", "recovered", "the run is done")
    named = {name: first[name] for name in ("alert_id", "kind", "dag", "run", "source", "expected", "actual")}
    assert named == {
        "alert_id": str(alert_id),
        "kind": "run_late",
        "dag": "concordance_ingest",
        "run": "r",
        "source": "notes",
        "expected": "done 5 s after it was queued",
        "actual": "running for 9 s",
    }
    assert first["runbook"] == "https://book.example/alerts#run_late"
    assert first["link"].startswith("https://data.example/")
    digest = hmac.new(b"k-secret", hook.bodies[0], hashlib.sha256).hexdigest()
    assert hook.headers[0][SIGNATURE_HEADER] == f"sha256={digest}"


def test_an_email_says_it_in_plain_words_to_all_and_is_known_by_its_id(
    ledger: Ledger, stack: Settings, mail: Receiver
) -> None:
    alert_id = fired(ledger, by_mail(stack, mail))
    (message,) = (email.message_from_bytes(body, policy=email.policy.default) for body in mail.bodies)
    assert message["To"] == "night@acme.example, day@acme.example"
    assert message["Subject"].startswith(
        "[concordance] run_late: dag concordance_ingest, run r, source notes: expected"
    )
    assert message["Message-ID"] == f"<{alert_id}.fired@concordance>"
    assert "actual: running for 9 s" in message.get_content()


def test_statsd_counts_what_fired_and_what_is_over_by_kind(ledger: Ledger, stack: Settings, kept: Kept) -> None:
    settings = alert_settings(stack, alert_channels="statsd")
    delivery.recover(fired(ledger, settings), ended="done", alerting=ledger.alerting, settings=settings)
    delivery.deliver(alerting=ledger.alerting, settings=settings)
    assert kept.counted == [("alert.fired", {"kind": "run_late"}), ("alert.recovered", {"kind": "run_late"})]


def test_the_log_has_a_line_of_each(ledger: Ledger, stack: Settings, caplog: pytest.LogCaptureFixture) -> None:
    alert_id = fired(ledger, alert_settings(stack))
    (line,) = [each for each in caplog.records if str(alert_id) in each.message]
    assert line.levelno == logging.ERROR
    assert "run_late: dag concordance_ingest, run r, source notes: expected done 5 s" in line.message
    assert "docs/runbook/alerts.md#run_late" in line.message


@pytest.mark.parametrize("mood", [Mood.BROKEN, Mood.REFUSING, Mood.SILENT, Mood.DRIPPING])
def test_a_webhook_that_fails_is_counted_and_keeps_nobody_and_gets_each_alert_once_when_it_is_well(
    ledger: Ledger, stack: Settings, hook: Receiver, kept: Kept, mood: Mood
) -> None:
    hook.mood = mood
    settings = by_webhook(stack, hook, alert_timeout_seconds=0.5)
    ids = [fired(ledger, settings, run) for run in ("one", "other")]
    assert [tags for name, tags in kept.counted if name == "alert.undelivered"] == [{"channel": "webhook"}] * 2
    left = ledger.alerting.undelivered(ids)
    # The log has told of both; the token of the webhook's address is in no message.
    assert [len(lines) for lines in left.values()] == [1, 1]
    assert "t-secret" not in json.dumps([left[one] for one in ids])
    assert again(ledger, stack, settings) == 0
    hook.mood = Mood.WELL
    assert again(ledger, stack, settings) == 2
    assert sorted(each["alert_id"] for each in hook.notices) == sorted(map(str, ids))
    assert again(ledger, stack, settings) == 0


@pytest.mark.parametrize("mood", [Mood.BROKEN, Mood.REFUSING, Mood.SILENT])
def test_a_mail_server_that_fails_gets_the_alert_once_when_it_is_well(
    ledger: Ledger, stack: Settings, mail: Receiver, kept: Kept, mood: Mood
) -> None:
    mail.mood = mood
    settings = by_mail(stack, mail, alert_timeout_seconds=0.5)
    fired(ledger, settings)
    assert kept.counted == [("alert.undelivered", {"channel": "email"})]
    mail.mood = Mood.WELL
    assert again(ledger, stack, settings) == 1
    assert len(mail.bodies) == 1


def test_a_mail_server_that_takes_the_alert_and_says_no_farewell_has_taken_it(
    ledger: Ledger, stack: Settings, mail: Receiver, kept: Kept
) -> None:
    mail.mood = Mood.CURT
    settings = by_mail(stack, mail)
    fired(ledger, settings)
    assert again(ledger, stack, settings) == 0
    assert (len(mail.bodies), kept.counted) == (1, [])


def test_a_connection_that_is_made_after_its_time_is_cut_off_too() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    nothing_yet = iter([None, None])
    answers = []
    with ours, theirs, pytest.raises(TimeoutError), _cut_off(lambda: next(nothing_yet, ours), after_seconds=0.01):
        answers.append(ours.recv(1))
    assert answers == [b""]


def test_a_receiver_that_is_not_there_is_given_up_after_so_many_attempts(
    ledger: Ledger, stack: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}/"
    settings = alert_settings(stack, alert_channels="webhook", alert_webhook_url=address, alert_attempts=3)
    alert_id = fired(ledger, settings)
    for _ in range(4):
        assert again(ledger, stack, settings) == 0
    ((line,),) = ledger.alerting.undelivered([alert_id]).values()
    assert line == "fired webhook, 3 attempts: the webhook on 127.0.0.1 does not answer (ConnectionRefusedError)"
    assert "is given up" in caplog.text


def test_one_channel_that_is_down_is_asked_once_a_call_however_many_alerts_wait(
    ledger: Ledger, stack: Settings, hook: Receiver
) -> None:
    hook.mood = Mood.BROKEN
    settings = by_webhook(stack, hook)
    for number in range(5):
        delivery.fire(breach(f"r{number}"), alerting=ledger.alerting, settings=settings)
    assert delivery.deliver(alerting=ledger.alerting, settings=settings) == 5, "the log tells of all"
    assert hook.asked == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [({"alert_channels": "webhook"}, "set alert_webhook_url"), ({"alert_channels": "email"}, "smtp_host")],
)
def test_a_channel_without_its_settings_says_which_and_fails_nobody(
    ledger: Ledger, stack: Settings, given: dict[str, str], said: str
) -> None:
    alert_id = fired(ledger, alert_settings(stack, **given))
    ((line,),) = ledger.alerting.undelivered([alert_id]).values()
    assert said in line


def test_the_waits_between_attempts_double_up_to_the_limit() -> None:
    settings = Settings(alert_retry_seconds=5, alert_retry_max_seconds=60)
    assert [delivery.retry_seconds(attempts, settings) for attempts in (1, 2, 3, 4, 5, 99)] == [5, 10, 20, 40, 60, 60]
