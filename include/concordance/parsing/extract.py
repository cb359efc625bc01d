"""One document's bytes to Markdown: which reader, in which order. Runs in the child process.

Markdown and plain text are read here; reStructuredText becomes HTML by docutils; HTML is cut to its main content; that
and all other formats go through the native parser, by bytes only and with everything off that could read a file, load a
model or ask the network.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, NamedTuple

from concordance.parsing import encoding, html_page, markdown, packed
from concordance.parsing.formats import Format, Route, detect
from concordance.parsing.limits import Limits, Poison

_MAX_SOURCE_FACTOR = 8
_ARCHIVES = frozenset(
    {
        "application/zip",
        "application/x-zip-compressed",
        "application/x-tar",
        "application/gzip",
        "application/x-7z-compressed",
    }
)
# How the native parser's messages start; its errors arrive as RuntimeError whatever they are.
_MESSAGES = (
    ("unsupported format", "unknown_format", "no parser for this format"),
    ("security limit exceeded", "too_large", "it expands beyond the limits"),
    ("limit exceeded", "too_large", "it expands beyond the limits"),
    ("zip bomb", "too_large", "it expands beyond the limits"),
    ("too many pages", "too_large", "more pages than allowed"),
    ("timed out", "parser_timeout", "the parser gave up"),
    ("password", "parser_failed", "it is encrypted"),
    ("encrypted", "parser_failed", "it is encrypted"),
)


class Extracted(NamedTuple):
    markdown: str
    title: str | None
    targets: tuple[str, ...]


def extract(content: bytes, *, media_type: str | None, name: str, limits: Limits) -> Extracted:
    """Markdown, title and link targets of one document. Raises `Poison`."""
    found = detect(content, declared=media_type, name=name)
    if found is None:
        raise Poison("unknown_format", "binary content of no known format")
    if found.is_text and len(content) > _MAX_SOURCE_FACTOR * limits.max_text_bytes:
        raise Poison("too_large", "more text than allowed")
    try:
        extracted = _read(content, found, name, limits)
    except encoding.BadEncoding:
        raise Poison("bad_encoding", "its encoding cannot be told: save it as UTF-8") from None
    # Character references (`&#x202e;`) bring back what was cleaned from the bytes.
    extracted = extracted._replace(markdown=encoding.clean(extracted.markdown))
    if len(extracted.markdown.encode()) > limits.max_text_bytes:
        raise Poison("too_large", "more text than allowed")
    if not any(map(str.isalnum, extracted.markdown)):
        raise Poison("no_text", "it holds no text: a scan or an image needs to be made readable first")
    return extracted


def _read(content: bytes, found: Format, name: str, limits: Limits) -> Extracted:
    if found.route is Route.MARKDOWN:
        return Extracted(*_astuple(markdown.tidy(encoding.decode(content))))
    if found.route is Route.TEXT:
        return Extracted(*_astuple(markdown.from_plain_text(encoding.decode(content))))
    if found.route is Route.RST:
        from concordance.parsing.restructured import to_html

        return _from_html(to_html(encoding.decode(content)), limits, is_page=False)
    if found.route is Route.HTML:
        page = encoding.decode(content, charset=encoding.html_charset(content))
        return _of_page(page, limits)
    if found.is_text:
        content = encoding.decode(content).encode()
    if content.startswith(packed.START):
        packed.check(content, limits)
    return _from_native(content, found.media_type, name, limits)


def _astuple(tidied: markdown.Tidied) -> tuple[str, str | None, tuple[str, ...]]:
    return tidied.markdown, tidied.title, tidied.targets


def _of_page(page: str, limits: Limits) -> Extracted:
    """The page's main content; the whole page when what it marks as content holds no text."""
    title = html_page.page_title(page)
    main = html_page.main_content(page)
    if main is not None:
        extracted = _from_html(main, limits, is_page=True)
        if any(map(str.isalnum, extracted.markdown)):
            return extracted._replace(title=extracted.title or title)
    extracted = _from_html(page, limits, is_page=True)
    return extracted._replace(title=extracted.title or title)


def _from_html(body: str, limits: Limits, *, is_page: bool) -> Extracted:
    """HTML by the native parser; `is_page`: with the site's navigation, which goes."""
    from xberg import ConversionOptions, PreprocessingOptions

    options = ConversionOptions(
        extract_metadata=False, preprocessing=PreprocessingOptions(enabled=is_page, preset="aggressive")
    )
    body = html_page.without_images(body)
    if "<html" not in body[:1000].lower():
        body = f"<html><body>{body}</body></html>"
    document = _native(body.encode(), _configuration(limits, html_options=options), media_type="text/html", name="")
    return Extracted(*_astuple(markdown.tidy(encoding.clean(document.content))))


def _from_native(content: bytes, media_type: str | None, name: str, limits: Limits) -> Extracted:
    document = _native(content, _configuration(limits), media_type=media_type, name=name)
    if document.mime_type in _ARCHIVES:
        raise Poison("unknown_format", "an archive is no document: unpack it")
    tidied = markdown.tidy(encoding.clean(document.content))
    stated = document.metadata.title if document.metadata else None
    title = markdown.shortened(encoding.clean(stated)) if stated else None
    return Extracted(tidied.markdown, tidied.title or title, tidied.targets)


def _native(content: bytes, configuration: Any, *, media_type: str | None, name: str) -> Any:
    """The native parser's result for one document. Raises `Poison`; its own messages quote documents and stay here."""
    import xberg

    given = xberg.ExtractInput(
        kind=xberg.ExtractInputKind.BYTES,
        bytes=content,
        mime_type=media_type,
        # Only the ending helps the parser, and a name from outside has no business in native code.
        filename=_safe_name(name) if media_type is None else None,
    )
    try:
        result = _loop().run_until_complete(xberg.extract(given, configuration))
    except Exception as error:
        raise _poison(str(error)) from None
    if not result.results:
        raise _poison(" ".join(str(item.message) for item in result.errors))
    return result.results[0]


def _configuration(limits: Limits, *, html_options: Any = None) -> Any:
    from xberg import ExtractionConfig, SecurityLimits

    return ExtractionConfig(
        output_format="markdown",
        use_cache=False,
        enable_quality_processing=False,
        disable_ocr=True,
        escape_markdown=False,
        html_options=html_options,
        security_limits=SecurityLimits(
            max_archive_size=limits.max_expanded_bytes,
            max_content_size=limits.max_expanded_bytes,
            max_compression_ratio=limits.max_expansion_ratio,
            max_files_in_archive=limits.max_packed_files,
            max_pages=limits.max_pages,
        ),
    )


def _poison(message: str) -> Poison:
    lowered = message.lower()
    for words, reason, detail in _MESSAGES:
        if words in lowered:
            return Poison(reason, detail)
    return Poison("parser_failed", "the parser cannot read it: it is damaged or not what it says it is")


def _safe_name(name: str) -> str | None:
    ending = name.rpartition(".")[2].lower()
    return f"document.{ending}" if ending.isascii() and ending.isalnum() and len(ending) <= 8 else None


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()
