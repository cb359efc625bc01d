"""Where alerts go: a log line, StatsD, a webhook, an e-mail, as `alert_channels` names them.

A channel sends one notice or raises `Unavailable` (it may pass later) or `Misconfigured` (a person must correct a
setting), within `alert_timeout_seconds` in all, whatever the other side does. Whoever calls counts and repeats. A
notice may come twice after a crash; its `alert_id` and `happening` tell a receiver that it is the same.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Protocol
from urllib.parse import urlsplit

from concordance.errors import Misconfigured, Unavailable
from concordance.operations import telemetry
from concordance.operations.alerts import Alert, Happening, headline
from concordance.settings import Settings

_log = logging.getLogger(__name__)

SIGNATURE_HEADER = "X-Concordance-Signature"
_MAX_SUBJECT_CHARACTERS = 200
_CUT_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told: an alert, and whether it fired or is over."""

    alert: Alert
    happening: Happening
    runbook: str

    @property
    def line(self) -> str:
        return headline(self.alert, self.happening)

    def as_json(self) -> dict[str, Any]:
        return {
            "happening": str(self.happening),
            "headline": self.line,
            **self.alert.as_json(),
            "runbook": self.runbook,
        }


def notice_of(alert: Alert, happening: Happening, settings: Settings) -> Notice:
    """The notice with its section of the runbook."""
    return Notice(alert, happening, f"{settings.runbook_url}#{alert.breach.kind}")


class Channel(Protocol):
    """Sends a notice, or raises `Unavailable` or `Misconfigured`."""

    def send(self, notice: Notice) -> None: ...


class LogChannel:
    """An error's line in the log of the process that delivers; information when it is over."""

    def send(self, notice: Notice) -> None:
        level = logging.ERROR if notice.happening is Happening.FIRED else logging.INFO
        said = notice.as_json()
        _log.log(level, "alert %s: %s (%s)", said["alert_id"], notice.line, notice.runbook)


class StatsdChannel:
    """The counters `alert.fired` and `alert.recovered`."""

    def send(self, notice: Notice) -> None:
        name = "alert.fired" if notice.happening is Happening.FIRED else "alert.recovered"
        telemetry.count(name, kind=str(notice.alert.breach.kind))


class WebhookChannel:
    """A JSON object by POST; with a secret, its HMAC-SHA256 in a header, as `sha256=<hexadecimal>`."""

    def __init__(self, settings: Settings) -> None:
        self._url = urlsplit(settings.alert_webhook_url.get_secret_value())
        self._key = settings.alert_webhook_secret.get_secret_value().encode()
        self._seconds = settings.alert_timeout_seconds
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise Misconfigured("alert_channels has webhook: set alert_webhook_url to an address, http(s)://host/path")

    def send(self, notice: Notice) -> None:
        body = json.dumps(notice.as_json()).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "concordance"}
        if self._key:
            headers[SIGNATURE_HEADER] = f"sha256={hmac.new(self._key, body, hashlib.sha256).hexdigest()}"
        path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        connection = self._connection()
        try:
            with _cut_off(lambda: connection.sock, after_seconds=self._seconds):
                connection.request("POST", path, body, headers)
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the webhook on {self._url.hostname} does not answer ({type(error).__name__})") from None
        finally:
            connection.close()
        if status >= 500 or status in (408, 429):
            raise Unavailable(f"the webhook on {self._url.hostname} answers {status}")
        if status >= 300:
            raise Misconfigured(
                f"the webhook on {self._url.hostname} refuses the alert with {status}: correct alert_webhook_url"
            )

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._seconds, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=self._seconds)


class EmailChannel:
    """A message in plain text by SMTP. Its id is the same however often it is sent."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._to = [part.strip() for part in settings.alert_email_to.split(",") if part.strip()]
        if not self._to or not settings.smtp_host:
            raise Misconfigured("alert_channels has email: set alert_email_to and smtp_host")

    def send(self, notice: Notice) -> None:
        given, is_taken = self._settings, False
        try:
            # Told apart from the rest so that a server which accepts and then says nothing is given up in time too.
            client = smtplib.SMTP(timeout=given.alert_timeout_seconds)
            with _cut_off(lambda: client.sock, after_seconds=given.alert_timeout_seconds):
                try:
                    client.connect(given.smtp_host, given.smtp_port)
                    if given.smtp_starttls:
                        client.starttls(context=ssl.create_default_context())
                    if given.smtp_user:
                        client.login(given.smtp_user, given.smtp_password.get_secret_value())
                    client.send_message(self._message(notice))
                    is_taken = True
                    client.quit()
                finally:
                    client.close()
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPRecipientsRefused, smtplib.SMTPNotSupportedError) as error:
            raise Misconfigured(
                f"the mail server {given.smtp_host} refuses the alert ({type(error).__name__}): correct smtp_user, "
                "smtp_password, smtp_starttls or alert_email_to"
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            # What goes wrong with the farewell is no reason to send it again.
            if is_taken:
                return
            raise Unavailable(
                f"the mail server {given.smtp_host} does not take the alert ({type(error).__name__})"
            ) from None

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = " ".join(f"[concordance] {notice.line}".split())[:_MAX_SUBJECT_CHARACTERS]
        message["From"] = self._settings.alert_email_from
        message["To"] = ", ".join(self._to)
        message["Message-ID"] = f"<{notice.alert.alert_id}.{notice.happening}@concordance>"
        message.set_content("\n".join(f"{name}: {value}" for name, value in notice.as_json().items() if value))
        return message


@contextmanager
def _cut_off(sock: Callable[[], socket.socket | None], *, after_seconds: float) -> Iterator[None]:
    """End the block's connection when its time is over: a timeout of the socket bounds each answer, and a server that
    sends a byte now and then would keep us for ever. Raises `TimeoutError` then."""
    is_over, has_ended = threading.Event(), threading.Event()

    def cut() -> None:
        if has_ended.wait(after_seconds):
            return
        is_over.set()
        # Again and again: the connection may just be made, or change its socket for an encrypted one.
        while not has_ended.wait(_CUT_SECONDS):
            with suppress(OSError):
                if (open_socket := sock()) is not None:
                    open_socket.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=cut, daemon=True).start()
    try:
        yield
    finally:
        has_ended.set()
    if is_over.is_set():
        # What was cut off may look like a short answer.
        raise TimeoutError


_MAKERS: Mapping[str, Callable[[Settings], Channel]] = {
    "log": lambda settings: LogChannel(),
    "statsd": lambda settings: StatsdChannel(),
    "webhook": WebhookChannel,
    "email": EmailChannel,
}


def channel_names(settings: Settings) -> tuple[str, ...]:
    """The channels that the settings name."""
    return tuple(name for name in settings.alert_channels.split(",") if name)


def send(notice: Notice, name: str, settings: Settings) -> None:
    """Send by the channel of this name. Raises `Unavailable` or `Misconfigured`."""
    _MAKERS[name](settings).send(notice)
