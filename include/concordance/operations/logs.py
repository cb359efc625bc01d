"""Structured logs: JSON lines for programs, aligned and coloured lines on a terminal, always on standard error.

Document text and secrets are kept out at the place where they would leave: keys that name them are masked, passwords in
URLs are cut, values are bounded, messages of foreign errors are left out, and control characters cannot reach a
terminal. A library that tells at DEBUG what it sends is never asked to. Under Airflow its own handlers stay; `protect`
puts the same checks before what they write.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import structlog

from concordance.operations import tracebacks
from concordance.settings import Settings
from concordance.settings.explaining import MASK, without_url_passwords
from concordance.settings.operations import levels_of

MAX_VALUE_CHARACTERS = 500
# What the product says at DEBUG is its own; at DEBUG others tell what they send, texts and keys included.
_LEAST_OF_OTHERS = logging.INFO

# Parts of keys, compared word by word: `qdrant_api_key` and `chunk_text` are masked, `text_digest` and `texts` are not.
_SECRET = re.compile(r"(?:^|_)(?:password|secret|token|api_key|authorization|credentials?)$")
_TEXT = re.compile(r"(?:^|_)(?:text|body|content|markdown|snippet|query|vector|vectors)$")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file that the lines go to as well, as JSON. At `max_bytes` it is put aside and begun anew; `backups` older ones
    stay. Several processes may write it: a line is never lost, but one may stand in the file that was put aside."""

    path: Path
    max_bytes: int
    backups: int


def configure_from(settings: Settings, *, level: str | None = None) -> None:
    """Configure a program's logs as the settings say, with another level if one is given."""
    file = None
    if settings.log_file:
        file = LogFile(Path(settings.log_file), settings.log_file_bytes, settings.log_file_backups)
    configure_logs(level=level or settings.log_level, file=file, levels=levels_of(settings.log_levels))


def configure_logs(
    *,
    level: str,
    as_json: bool | None = None,
    stream: TextIO | None = None,
    file: LogFile | None = None,
    levels: Mapping[str, str] | None = None,
) -> None:
    """Configure structlog and `logging` alike, once, at a program's entry. `as_json` None: unless `stream` is a
    terminal. `levels` are those of other libraries by logger; DEBUG is never asked of them."""
    stream = stream or sys.stderr
    is_json = not stream.isatty() if as_json is None else as_json
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handlers: list[logging.Handler] = [logging.StreamHandler(stream)]
    handlers[0].setFormatter(_formatter(shared, is_json=is_json, has_colours=stream.isatty()))
    if file is not None:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(file.path, maxBytes=file.max_bytes, backupCount=file.backups, encoding="utf-8")
        )
        handlers[1].setFormatter(_formatter(shared, is_json=True))
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, RotatingFileHandler):
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(max(logging.getLevelName(level), _LEAST_OF_OTHERS))
    logging.getLogger("concordance").setLevel(level)
    quieten(levels or {})
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _formatter(
    shared: list[structlog.typing.Processor], *, is_json: bool, has_colours: bool = False
) -> structlog.stdlib.ProcessorFormatter:
    finish: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if is_json:
        finish += [tell_exception, guard, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        finish += [guard, structlog.dev.ConsoleRenderer(colors=has_colours, exception_formatter=_write_exception)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()], processors=finish
    )


def quieten(levels: Mapping[str, str]) -> None:
    """Set the levels of other libraries' loggers, INFO at least."""
    for name, level in levels.items():
        logging.getLogger(name).setLevel(max(logging.getLevelName(level), _LEAST_OF_OTHERS))


def protect(levels: Mapping[str, str]) -> None:
    """Put the checks before what this process is configured to write, as JSON, by somebody else: the handlers stay, and
    a repeated call changes nothing."""
    chains = [structlog.get_config()["processors"]]
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            before = handler.formatter.foreign_pre_chain
            if isinstance(before, list) and tell_exception not in before:
                # Before the one that would write the error as it is.
                before.insert(0, tell_exception)
            chains.append(handler.formatter.processors)
    for chain in chains:
        if isinstance(chain, list) and guard not in chain:
            chain.insert(0, tell_exception)
            chain.insert(len(chain) - 1, guard)
    quieten(levels)


def tell_exception(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor: the error of a line becomes `exception`, without what may quote a document."""
    error = _error_of(event.pop("exc_info", None))
    if error is not None:
        event["exception"] = tracebacks.structured(error)
    return event


def _error_of(given: Any) -> BaseException | None:
    """The error that a caller meant: itself, as `sys.exc_info` gives it, or by a mere yes."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if len(given) > 1 and isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None


def _write_exception(stream: TextIO, exc_info: Any) -> None:
    error = _error_of(exc_info)
    if error is not None:
        stream.write(f"\n{_bounded(tracebacks.as_text(error), limit=20_000)}")


def guard(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last processor before rendering: mask, cut and bound every value. A line's `event` is a sentence of ours."""
    for key in list(event):
        event[key] = _guarded(key, event[key])
    return event


def _guarded(key: str, value: Any) -> Any:
    if key == "exc_info":
        return value  # on a terminal the renderer writes it, by `_write_exception`
    name = key.lower()
    if _SECRET.search(name) or _TEXT.search(name):
        return MASK if value else value
    if isinstance(value, Mapping):
        return {str(inner): _guarded(str(inner), one) for inner, one in list(value.items())[:100]}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_guarded("", one) for one in list(value)[:100]]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _bounded(str(value), limit=MAX_VALUE_CHARACTERS)


def _bounded(text: str, *, limit: int) -> str:
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", without_url_passwords(text))
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
