"""Breaches, alerts, and what is told when they are compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance.operations.alerts import Alert, AlertKind, Breach, Happening, changes, headline

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def breach(kind: AlertKind = AlertKind.RUN_LATE, **subject: str) -> Breach:
    return Breach(kind, subject, expected="done in 5 s", actual="running for 9 s", since=NOW)


breaches = st.builds(
    lambda kind, run: breach(kind, run=run), st.sampled_from(AlertKind), st.sampled_from(["a", "b", "c"])
)


@given(st.lists(breaches), st.lists(breaches, unique_by=lambda each: each.key), st.sets(st.sampled_from(AlertKind)))
def test_what_holds_is_open_afterwards_and_only_what_somebody_decided_about_recovers(
    holding: list[Breach], opened: list[Breach], decided: set[AlertKind]
) -> None:
    before = [Alert(uuid4(), each, NOW) for each in opened]
    changed = changes(holding, still_open=before, decided=decided)
    ids = {alert.alert_id for alert in changed.recovered}
    after = {each.key for each in changed.fired} | {each.breach.key for each in before if each.alert_id not in ids}
    undecided = {each.key for each in opened if each.kind not in decided}
    assert after == {each.key for each in holding} | undecided
    assert len({each.key for each in changed.fired}) == len(changed.fired)
    again = [
        *(each for each in before if each.alert_id not in ids),
        *(Alert(uuid4(), one, NOW) for one in changed.fired),
    ]
    repeated = changes(holding, still_open=again, decided=decided)
    assert (repeated.fired, repeated.recovered) == ((), ())


def test_an_alert_is_known_by_kind_and_subject_in_whatever_order_and_not_by_what_was_seen() -> None:
    one, other = breach(dag="d", run="r"), breach(run="r", dag="d")
    assert one.key == other.key == "run_late dag=d run=r"
    later = Breach(AlertKind.RUN_LATE, {"dag": "d", "run": "r"}, "x", "y", NOW + timedelta(hours=1), "z")
    assert later.key == one.key
    assert breach(AlertKind.RUN_FAILED, dag="d", run="r").key != one.key


def test_a_subject_is_of_the_closed_list_and_a_time_has_a_zone() -> None:
    with pytest.raises(ValueError, match="not about uri"):
        breach(uri="secret.md")
    with pytest.raises(ValueError, match="time zone"):
        Breach(AlertKind.RUN_LATE, {}, "x", "y", NOW.replace(tzinfo=None))


def test_one_line_says_what_is_wrong_and_another_that_it_is_over() -> None:
    alert = Alert(UUID(int=1), breach(source="notes", dag="d", run="r"), NOW)
    assert headline(alert, Happening.FIRED) == (
        "run_late: dag d, run r, source notes: expected done in 5 s, but running for 9 s"
    )
    over = Alert(UUID(int=1), breach(run="r"), NOW, NOW, "the run is done")
    assert headline(over, Happening.RECOVERED) == "run_late is over: run r: the run is done"
