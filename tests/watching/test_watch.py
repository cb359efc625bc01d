"""The watch: rounds over watchers that see, cannot tell, fail or hang; a ledger that is away; an end at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest

from concordance.errors import Misconfigured, Unavailable
from concordance.ledger import Ledger, open_ledger
from concordance.ledger.alerting import Opened
from concordance.operations.alerts import AlertKind
from concordance.settings import Settings
from concordance.watching import watch as watching
from concordance.watching.book import Book
from concordance.watching.watch import Watch
from support.alerting import Kept, Sees, alert_settings, breach
from support.receivers import Receiver
from support.stacks import free_ports
from support.waiting import wait_for


def cannot_tell() -> None:
    raise Unavailable("Airflow does not answer")


def is_defective() -> None:
    raise KeyError("x")


@pytest.fixture
def settings(stack: Settings, hook: Receiver, tmp_path: Path) -> Settings:
    given = {"alert_webhook_url": hook.url, "alert_channels": "webhook", "watch_look_seconds": 5, "state_dir": tmp_path}
    return alert_settings(stack, **given)


def watch_of(ledger: Ledger, settings: Settings, **watchers: Sees) -> Watch:
    return Watch(dict(watchers), Book(ledger.alerting, settings), settings)


def told(hook: Receiver, *expected: str, watch: Watch | None = None) -> None:
    """The webhook was told this of the alerts, in this order, by run. A round that comes while the last delivery is
    still marked begins none: with `watch`, further rounds are made meanwhile."""

    def has_all() -> bool:
        if watch is not None:
            watch.round()
        return len(hook.notices) >= len(expected)

    wait_for(has_all, what=f"{len(expected)} notices")
    assert [f"{each['happening']} {each.get('run', '')}" for each in hook.notices] == list(expected)


def test_a_breach_fires_once_stays_open_while_it_holds_and_recovers_when_it_is_gone(
    ledger: Ledger, settings: Settings, hook: Receiver
) -> None:
    runs = Sees(breaches=[breach("one"), breach("other")])
    watch = watch_of(ledger, settings, runs=runs)
    for _ in range(3):
        watch.round()
    told(hook, "fired one", "fired other")
    runs.breaches = [breach("other")]
    watch.round()
    told(hook, "fired one", "fired other", "recovered one", watch=watch)
    assert [alert.breach.subject["run"] for alert in ledger.alerting.open().alerts] == ["other"]


def test_a_watch_that_is_started_anew_goes_on_where_the_last_one_stopped(
    ledger: Ledger, settings: Settings, hook: Receiver
) -> None:
    watch_of(ledger, settings, runs=Sees(breaches=[breach("one"), breach("other")])).round()
    told(hook, "fired one", "fired other")
    watch_of(ledger, settings, runs=Sees(breaches=[breach("other")])).round()
    told(hook, "fired one", "fired other", "recovered one")


def test_who_cannot_tell_leaves_its_alerts_as_they_are_and_the_others_go_on(
    ledger: Ledger, settings: Settings, hook: Receiver, kept: Kept
) -> None:
    runs = Sees(breaches=[breach("one")])
    stores = Sees(frozenset({AlertKind.STORE_DOWN}))
    watch = watch_of(ledger, settings, runs=runs, stores=stores)
    watch.round()
    runs.looking = cannot_tell
    stores.breaches = [breach("", AlertKind.STORE_DOWN, store="graph")]
    watch.round()
    told(hook, "fired one", "fired ", watch=watch)
    assert len(ledger.alerting.open().alerts) == 2
    assert ("watch.failed", {"watcher": "runs"}) in kept.counted


def test_one_that_fails_by_a_defect_is_counted_logged_and_asked_less_often(
    ledger: Ledger, settings: Settings, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = Sees(looking=is_defective), Sees(frozenset({AlertKind.STORE_DOWN}))
    watch = watch_of(ledger, settings, broken=broken, sound=sound)
    for _ in range(4):
        watch.round()
    assert (broken.looks, sound.looks) == (1, 4)
    assert kept.counted.count(("watch.failed", {"watcher": "broken"})) == 1
    assert "broken failed and looks again in 6 s" in caplog.text


def test_one_that_hangs_keeps_nobody_is_told_of_once_and_is_entered_when_it_comes_back(
    ledger: Ledger, settings: Settings, hook: Receiver, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    hanging = Sees(breaches=[breach("late")], looking=lambda: assert_true(go_on.wait(30)))
    other = Sees(frozenset({AlertKind.STORE_DOWN}), [breach("", AlertKind.STORE_DOWN, store="graph")])
    watch = watch_of(ledger, settings.with_values({"watch_look_seconds": 0.5}), hanging=hanging, other=other)
    watch.round()
    watch.round()
    assert hanging.looks == 1
    assert kept.counted.count(("watch.failed", {"watcher": "hanging"})) == 1
    assert caplog.text.count("hanging cannot tell what is wrong") == 1
    told(hook, "fired ", watch=watch)
    go_on.set()
    wait_for(lambda: watch.round() or len(hook.notices) == 2, what="what was seen late")
    told(hook, "fired ", "fired late")


def assert_true(value: bool) -> None:
    assert value


def test_what_recovered_while_somebody_looked_does_not_fire_again(
    ledger: Ledger, settings: Settings, hook: Receiver
) -> None:
    """The attempt's own process tells its end between the look and its entry."""

    def ends_meanwhile() -> None:
        (alert,) = ledger.alerting.open().alerts
        ledger.alerting.recover(alert.alert_id, ended="the attempt ended", channels=["webhook"])

    runs = Sees(breaches=[breach("one")])
    watch = watch_of(ledger, settings, runs=runs)
    watch.round()
    runs.looking = ends_meanwhile
    watch.round()
    runs.looking, runs.breaches = (lambda: None), []
    watch.round()
    told(hook, "fired one", "recovered one", watch=watch)


def test_an_alert_that_just_fired_elsewhere_is_not_over_by_a_clock_that_is_behind(
    ledger: Ledger, settings: Settings
) -> None:
    from concordance.watching import delivery

    settled = settings.with_values({"alert_settle_seconds": 60})
    delivery.fire(breach("one"), alerting=ledger.alerting, settings=settled)
    watch_of(ledger, settled, runs=Sees()).round()
    assert len(ledger.alerting.open().alerts) == 1
    watch_of(ledger, settings, runs=Sees()).round()
    assert ledger.alerting.open().alerts == ()


def test_alerts_come_through_while_the_ledger_is_away_and_are_entered_when_it_is_back(
    ledger: Ledger, settings: Settings, hook: Receiver
) -> None:
    away = settings.with_values({"ledger_url": f"postgresql://concordance@127.0.0.1:{free_ports(1)[0]}/concordance"})
    absent = open_ledger(watching.quickly(away))
    down = Sees(frozenset({AlertKind.STORE_DOWN}), [breach("", AlertKind.STORE_DOWN, store="ledger")])
    runs = Sees(breaches=[breach("short"), breach("long")])
    book = Book(absent.alerting, settings)
    watch = Watch({"down": down, "runs": runs}, book, settings)
    watch.round()
    wait_for(lambda: len(hook.notices) == 3, what="three notices")
    runs.breaches = [breach("long")]
    wait_for(lambda: watch.round() or len(hook.notices) == 4, what="that one is over")
    absent.close()
    # The ledger is back.
    book._alerting = ledger.alerting
    watch.round()
    down.breaches = []
    wait_for(lambda: watch.round() or len(hook.notices) == 5, what="that the ledger is back")
    said = [(each["happening"], each["kind"], each.get("run")) for each in hook.notices]
    assert sorted(said[:3]) == sorted(
        [("fired", "store_down", ""), *[("fired", "run_late", run) for run in ("long", "short")]]
    )
    assert said[3:] == [("recovered", "run_late", "short"), ("recovered", "store_down", "")]
    assert {each["alert_id"] for each in hook.notices} == {
        str(each.alert_id) for each in ledger.alerting.recent(limit=9)
    }
    assert [alert.breach.subject["run"] for alert in ledger.alerting.open().alerts] == ["long"]


def test_an_alert_that_the_ledger_refuses_keeps_no_other_out_of_it(
    ledger: Ledger, settings: Settings, hook: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Sees(breaches=[breach("x" * 3000), breach("one")])
    watch = watch_of(ledger, settings, runs=runs)
    watch.round()
    watch.round()
    told(hook, "fired one")
    assert [alert.breach.subject["run"] for alert in ledger.alerting.open().alerts] == ["one"]
    assert caplog.text.count("the ledger refuses an alert") == 1


def test_an_alert_that_the_ledger_refuses_when_it_is_back_keeps_no_other_out_of_it(
    ledger: Ledger, settings: Settings
) -> None:
    away = settings.with_values({"ledger_url": f"postgresql://concordance@127.0.0.1:{free_ports(1)[0]}/concordance"})
    absent = open_ledger(watching.quickly(away))
    book = Book(absent.alerting, settings)
    watch = Watch({"runs": Sees(breaches=[breach("x" * 3000), breach("one")])}, book, settings)
    watch.round()
    absent.close()
    book._alerting = ledger.alerting
    watch.round()
    watch.round()
    assert [alert.breach.subject["run"] for alert in ledger.alerting.open().alerts] == ["one"]


class FailingBook(Book):
    """A book with a defect."""

    def read(self, now: datetime) -> Opened:
        raise KeyError("x")


def test_a_round_that_fails_by_a_defect_is_logged_counted_and_no_sign_of_life(
    ledger: Ledger, settings: Settings, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    quick = settings.with_values({"watch_interval_seconds": 0.1})
    watch = Watch({"runs": Sees()}, FailingBook(ledger.alerting, quick), quick)
    thread = threading.Thread(target=watch.run)
    thread.start()
    wait_for(lambda: kept.counted.count(("watch.failed", {"watcher": "round"})) >= 2, what="two rounds that fail")
    watch.stopped.set()
    thread.join(10)
    assert not thread.is_alive()
    assert ("watch.rounds", {}) not in kept.counted
    assert "a round of the watch failed" in caplog.text


def test_a_delivery_that_fails_by_a_defect_is_logged_and_counted(
    ledger: Ledger, settings: Settings, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    book = Book(ledger.alerting, settings)
    book.deliver = is_defective  # type: ignore[method-assign]
    watch = Watch({"runs": Sees()}, book, settings)
    wait_for(
        lambda: watch.round() or ("watch.failed", {"watcher": "delivery"}) in kept.counted,
        what="a delivery that failed",
    )
    assert "alerts could not be delivered" in caplog.text


def test_a_failed_run_that_is_told_of_no_longer_was_not_made_good(ledger: Ledger, settings: Settings) -> None:
    runs = Sees(frozenset({AlertKind.RUN_FAILED}), [breach("one", AlertKind.RUN_FAILED)])
    watch = watch_of(ledger, settings.with_values({"watch_failed_seconds": 60}), runs=runs)
    watch.round()
    runs.breaches = []
    watch.round()
    (alert,) = ledger.alerting.recent(limit=5)
    assert "nothing made it good" in alert.ended


def test_no_two_watchers_decide_about_the_same(settings: Settings) -> None:
    kinds = [kind for watcher in watching.watchers_of(settings).values() for kind in watcher.kinds]
    assert len(kinds) == len(set(kinds))


def test_each_round_is_counted_and_shows_that_the_watch_lives(ledger: Ledger, settings: Settings, kept: Kept) -> None:
    with pytest.raises(Misconfigured, match="has not run here"):
        watching.check(settings)
    watch = watch_of(ledger, settings.with_values({"watch_interval_seconds": 0.1}), runs=Sees())
    thread = threading.Thread(target=watch.run)
    thread.start()
    wait_for(lambda: kept.counted.count(("watch.rounds", {})) >= 3, what="three rounds")
    watch.stopped.set()
    thread.join(10)
    assert not thread.is_alive()
    assert watching.check(settings) < 60
    old = 10_000
    os.utime(watching.beat_file(settings), (old, old))
    with pytest.raises(Misconfigured, match="the last round of the watch ended"):
        watching.check(settings)


def test_the_process_ends_at_once_by_a_signal_whatever_hangs(stack: Settings, tmp_path: Path, ledger: Ledger) -> None:
    """Nobody answers where Airflow should be: a listener that accepts and says nothing."""
    from support.broken_servers import http_that_is_silent, serving

    with serving(http_that_is_silent) as asked:
        given = {
            "STATE_DIR": str(tmp_path),
            "LEDGER_URL": stack.effective_ledger_url,
            "LEDGER_PASSWORD": stack.ledger_password.get_secret_value(),
            "AIRFLOW_URL": f"http://127.0.0.1:{asked.port}",
            "AIRFLOW_TIMEOUT_SECONDS": "60",
            "WATCH_LOOK_SECONDS": "60",
        }
        environment = {**os.environ, **{f"AIRFLOW__CONCORDANCE__{name}": value for name, value in given.items()}}
        process = subprocess.Popen([sys.executable, "-m", "concordance", "watch"], env=environment)
        try:
            wait_for(lambda: asked.attempts, what="the first look")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
