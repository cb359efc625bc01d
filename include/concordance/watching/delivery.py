"""From a breach to the last word that is told of it, over the ledger's outbox.

Whoever raises an alert delivers it at once; what a crash or a channel that is down left undelivered, the watch
delivers. A channel that fails is counted and tried again, a bounded number of times; it fails
nobody's work.
"""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID, uuid4

from concordance import fault_points
from concordance.errors import ConcordanceError
from concordance.ledger.alerting import Alerting, Delivery
from concordance.operations import telemetry
from concordance.operations.alerts import Breach
from concordance.operations.channels import Notice, channel_names, notice_of, send
from concordance.settings import Settings

_log = logging.getLogger(__name__)

# Of one call: what is left is delivered by the next round.
_MOST_AT_ONCE = 100


def fire(
    breach: Breach,
    *,
    alerting: Alerting,
    settings: Settings,
    looked_at: datetime | None = None,
    alert_id: UUID | None = None,
) -> UUID | None:
    """Enter the alert of this breach, under this id if one is given; its id, or None if an alert is open for it already
    (or was, and recovered, after `looked_at`). What it owes is sent by `deliver`."""
    alert_id = alert_id or uuid4()
    with fault_points.around("alert.fire"):
        is_new = alerting.fire(breach, alert_id=alert_id, channels=channel_names(settings), looked_at=looked_at)
    return alert_id if is_new else None


def recover(alert_id: UUID, *, ended: str, alerting: Alerting, settings: Settings) -> bool:
    """The alert is over, for this reason; whether it was open. What it owes is sent by `deliver`."""
    with fault_points.around("alert.recover"):
        return alerting.recover(alert_id, ended=ended, channels=channel_names(settings))


def deliver(*, alerting: Alerting, settings: Settings, alert_id: UUID | None = None) -> int:
    """Deliver what is due, of this alert or of all; returns how many went out. A channel that fails is left alone for
    the rest of the call, so that the others need not wait for its timeouts."""
    down: set[str] = set()
    sent = 0
    for _ in range(_MOST_AT_ONCE):
        with fault_points.around("alert.claim"):
            delivery = alerting.claim(attempts=settings.alert_attempts, alert_id=alert_id, without=down)
        if delivery is None:
            break
        with fault_points.around("alert.send"):
            why = attempt(notice_of(delivery.alert, delivery.happening, settings), delivery.channel, settings)
        with fault_points.around("alert.mark"):
            if why is None:
                alerting.delivered(delivery)
                sent += 1
            else:
                alerting.failed(delivery, why=why, retry_seconds=retry_seconds(delivery.attempts, settings))
                down.add(delivery.channel)
                _tell_of_the_last(delivery, settings)
    return sent


def attempt(notice: Notice, channel: str, settings: Settings) -> str | None:
    """Send a notice by a channel; None, or why it could not be sent. Never raises; a failure is counted."""
    try:
        send(notice, channel, settings)
    except Exception as error:
        # Whatever a channel does, an alert of a task must not fail the task. An error that is not one of ours may hold
        # anything: its class says enough.
        why = str(error) if isinstance(error, ConcordanceError) else f"a defect ({type(error).__name__})"
        _log.warning("the channel %s does not take alert %s: %s", channel, notice.alert.alert_id, why)
        telemetry.count("alert.undelivered", channel=channel)
        return why
    return None


def retry_seconds(attempts: int, settings: Settings) -> float:
    """The wait after so many attempts have failed: each twice the one before, up to the settings' limit."""
    return float(min(settings.alert_retry_max_seconds, settings.alert_retry_seconds * 2 ** min(attempts - 1, 30)))


def _tell_of_the_last(delivery: Delivery, settings: Settings) -> None:
    if delivery.attempts >= settings.alert_attempts:
        _log.error(
            "alert %s was not delivered by %s in %s attempts and is given up: `python -m concordance alerts` shows why",
            delivery.alert.alert_id,
            delivery.channel,
            delivery.attempts,
        )
