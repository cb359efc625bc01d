"""How a request is refused: Qdrant's status codes and error texts, and the translation of the engine's errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Refused(Exception):
    """A request that is answered with an error: HTTP `status` and the text of Qdrant's error body."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def malformed(message: str) -> Refused:
    """The body is not the JSON that this call takes."""
    return Refused(400, f"Format error in JSON body: {message}")


def invalid(message: str) -> Refused:
    """A value breaks a rule of the interface."""
    return Refused(422, f"Validation error in JSON body: [{message}]")


def wrong_input(message: str) -> Refused:
    """The request does not fit the collection."""
    return Refused(400, f"Wrong input: {message}")


def unsupported(what: str) -> Refused:
    """Qdrant knows this, the gateway does not serve it."""
    return Refused(501, f"Not implemented: this local gateway does not support {what}")


def no_collection(name: str) -> Refused:
    return Refused(404, f"Not found: Collection `{name}` doesn't exist!")


_INPUT_ERRORS = (
    "Vector dimension error",
    "Not existing vector name error",
    "Wrong usage of",
    "Validation failed",
    "Validation error",
    "No range index",
    "No appropriate index",
    "Offset is not supported",
    "Wrong input",
    "Inconsistent storage: payload",
    "Payload type does not match",
    "Missing",
)


def from_engine(error: BaseException) -> Refused:
    """The engine raises bare exceptions: their text decides what the server would have answered."""
    message = str(error)
    if isinstance(error, (TypeError, ValueError, OverflowError)):
        return malformed(message.splitlines()[0] if message else type(error).__name__)
    if message.startswith("No point with id"):
        return Refused(404, f"Not found: {message} found")
    if message.startswith(_INPUT_ERRORS):
        return wrong_input(message)
    if "No space left on device" in message or "os error 28" in message:
        return Refused(507, "No space left in the gateway's data folder: free some space and send the request again")
    return Refused(500, f"Service internal error: {message}")


def of_engine(call: Callable[[], T]) -> T:
    """The value of a call into the engine, whose errors become the server's answers."""
    try:
        return call()
    except Refused:
        raise
    except Exception as error:
        raise from_engine(error) from None
    except BaseException as error:
        # A panic of the engine is no Exception, and its class has no importable name.
        if type(error).__name__ != "PanicException":
            raise
        print(f"the engine panicked: {error}", file=sys.stderr, flush=True)
        raise Refused(500, "Service internal error: the engine panicked, see the gateway's log") from None
