"""Parses documents in confined child processes.

    with Parser(settings) as parser:
        parsed = parser.parse(raw)

Several threads may parse at once: each call has a child to itself, one that is free or, up to `parser_processes`, a new
one. One child serves many documents. A document that kills or hangs it is refused with its reason and the next one gets
a new child. A death, or an answer that is none, is blamed on a document only when the child had read no other before:
what an earlier one left behind must not condemn it, so it is tried once more in a fresh child.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import LifoQueue
from types import TracebackType
from typing import Any, Self

import structlog

from concordance.errors import PoisonDocument
from concordance.model import ParsedDocument, RawDocument, Reason
from concordance.operations import correlation
from concordance.parsing.confinement import ChildEnded, ConfinedChild
from concordance.parsing.inline import MAX_TARGET_CHARACTERS, MAX_TARGETS
from concordance.parsing.limits import Limits
from concordance.parsing.markdown import MAX_TITLE_CHARACTERS
from concordance.parsing.restrictions import Restriction
from concordance.settings import Settings

log = structlog.get_logger(__name__)

_ADVICE = {
    Reason.UNKNOWN_FORMAT: "convert it to a known format, or leave it out by the source's glob",
    Reason.PARSER_KILLED: "split it, or raise parser_memory_bytes",
    Reason.PARSER_TIMEOUT: "split it, or raise parser_timeout_seconds and parser_cpu_seconds",
    Reason.TOO_LARGE: "split it, or raise max_text_bytes, max_expanded_bytes or max_pages",
}


class Parser:
    """`command` replaces the children's program; see `ConfinedChild`."""

    def __init__(self, settings: Settings, *, command: Sequence[str] | None = None) -> None:
        self._max_document_bytes = settings.max_document_bytes
        self._limits = {name: getattr(settings, name) for name in Limits._fields}
        self._recycle_bytes = settings.parser_memory_bytes // 2
        self._children = [ConfinedChild(settings, command=command) for _ in range(settings.parser_processes)]
        # The last one that was used is the next: a caller that parses one after another has one child.
        self._free: LifoQueue[ConfinedChild] = LifoQueue()
        for child in reversed(self._children):
            self._free.put(child)

    def __enter__(self) -> Self:
        self._children[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the children; nobody may parse meanwhile. A later document starts a new one."""
        for child in self._children:
            child.stop()

    @property
    def restrictions(self) -> tuple[Restriction, ...]:
        """What confines a child on this machine, and what cannot, once the first was started."""
        return self._children[0].restrictions

    @property
    def child_pids(self) -> tuple[int, ...]:
        """The process ids of the children that run."""
        return tuple(child.pid for child in self._children if child.pid is not None)

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """The document as Markdown. Raises `PoisonDocument` with a `Reason`; the parser can be used on."""
        if not raw.content:
            raise PoisonDocument(f"document {raw.uri} is empty", reason=Reason.EMPTY)
        if len(raw.content) > self._max_document_bytes:
            raise PoisonDocument(
                f"document {raw.uri} has {len(raw.content)} bytes, allowed are {self._max_document_bytes}: split it, "
                "or raise max_document_bytes",
                reason=Reason.TOO_LARGE,
            )
        with self._a_free_child() as child:
            header, body = self._ask(child, raw)
            if "reason" in header:
                raise _poison(raw.uri, str(header["reason"]), str(header.get("detail", "")))
            parsed = _checked(header, body, title=raw.title)
            if parsed is None:
                child.stop()
                raise _poison(raw.uri, Reason.PARSER_FAILED, "its parser answered with something that is no answer")
            return parsed

    @contextmanager
    def _a_free_child(self) -> Iterator[ConfinedChild]:
        child = self._free.get()
        try:
            yield child
        finally:
            self._free.put(child)

    def _ask(self, child: ConfinedChild, raw: RawDocument) -> tuple[dict[str, Any], bytes]:
        if child.resident_bytes > self._recycle_bytes:
            child.stop()
        request = {
            "media_type": raw.media_type,
            "name": raw.uri[-255:],
            "limits": self._limits,
            "correlation_id": correlation.current_id(),
        }
        while True:
            served = child.served
            try:
                header, body = child.ask(request, raw.content)
                _tell(header, child=child.pid, size_bytes=len(raw.content))
                return header, body
            except ChildEnded as ended:
                log.warning("the parser's process ended", reason=str(ended.reason), size_bytes=len(raw.content))
                if served and ended.reason != Reason.PARSER_TIMEOUT:
                    continue
                raise _poison(raw.uri, ended.reason, ended.detail) from None


def _tell(header: dict[str, Any], *, child: int | None, size_bytes: int) -> None:
    """Write the child's line, as far as it is one: what it says is numbers, and the id that it was given."""
    line = header.get("line")
    if isinstance(line, dict) and line.get("correlation_id") == correlation.current_id():
        numbers = {name: line.get(name) for name in ("seconds", "cpu_seconds")}
        if all(isinstance(number, (int, float)) for number in numbers.values()):
            log.debug("the parser's process read a document", child=child, size_bytes=size_bytes, **numbers)


def _checked(header: dict[str, Any], body: bytes, *, title: str | None) -> ParsedDocument | None:
    """The answer as a document, None when a sound child could not have given it."""
    found, targets = header.get("title"), header.get("targets")
    sound = (found is None or (isinstance(found, str) and len(found) <= MAX_TITLE_CHARACTERS)) and (
        isinstance(targets, list)
        and len(targets) <= MAX_TARGETS
        and all(isinstance(target, str) and len(target) <= MAX_TARGET_CHARACTERS for target in targets)
    )
    try:
        markdown = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not sound or not markdown or "\x00" in markdown:
        return None
    return ParsedDocument(markdown=markdown, title=title or found, targets=tuple(targets or ()))


def _poison(uri: str, reason: str, detail: str) -> PoisonDocument:
    known = Reason(reason) if reason in set(Reason) else Reason.PARSER_FAILED
    advice = _ADVICE.get(known)
    return PoisonDocument(
        f"document {uri} cannot be parsed: {detail[:200]}" + (f". {advice.capitalize()}" if advice else ""),
        reason=known,
    )
