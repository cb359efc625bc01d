"""What kind of document some bytes are. Pure.

Content decides where it can (magic numbers, an HTML start, zero bytes), then the declared media type, then the file
name's ending: a wrong name or header must not hand a PDF to the text reader. Binary content that nothing names is an
unknown format and reaches no parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from concordance.parsing.encoding import is_binary


class Route(StrEnum):
    """Who reads a document."""

    MARKDOWN = "markdown"
    TEXT = "text"
    RST = "rst"
    HTML = "html"
    OFFICE = "office"
    """Binary and structured formats: the native parser."""


@dataclass(frozen=True, slots=True)
class Format:
    """`media_type` is None where the native parser should tell it from the content (zip and OLE containers)."""

    route: Route
    media_type: str | None
    is_text: bool


_TEXT_ROUTES = {
    "text/markdown": Route.MARKDOWN,
    "text/x-markdown": Route.MARKDOWN,
    "text/x-rst": Route.RST,
    "text/prs.fallenstein.rst": Route.RST,
    "text/html": Route.HTML,
    "application/xhtml+xml": Route.HTML,
}
_GENERIC = frozenset({"", "text/plain", "application/octet-stream", "binary/octet-stream", "application/unknown"})
_BY_ENDING = {
    "md": "text/markdown",
    "markdown": "text/markdown",
    "mdown": "text/markdown",
    "mkd": "text/markdown",
    "rst": "text/x-rst",
    "rest": "text/x-rst",
    "html": "text/html",
    "htm": "text/html",
    "xhtml": "application/xhtml+xml",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "ipynb": "application/x-ipynb+json",
    "yaml": "application/x-yaml",
    "yml": "application/x-yaml",
    "toml": "application/toml",
    "xml": "application/xml",
    "svg": "image/svg+xml",
    "eml": "message/rfc822",
    "tex": "application/x-latex",
    "org": "text/x-org",
    "rtf": "application/rtf",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "epub": "application/epub+zip",
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "msg": "application/vnd.ms-outlook",
}
_STRUCTURED_TEXT = frozenset(
    {"text/csv", "text/tab-separated-values", "application/json", "application/x-ipynb+json", "application/x-yaml"}
    | {"application/toml", "application/x-latex", "text/x-org"}
)
# Formats that state their own encoding, or whose bytes are not one text: handed on as they are.
_MAGIC: tuple[tuple[bytes, str | None], ...] = (
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", None),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None),
    (b"{\\rtf", "application/rtf"),
)
_HTML_START = re.compile(
    rb"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--[^>]{0,500}-->\s*)*<(?:!doctype\s+html|html[\s>])", re.I
)
_XML_START = re.compile(rb"\s*<\?xml\s")


def detect(content: bytes, *, declared: str | None, name: str) -> Format | None:
    """The format of a document, None when it is none that can be read. `name` is only looked at for its ending."""
    head = content[:4096].removeprefix(b"\xef\xbb\xbf")
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return Format(Route.OFFICE, media_type, is_text=False)
    if _HTML_START.match(head):
        return Format(Route.HTML, "text/html", is_text=True)
    stated = _stated(declared, name)
    if is_binary(content):
        return None
    if stated in _TEXT_ROUTES:
        return Format(_TEXT_ROUTES[stated], stated, is_text=True)
    if stated in _STRUCTURED_TEXT:
        return Format(Route.OFFICE, stated, is_text=True)
    if _XML_START.match(head):
        return Format(Route.OFFICE, stated or "application/xml", is_text=False)
    if not stated or stated.startswith("text/"):
        return Format(Route.TEXT, "text/plain", is_text=True)
    return Format(Route.OFFICE, stated, is_text=False)


def _stated(declared: str | None, name: str) -> str:
    """The declared media type, or the one that the name's ending stands for when the declared one says little."""
    media_type = (declared or "").partition(";")[0].strip().lower()
    if media_type not in _GENERIC:
        return media_type
    base = name.rpartition("/")[2]
    ending = base.rpartition(".")[2].lower() if "." in base else ""
    return _BY_ENDING.get(ending, "")
