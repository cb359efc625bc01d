"""What stands inside a paragraph of Markdown: links become their text, images their description, tags go. Pure.

Links' targets are collected and not kept in the text: an address costs tokens of the model's window and says nothing.
Code spans are left alone. Every pattern is bounded, so that a hostile line costs no more than a multiple of its length.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_TARGETS = 2_000
MAX_TARGET_CHARACTERS = 1_000

_DESTINATION = r"\(\s{0,4}(?:<([^<>\n]{0,2000})>|([^()\s<>]{0,2000}(?:\([^()\s]{0,500}\)[^()\s]{0,500})?))" + (
    r"(?:\s{1,4}(?:\"[^\"]{0,500}\"|'[^']{0,500}'))?\s{0,4}\)"
)
_IMAGE = re.compile(r"!\[([^\[\]]{0,1000})\](?:" + _DESTINATION + r"|\[[^\[\]]{0,200}\])")
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]{0,200}\]){0,1000})\]" + _DESTINATION)
_LINK_END = re.compile(r"\]" + _DESTINATION)
_REFERENCE = re.compile(r"\[([^\[\]]{1,1000})\]\[([^\[\]]{0,200})\]")
_SHORTCUT = re.compile(r"\[([^\[\]^]{1,200})\](?![\[(:])")
_AUTOLINK = re.compile(r"<((?:https?|ftp)://[^<>\s]{1,2000})>")
_XBERG_IMAGE = re.compile(r"\[image: ([^\[\]]{0,500})\]|\[image\]")
_TAGS = (
    "a|abbr|article|aside|b|big|blockquote|br|caption|center|cite|code|col|colgroup|dd|del|details|dfn|div|dl|dt|em|"
    "figcaption|figure|font|footer|h[1-6]|header|hr|i|iframe|img|input|ins|kbd|label|li|main|mark|nav|noscript|ol|p|picture|"
    "pre|q|s|samp|section|small|source|span|strike|strong|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|tr|tt|u|ul|var|"
    "video|wbr"
)
_TAG = re.compile(rf"<(/?)({_TAGS})(\s[^<>]{{0,2000}})?/?>", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"""\b(href|alt)\s*=\s*(?:"([^"]{0,2000})"|'([^']{0,2000})'|([^\s"'<>]{1,2000}))""", re.IGNORECASE
)
_ESCAPE = re.compile(r"\\([!\"$%&'(),./:;=?@\[\]^_{}~])")
_LEADING_ESCAPE = re.compile(r"^\s*\\[#+>-]")
# Stands around the number of a code span while the text about it is read; no cleaned text holds it, and `html.unescape`
# makes no control characters.
_MASK = "\x01"
_MASKED = re.compile(f"{_MASK}([0-9]+){_MASK}")
_BREAKING = frozenset({"br", "p", "div", "li", "tr", "dt", "dd", "hr", "summary", "table", "details", "blockquote"})
_ANCHORS = frozenset({"¶", "#", "§", "", "🔗"})


@dataclass(slots=True)
class Inline:
    """Reads the paragraphs of one document: knows its reference definitions, collects its link targets in order."""

    definitions: dict[str, str] = field(default_factory=dict)
    targets: dict[str, None] = field(default_factory=dict)
    _spans: list[str] = field(default_factory=list)

    def plain(self, paragraph: str) -> str:
        """A paragraph with links as text; its lines of nothing but images (badges) are empty."""
        if not any(mark in paragraph for mark in "[<&\\!"):
            return paragraph
        self._spans = []
        masked = []
        for is_code, part in code_spans(paragraph.replace(_MASK, "")):
            masked.append(f"{_MASK}{len(self._spans)}{_MASK}" if is_code else part)
            self._spans += [part] if is_code else []
        text = "\n".join("" if _is_badges(line) else line for line in "".join(masked).split("\n"))
        return self._unmasked(self._text(text))

    def _unmasked(self, text: str) -> str:
        return _MASKED.sub(lambda mask: self._spans[int(mask[1])], text)

    def _text(self, text: str) -> str:
        text = _IMAGE.sub(lambda image: image[1], text)
        text = _XBERG_IMAGE.sub(lambda image: image[1] or "", text)
        text = _LINK.sub(self._link, text)
        if self.definitions:
            text = _REFERENCE.sub(self._reference, text)
            text = _SHORTCUT.sub(self._shortcut, text)
        text = _AUTOLINK.sub(self._autolink, text)
        text = _TAG.sub(self._tag, text)
        if "&" in text:
            text = html.unescape(text).replace("\xa0", " ")
        return text if _LEADING_ESCAPE.match(text) else _ESCAPE.sub(r"\1", text)

    def _link(self, link: re.Match[str]) -> str:
        text = link[1].strip()
        if text in _ANCHORS:
            return ""
        self._collect(link[2] or link[3] or "")
        return text

    def _reference(self, reference: re.Match[str]) -> str:
        target = self.definitions.get(label(self._unmasked(reference[2] or reference[1])))
        if target is None:
            return reference[0]
        self._collect(target)
        return reference[1]

    def _shortcut(self, shortcut: re.Match[str]) -> str:
        target = self.definitions.get(label(self._unmasked(shortcut[1])))
        if target is None:
            return shortcut[0]
        self._collect(target)
        return shortcut[1]

    def _autolink(self, link: re.Match[str]) -> str:
        self._collect(link[1])
        return link[1]

    def _tag(self, tag: re.Match[str]) -> str:
        name, closes = tag[2].lower(), bool(tag[1])
        stated = {
            key.lower(): double or single or bare for key, double, single, bare in _ATTRIBUTE.findall(tag[3] or "")
        }
        if name == "a" and not closes:
            self._collect(stated.get("href", ""))
        if name == "img":
            return str(stated.get("alt", ""))
        if name in ("code", "tt", "kbd", "samp"):
            return "`"
        if name in ("td", "th"):
            return " "
        return "\n" if name in _BREAKING else ""

    def _collect(self, target: str) -> None:
        target = html.unescape(target.strip())
        if target and len(target) <= MAX_TARGET_CHARACTERS and len(self.targets) < MAX_TARGETS:
            self.targets[target] = None


def _is_badges(line: str) -> bool:
    """Whether a line is nothing but images, linked or not, or the end of a link around them."""
    if line.startswith("](") and _LINK_END.fullmatch(line.rstrip()):
        return True
    if "![" not in line and "<img" not in line.lower() and "[image" not in line:
        return False
    rest = _XBERG_IMAGE.sub("", _IMAGE.sub("", line))
    rest = _TAG.sub("", _LINK.sub(lambda link: link[1], rest))
    return not any(map(str.isalnum, rest))


def label(text: str) -> str:
    """A reference's label as Markdown compares it."""
    return " ".join(text.split()).casefold()


def code_spans(line: str) -> Iterator[tuple[bool, str]]:
    """The line in parts, each with whether it is a code span. Linear: a fence without its end is looked for once."""
    if "`" not in line:
        yield False, line
        return
    runs = [(run.start(), run.end()) for run in re.finditer("`+", line)]
    by_length: dict[int, list[int]] = {}
    for index in reversed(range(len(runs))):
        by_length.setdefault(runs[index][1] - runs[index][0], []).append(index)
    position, index = 0, 0
    while index < len(runs):
        start, end = runs[index]
        same = by_length[end - start]
        while same and same[-1] <= index:
            same.pop()
        if not same:
            index += 1
            continue
        closing = same[-1]
        if start > position:
            yield False, line[position:start]
        position = runs[closing][1]
        yield True, line[start:position]
        index = closing + 1
    if position < len(line):
        yield False, line[position:]
