"""Structured logs: JSON lines for programs, aligned and coloured lines on a terminal, always on standard error.

Document text and secrets are kept out at the place where they would leave: keys that name them are masked, passwords in
URLs are cut, values are bounded, and control characters cannot reach a terminal. Under Airflow nothing is configured
here: its own handlers take what `structlog.get_logger` and `logging` give.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

MAX_VALUE_CHARACTERS = 500
MASK = "********"

# Parts of keys, compared word by word: `qdrant_api_key` and `chunk_text` are masked, `text_digest` and `texts` are not.
_SECRET = re.compile(r"(?:^|_)(?:password|secret|token|api_key|authorization|credentials?)$")
_TEXT = re.compile(r"(?:^|_)(?:text|body|content|markdown|snippet|query|vector|vectors)$")
_URL_PASSWORD = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@]{0,200}):[^\s/@]{1,500}@", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff]")


def configure_logs(*, level: str, as_json: bool | None = None, stream: TextIO | None = None) -> None:
    """Configure structlog and `logging` alike, once, at a program's entry. `as_json` None: unless `stream` is a
    terminal."""
    stream = stream or sys.stderr
    is_json = not stream.isatty() if as_json is None else as_json
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if is_json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    finish: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if is_json:
        finish.append(structlog.processors.format_exc_info)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()], processors=[*finish, guard, renderer]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def guard(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last processor before rendering: mask, cut and bound every value. A line's `event` is a sentence of ours."""
    for key in list(event):
        event[key] = _guarded(key, event[key])
    return event


def _guarded(key: str, value: Any) -> Any:
    if key == "exc_info":
        return value  # on a terminal the renderer formats it, and only there
    name = key.lower()
    if _SECRET.search(name) or _TEXT.search(name):
        return MASK if value else value
    if isinstance(value, Mapping):
        return {str(inner): _guarded(str(inner), one) for inner, one in list(value.items())[:100]}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_guarded("", one) for one in list(value)[:100]]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _bounded(str(value), limit=20_000 if key == "exception" else MAX_VALUE_CHARACTERS)


def _bounded(text: str, *, limit: int) -> str:
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", _URL_PASSWORD.sub(rf"\1:{MASK}@", text))
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
