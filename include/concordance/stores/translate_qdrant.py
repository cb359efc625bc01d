"""The vector client's errors in our words.

The server's messages may quote payloads, so ours name its status and nothing of its text. Every exception class of the
client and of its HTTP library stands in `BY_CLASS`; a test enumerates them, so that a new one is decided here, not met
in production.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import httpx
import pydantic
from qdrant_client.common import client_exceptions
from qdrant_client.http import exceptions as rest

from concordance.errors import (
    BatchTooLarge,
    ConcordanceError,
    Misconfigured,
    OutcomeUnknown,
    PoisonDocument,
    Terminal,
    Unavailable,
)
from concordance.model import Reason
from concordance.translation import by_class


class Kind(Enum):
    """What a failed request would have done."""

    READ = "read"
    WRITE = "write"
    SCHEMA = "schema"


@dataclass(frozen=True, slots=True)
class Call:
    """What was going on when the client raised."""

    what: str
    url: str
    collection: str
    kind: Kind


def _unreachable(call: Call, code: str) -> ConcordanceError:
    """The request was not sent."""
    return Unavailable(f"{call.what}: the vector store at {call.url} does not answer ({code}). Is it running?")


def _cut_off(call: Call, code: str) -> ConcordanceError:
    """The request was sent, at least in part, and no answer came."""
    if call.kind is Kind.READ:
        return _unreachable(call, code)
    return OutcomeUnknown(f"{call.what}: no answer from the vector store at {call.url} ({code})")


def _unavailable(call: Call, code: str) -> ConcordanceError:
    return Unavailable(f"{call.what}: the vector store at {call.url} could not do it now ({code})")


def _too_large(call: Call, code: str) -> ConcordanceError:
    return BatchTooLarge(
        f"{call.what}: the request is too large for the vector store at {call.url} ({code}): lower the setting "
        "upsert_bytes or upsert_points"
    )


def _refused_key(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(f"the vector store at {call.url} refuses the key ({code}): check the setting qdrant_api_key")


def _no_collection(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(
        f"{call.what}: the vector store at {call.url} has no collection {call.collection} ({code}): prepare the index "
        "version first, or check the setting qdrant_url"
    )


def _refused(call: Call, code: str) -> ConcordanceError:
    if call.kind is Kind.WRITE:
        return PoisonDocument(
            f"{call.what}: the vector store refuses one of the points ({code})", reason=Reason.STORE_REFUSED
        )
    return Misconfigured(
        f"{call.what}: the vector store at {call.url} does not take our request on {call.collection} ({code}): "
        "Qdrant 1.16 or newer is needed, with the collection as `prepare` makes it"
    )


def _unsupported(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(f"{call.what}: the vector store at {call.url} does not offer this call ({code})")


def _misconfigured(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(f"the vector store at {call.url} cannot be used ({code}): check the setting qdrant_url")


def _misused(call: Call, code: str) -> ConcordanceError:
    return Terminal(f"{call.what}: the vector adapter used its client wrongly ({code}): this is a defect, report it")


Rule = Callable[[Call, str], ConcordanceError]

# By the class of the exception, or of its nearest base that stands here.
BY_CLASS: dict[type[BaseException], Rule] = {
    rest.ApiException: _cut_off,
    rest.UnexpectedResponse: _cut_off,
    rest.ResponseHandlingException: _cut_off,
    client_exceptions.QdrantException: _cut_off,
    client_exceptions.ResourceExhaustedResponse: _unavailable,
    httpx.HTTPError: _cut_off,
    httpx.RequestError: _cut_off,
    httpx.TransportError: _cut_off,
    httpx.TimeoutException: _cut_off,
    httpx.ConnectTimeout: _unreachable,
    httpx.PoolTimeout: _unreachable,
    httpx.ReadTimeout: _cut_off,
    httpx.WriteTimeout: _cut_off,
    httpx.NetworkError: _cut_off,
    httpx.ConnectError: _unreachable,
    httpx.ReadError: _cut_off,
    httpx.WriteError: _cut_off,
    httpx.CloseError: _cut_off,
    httpx.ProtocolError: _cut_off,
    httpx.LocalProtocolError: _misused,
    httpx.RemoteProtocolError: _cut_off,
    httpx.ProxyError: _unreachable,
    httpx.UnsupportedProtocol: _misconfigured,
    httpx.InvalidURL: _misconfigured,
    httpx.DecodingError: _cut_off,
    httpx.TooManyRedirects: _misconfigured,
    httpx.HTTPStatusError: _cut_off,
    httpx.CookieConflict: _misused,
    httpx.StreamError: _misused,
    httpx.StreamClosed: _misused,
    httpx.StreamConsumed: _misused,
    httpx.RequestNotRead: _misused,
    httpx.ResponseNotRead: _misused,
    # An answer that is not what the interface says: something else listens there, or a proxy spoke.
    pydantic.ValidationError: _cut_off,
    OSError: _cut_off,
    # The encoder refuses a value.
    ValueError: _refused,
    TypeError: _refused,
}

BY_STATUS: dict[int, Rule] = {
    400: _refused,
    401: _refused_key,
    403: _refused_key,
    404: _no_collection,
    405: _unsupported,
    408: _cut_off,
    409: _refused,
    413: _too_large,
    422: _refused,
    429: _unavailable,
    501: _unsupported,
    507: _unavailable,
}


def translate(error: BaseException, call: Call) -> ConcordanceError:
    """Our error for one of the client's. An error that stands nowhere is returned as a defect."""
    if isinstance(error, rest.ResponseHandlingException):
        error = error.source
    if isinstance(error, rest.UnexpectedResponse) and error.status_code is not None:
        return _by_status(error.status_code)(call, f"HTTP {error.status_code}")
    return by_class(error, BY_CLASS, otherwise=_misused)(call, type(error).__name__)


def _by_status(status: int) -> Rule:
    if status in BY_STATUS:
        return BY_STATUS[status]
    # A server that failed may have applied the request first.
    return _cut_off if status >= 500 else _misconfigured
