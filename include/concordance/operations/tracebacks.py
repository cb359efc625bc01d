"""Errors as lines may hold them: where they came from, and what they say if it cannot quote a document or a secret.

The product's own errors never do. One of another library may hold anything (a row that was sent, a line of a file): its
class and its place say enough to find it, its message stays here. No local variable is ever shown.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

from concordance.errors import ConcordanceError

LEFT_OUT = "(left out: it may quote a document)"
_MAX_CHAIN = 20
_MAX_FRAMES = 60
# Their messages name files, modules and attributes.
_TELLING = (OSError, ImportError, NameError, AttributeError, ArithmeticError, MemoryError, RecursionError)
_OF_OURS = ("concordance", "airflow")


def message_of(error: BaseException) -> str:
    """What the error says, or that it is left out."""
    kind = type(error)
    if isinstance(error, ConcordanceError) or kind.__module__.partition(".")[0] in _OF_OURS:
        return str(error)
    if kind.__module__ == "builtins" and (isinstance(error, _TELLING) or not isinstance(error, Exception)):
        return str(error)
    return LEFT_OUT if str(error) else ""


def told(error: BaseException) -> dict[str, str]:
    """The fields of a line about an error: its class, its reason code if it has one, and what it says."""
    reason = getattr(error, "reason", None)
    named = {"error": type(error).__name__, "says": message_of(error)}
    return {**named, "reason": str(reason)} if isinstance(error, ConcordanceError) and reason else named


def structured(error: BaseException) -> list[dict[str, Any]]:
    """The error and those that it came of, the last one first, as Airflow's pages show them."""
    found: list[dict[str, Any]] = []
    following: BaseException | None = error
    is_cause = False
    while following is not None and len(found) < _MAX_CHAIN:
        inner = following.exceptions if isinstance(following, BaseExceptionGroup) else ()
        found.append(
            {
                "exc_type": type(following).__name__,
                "exc_value": message_of(following),
                "exc_notes": [],
                "syntax_error": None,
                "is_cause": is_cause,
                "frames": _frames(following.__traceback__),
                "is_group": bool(inner),
                "exceptions": [structured(each) for each in inner[:_MAX_CHAIN]],
            }
        )
        is_cause = following.__cause__ is not None
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return found


def as_text(error: BaseException) -> str:
    """The same as lines for people, the error itself last."""
    lines: list[str] = []
    for each in reversed(structured(error)):
        lines.append("Traceback (most recent call last):")
        lines += [f'  File "{one["filename"]}", line {one["lineno"]}, in {one["name"]}' for one in each["frames"]]
        lines.append(f"{each['exc_type']}: {each['exc_value']}")
        lines += [f"  with {one[0]['exc_type']}: {one[0]['exc_value']}" for one in each["exceptions"]]
    return "\n".join(lines)


def _frames(place: TracebackType | None) -> list[dict[str, Any]]:
    found = [
        {"filename": frame.f_code.co_filename, "lineno": line, "name": frame.f_code.co_name}
        for frame, line in traceback.walk_tb(place)
    ]
    return found[-_MAX_FRAMES:]
