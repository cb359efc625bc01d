"""Alerts: fired once while they are open, and the outbox of what is to be told of them.

Each method is one transaction that may be repeated. An alert is open until it recovers; its key is unique among the
open ones, so that of all processes that see the same breach one fires. With the alert are entered the deliveries that
it owes, by channel; whoever claims one sends it and marks it, and one that was claimed by a process that died is due
again when its lease ends. So every alert is told at least once, under the same id.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from concordance.ledger.database import Cursor, Database
from concordance.operations.alerts import MAX_TEXT_CHARACTERS, SUBJECT_KEYS, Alert, AlertKind, Breach, Happening
from concordance.resilience import LostRace

_log = logging.getLogger(__name__)

_COLUMNS = "a.alert_id, a.kind, a.subject, a.expected, a.actual, a.since, a.link, a.fired_at, a.recovered_at, a.ended"
_OPEN = f"SELECT {_COLUMNS} FROM alerts a WHERE recovered_at IS NULL ORDER BY fired_at"  # noqa: S608 - constants
_ONE = f"SELECT {_COLUMNS} FROM alerts a WHERE alert_id = %s"  # noqa: S608 - constants
_RECENT = f"""
SELECT {_COLUMNS} FROM alerts a ORDER BY recovered_at IS NULL DESC, fired_at DESC, alert_id LIMIT %s
"""  # noqa: S608 - constants
# A delivery of a recovery waits until its alert was told, or was given up. What a newer release entered and this one
# cannot read waits for the newer one.
_CLAIM = f"""
WITH due AS (
    SELECT d.alert_id, d.happening, d.channel FROM alert_deliveries d JOIN alerts a USING (alert_id)
    WHERE a.kind = ANY(%(kinds)s::text[]) AND a.subject - %(subject_keys)s::text[] = '{{}}'::jsonb
      AND d.delivered_at IS NULL AND d.attempts < %(attempts)s AND d.not_before <= clock_timestamp()
      AND (%(alert_id)s::uuid IS NULL OR d.alert_id = %(alert_id)s) AND d.channel <> ALL(%(without)s::text[])
      AND (d.happening = 'fired' OR NOT EXISTS (
          SELECT FROM alert_deliveries f
          WHERE f.alert_id = d.alert_id AND f.channel = d.channel AND f.happening = 'fired'
            AND f.delivered_at IS NULL AND f.attempts < %(attempts)s))
    ORDER BY d.not_before FOR UPDATE OF d SKIP LOCKED LIMIT 1),
claimed AS (
    UPDATE alert_deliveries d
    SET attempts = attempts + 1, not_before = clock_timestamp() + make_interval(secs => %(lease)s)
    FROM due WHERE (d.alert_id, d.happening, d.channel) = (due.alert_id, due.happening, due.channel)
    RETURNING d.alert_id, d.happening, d.channel, d.attempts)
SELECT {_COLUMNS}, c.happening, c.channel, c.attempts FROM claimed c JOIN alerts a USING (alert_id)
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Delivery:
    """What its claimer has to send, for the `attempts`-th time, before its lease ends."""

    alert: Alert
    happening: Happening
    channel: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The open alerts, and when they were read by the ledger's clock."""

    read_at: datetime
    alerts: tuple[Alert, ...]


class Alerting:
    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._unread: set[UUID] = set()

    def fire(
        self, breach: Breach, *, alert_id: UUID, channels: Collection[str], looked_at: datetime | None = None
    ) -> bool:
        """Enter the alert with the deliveries that it owes; whether it is new.

        Nothing is entered while an alert of this key is open, or if one has recovered since `looked_at` (the ledger's
        time): what was seen then is over. A repeated call with the same id changes nothing and says True again.
        """

        def work(cursor: Cursor) -> bool:
            cursor.execute(
                "INSERT INTO alerts (alert_id, key, kind, subject, expected, actual, link, since) "
                "SELECT %(alert_id)s::uuid, %(key)s::text, %(kind)s::text, %(subject)s::jsonb, %(expected)s::text, "
                "%(actual)s::text, %(link)s::text, %(since)s::timestamptz WHERE NOT EXISTS "
                "(SELECT FROM alerts WHERE key = %(key)s AND recovered_at >= %(looked_at)s::timestamptz) "
                "ON CONFLICT DO NOTHING",
                {**_values(breach), "alert_id": alert_id, "looked_at": looked_at},
            )
            if cursor.rowcount:
                _owe(cursor, alert_id, Happening.FIRED, channels)
                return True
            cursor.execute(_ONE, [alert_id])
            return cursor.fetchone() is not None

        return self._database.transact("fire an alert", work)

    def recover(self, alert_id: UUID, *, ended: str, channels: Collection[str]) -> bool:
        """The alert is over, for this reason; whether it was open. A repeated call changes nothing."""

        def work(cursor: Cursor) -> bool:
            cursor.execute(
                "UPDATE alerts SET recovered_at = greatest(fired_at, clock_timestamp()), ended = %s "
                "WHERE alert_id = %s AND recovered_at IS NULL",
                [ended[:MAX_TEXT_CHARACTERS], alert_id],
            )
            if cursor.rowcount:
                _owe(cursor, alert_id, Happening.RECOVERED, channels)
                return True
            return False

        return self._database.transact("end an alert", work)

    def adopt(self, alert: Alert, *, channels: Mapping[Happening, Collection[str]], told: Collection[str]) -> None:
        """Enter an alert that fired while the ledger could not be reached, or whose entry was not answered; `told`
        holds `happening channel` of what was told of it. While another one of its key is open it is entered as over,
        and whoever was told of it is told so. A repeated call changes nothing. Raises `Unavailable` if another one of
        its key is entered at the same moment."""

        def work(cursor: Cursor) -> None:
            owed = dict(channels)
            over, ended = alert.recovered_at, alert.ended
            cursor.execute(
                "SELECT alert_id, clock_timestamp() FROM alerts "
                "WHERE key = %s AND recovered_at IS NULL AND alert_id <> %s",
                [alert.breach.key, alert.alert_id],
            )
            if over is None and (same := cursor.fetchone()) is not None:
                over, ended = same[1], f"it is the same as {same[0]}, which stays open"
                who = [name for name in channels[Happening.FIRED] if f"{Happening.FIRED} {name}" in told]
                owed = {Happening.FIRED: who, Happening.RECOVERED: who}
            cursor.execute(
                "INSERT INTO alerts (alert_id, key, kind, subject, expected, actual, link, since, fired_at, "
                "recovered_at, ended) VALUES (%(alert_id)s, %(key)s, %(kind)s, %(subject)s, %(expected)s, %(actual)s, "
                "%(link)s, %(since)s, %(fired_at)s, %(recovered_at)s, %(ended)s) ON CONFLICT DO NOTHING",
                {
                    **_values(alert.breach),
                    "alert_id": alert.alert_id,
                    "fired_at": alert.fired_at,
                    # The clock may have been put back meanwhile.
                    "recovered_at": None if over is None else max(alert.fired_at, over),
                    "ended": ended,
                },
            )
            cursor.execute(
                "UPDATE alerts SET recovered_at = greatest(fired_at, %s), ended = %s "
                "WHERE alert_id = %s AND recovered_at IS NULL AND %s",
                [over, ended, alert.alert_id, over is not None],
            )
            cursor.execute(_ONE, [alert.alert_id])
            if cursor.fetchone() is None:
                raise LostRace("another alert about the same was entered at this moment: the next round sees it")
            for happening, names in owed.items():
                _owe(cursor, alert.alert_id, happening, names)
            cursor.execute(
                "UPDATE alert_deliveries SET delivered_at = clock_timestamp() "
                "WHERE alert_id = %s AND delivered_at IS NULL AND happening || ' ' || channel = ANY(%s)",
                [alert.alert_id, list(told)],
            )

        self._database.transact("enter an alert that fired without the ledger", work)

    def open(self) -> Opened:
        """The alerts that are open now, and the ledger's time."""

        def work(cursor: Cursor) -> Opened:
            cursor.execute("SELECT clock_timestamp()")
            (read_at,) = cursor.fetchone() or (None,)
            cursor.execute(_OPEN)
            return Opened(read_at, tuple(self._alerts(cursor)))

        return self._database.transact("read the open alerts", work)

    def get(self, alert_id: UUID) -> Alert | None:
        """One alert by its id."""

        def work(cursor: Cursor) -> Alert | None:
            cursor.execute(_ONE, [alert_id])
            row = cursor.fetchone()
            return None if row is None else _alert(row)

        return self._database.transact("read an alert", work)

    def recent(self, *, limit: int) -> list[Alert]:
        """The open alerts first, then the last that fired; at most `limit`."""

        def work(cursor: Cursor) -> list[Alert]:
            cursor.execute(_RECENT, [limit])
            return list(self._alerts(cursor))

        return self._database.transact("list alerts", work)

    def undelivered(self, alert_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
        """Of these alerts, what was not told: `happening channel: why the last attempt failed`."""

        def work(cursor: Cursor) -> dict[UUID, list[str]]:
            cursor.execute(
                "SELECT alert_id, happening, channel, attempts, failed FROM alert_deliveries "
                "WHERE delivered_at IS NULL AND alert_id = ANY(%s) ORDER BY alert_id, happening, channel",
                [list(alert_ids)],
            )
            found: dict[UUID, list[str]] = {}
            for alert_id, happening, channel, attempts, failed in cursor:
                found.setdefault(alert_id, []).append(f"{happening} {channel}, {attempts} attempts: {failed}")
            return found

        return self._database.transact("read what was not delivered", work)

    def claim(self, *, attempts: int, alert_id: UUID | None = None, without: Collection[str] = ()) -> Delivery | None:
        """A delivery that is due, of this alert if one is named, by none of the channels `without`; nobody else gets it
        before the lease ends. None if there is none. One that was tried `attempts` times is due no more."""
        values = {
            "attempts": attempts,
            "alert_id": alert_id,
            "without": list(without),
            "kinds": list(AlertKind),
            "subject_keys": list(SUBJECT_KEYS),
            "lease": self._lease_seconds,
        }

        def work(cursor: Cursor) -> Delivery | None:
            cursor.execute(_CLAIM, values)
            row = cursor.fetchone()
            return None if row is None else Delivery(_alert(row[:-3]), Happening(row[-3]), row[-2], row[-1])

        return self._database.transact("claim the delivery of an alert", work)

    def delivered(self, delivery: Delivery) -> None:
        """It was sent."""
        self._mark(delivery, "delivered_at = clock_timestamp(), failed = ''", [])

    def failed(self, delivery: Delivery, *, why: str, retry_seconds: float) -> None:
        """It could not be sent; it is due again after so long."""
        self._mark(
            delivery,
            "failed = %s, not_before = clock_timestamp() + make_interval(secs => %s)",
            [why[:MAX_TEXT_CHARACTERS], retry_seconds],
        )

    def _alerts(self, rows: Iterable[Sequence[Any]]) -> Iterator[Alert]:
        """Those that this release can read; of each other one the log says so once."""
        for row in rows:
            try:
                yield _alert(row)
            except ValueError as error:
                if row[0] not in self._unread:
                    self._unread.add(row[0])
                    _log.warning("alert %s is left to the release that entered it: %s", row[0], error)

    def _mark(self, delivery: Delivery, change: str, values: list[Any]) -> None:
        def work(cursor: Cursor) -> None:
            cursor.execute(
                f"UPDATE alert_deliveries SET {change} "  # noqa: S608 - constants
                "WHERE alert_id = %s AND happening = %s AND channel = %s AND delivered_at IS NULL",
                [*values, delivery.alert.alert_id, delivery.happening, delivery.channel],
            )

        self._database.transact("mark the delivery of an alert", work)


def _owe(cursor: Cursor, alert_id: UUID, happening: Happening, channels: Collection[str]) -> None:
    cursor.execute(
        "INSERT INTO alert_deliveries (alert_id, happening, channel) SELECT %s, %s, unnest(%s::text[]) "
        "ON CONFLICT DO NOTHING",
        [alert_id, happening, list(channels)],
    )


def _values(breach: Breach) -> dict[str, Any]:
    return {
        "key": breach.key,
        "kind": breach.kind,
        "subject": json.dumps(dict(breach.subject)),
        "expected": breach.expected[:MAX_TEXT_CHARACTERS],
        "actual": breach.actual[:MAX_TEXT_CHARACTERS],
        "link": breach.link,
        "since": breach.since,
    }


def _alert(row: Sequence[Any]) -> Alert:
    alert_id, kind, subject, expected, actual, since, link, fired_at, recovered_at, ended = row
    breach = Breach(AlertKind(kind), subject, expected, actual, since, link)
    return Alert(alert_id, breach, fired_at, recovered_at, ended)
