"""The main content of an HTML page, by its structure. Pure.

Pages carry their site around with them: menus, sidebars, footers. The content is what the page itself marks as such:
`<main>`, `role="main"`, a single `<article>`, or the content container of the usual documentation generators. One pass
over the tags with bounded patterns; hostile nesting costs no more than its length.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

_TAG = re.compile(r"<!--|<(/?)(main|article|div|section|script|style|template|title)\b([^<>]{0,4000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\b(role|id|class|itemprop)\s*=\s*["']?([^"'>]{0,500})""", re.IGNORECASE)
_RAW = ("script", "style", "template")
_CONTENT_IDS = frozenset({"content", "main-content", "main", "bodycontent", "mw-content-text", "readme"})
_CONTENT_CLASSES = frozenset({"body", "document", "markdown-body", "rst-content", "main-content", "article-content"})
_LINKED_IMAGES = re.compile(
    r"<a\b[^<>]{0,4000}>\s{0,100}(?:<img\b[^<>]{0,4000}>(?:</img>)?\s{0,100}){1,10}</a\s{0,10}>", re.IGNORECASE
)
_IMAGE = re.compile(r"<img\b([^<>]{0,8000})>", re.IGNORECASE)
_DESCRIPTION = re.compile(r"""\balt\s*=\s*(?:"([^"]{0,1000})"|'([^']{0,1000})')""", re.IGNORECASE)
_MIN_DESCRIPTION_WORDS = 3
_MAIN, _ARTICLE, _CONTAINER = range(3)


def main_content(page: str) -> str | None:
    """The HTML of the page's main content, None when the page does not mark it."""
    found: dict[int, list[tuple[int, int]]] = {_MAIN: [], _ARTICLE: [], _CONTAINER: []}
    for rank, start, end in _marked(page):
        found[rank].append((start, end))
    for rank in (_MAIN, _ARTICLE, _CONTAINER):
        spans = found[rank]
        # Several articles are a list of teasers: none of them is the page's content.
        if spans and (rank != _ARTICLE or len(spans) == 1):
            start, end = max(spans, key=lambda span: (span[1] - span[0], -span[0]))
            return page[start:end]
    return None


def page_title(page: str) -> str | None:
    """The text of `<title>`, without its entities."""
    start = re.search(r"<title\b[^<>]{0,1000}>", page[:200_000], re.IGNORECASE)
    if start is None:
        return None
    text = page[start.end() : start.end() + 2000].partition("<")[0]
    return " ".join(html.unescape(text).split()) or None


def without_images(fragment: str) -> str:
    """The HTML with its images as their descriptions, where these say something; linked ones are badges and go.

    This is needed as well as tidy: html-to-markdown 3.17, inside the native parser, panics on a paragraph of linked
    images below a heading, which is how most READMEs begin.
    """
    return _IMAGE.sub(_described, _LINKED_IMAGES.sub("", fragment))


def _described(image: re.Match[str]) -> str:
    found = _DESCRIPTION.search(image[1])
    text = (found[1] or found[2] or "") if found else ""
    return text if len(text.split()) >= _MIN_DESCRIPTION_WORDS else ""


def _marked(page: str) -> Iterator[tuple[int, int, int]]:
    """Rank, start and end of every element that is marked as content."""
    open_elements: dict[str, list[tuple[int, int | None]]] = {}
    lowered = page.lower()  # may differ in length for a few letters; only looked through for ASCII names
    lowered = lowered if len(lowered) == len(page) else page
    endless: set[str] = set()
    position = 0
    while tag := _TAG.search(page, position):
        position = tag.end()
        if tag[0] == "<!--":
            closing = page.find("-->", position)
            position = len(page) if closing < 0 else closing + 3
            continue
        closes, name, attributes = tag[1], tag[2].lower(), tag[3]
        stack = open_elements.setdefault(name, [])
        if not closes and name in _RAW:
            # Looked for once when there is none: a wall of open tags must not be read to its end from each of them.
            closing = -1 if name in endless else lowered.find(f"</{name}", position)
            if closing < 0:
                endless.add(name)
            position = max(position, closing)
        elif not closes:
            stack.append((tag.start(), _rank(name, attributes)))
        elif stack:
            start, rank = stack.pop()
            if rank is not None:
                yield rank, start, tag.end()
    for stack in open_elements.values():
        for start, rank in stack:
            if rank is not None:
                yield rank, start, len(page)


def _rank(name: str, attributes: str) -> int | None:
    if name == "main":
        return _MAIN
    stated = {key.lower(): value.strip().lower() for key, value in _ATTRIBUTE.findall(attributes)}
    if stated.get("role") == "main" or stated.get("itemprop") == "articlebody":
        return _MAIN
    if name == "article":
        return _ARTICLE
    if stated.get("id") in _CONTENT_IDS or _CONTENT_CLASSES & set(stated.get("class", "").split()):
        return _CONTAINER
    return None
