"""Markdown to sections: each heading's own blocks, with the path of headings above them.

Reads line by line, in time linear in the text and without recursion. A fence hides what looks like a heading inside it;
a fence that is never closed is text. ATX (`## x`) and setext (underlined) headings count. Blocks that say nothing are
left out: only links or badges, only punctuation, tables of contents, HTML comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from concordance import ids

# A longer "heading" is a paragraph that begins with a number sign; it would otherwise vanish from the text.
MAX_HEADING_CHARACTERS = 300

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^`]*)$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
# What cannot be the text of an underlined heading: list items, quotes, table rows, indented code.
_NOT_A_PARAGRAPH = re.compile(r"[ \t]{4}|[ \t]*(?:[-*+][ \t]|\d{1,9}[.)][ \t]|[>|<]|[-*_=]{3,}[ \t]*$)")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_CONTENTS_HEADINGS = frozenset({"contents", "content", "table of contents", "toc", "on this page", "in this article"})

_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()]*\)|\[[^\[\]]*\])?")
_LINK_DEFINITION = re.compile(r"(?m)^[ ]{0,3}\[[^\[\]]+\]:[^\n]*")
_LINK = re.compile(r"\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_ADDRESS = re.compile(r"<[^<>]*>|https?://[^\s<>]+")
_MAY_LINK = re.compile(r"\]\(|\]\[|\]:|://|<")
_LETTER = re.compile(r"[^\W\d_]")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_EMPHASIS = re.compile(r"[*`]+|¶\s*$|\{#[^{}]*\}\s*$")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines between blank lines, or one fenced block with its fences. `is_code`: every line stands for itself."""

    lines: tuple[str, ...]
    is_code: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading's own blocks, without those of its subsections. `heading_path`: the headings from the top to here."""

    heading_path: tuple[str, ...]
    blocks: tuple[Block, ...]


def sections(markdown: str) -> Iterator[Section]:
    """The sections that have something to say, in order."""
    path: list[tuple[int, str]] = []
    blocks: list[Block] = []
    for part in _parts(_shown_lines(markdown)):
        if isinstance(part, Block):
            blocks.append(part)
            continue
        yield from _section(path, blocks)
        level, heading = part
        blocks = []
        while path and path[-1][0] >= level:
            path.pop()
        path.append((level, heading))
    yield from _section(path, blocks)


def headings(markdown: str) -> Iterator[str]:
    """All headings in order as words, also of sections that have nothing to say."""
    return (part[1] for part in _parts(_shown_lines(markdown)) if not isinstance(part, Block))


def _section(path: list[tuple[int, str]], blocks: list[Block]) -> Iterator[Section]:
    is_contents = bool(path) and ids.normalise_name(path[-1][1]) in _CONTENTS_HEADINGS
    kept = tuple(block for block in blocks if says_something(block) and not (is_contents and _is_list(block)))
    if kept:
        yield Section(tuple(heading for _, heading in path if heading), kept)


def says_something(block: Block) -> bool:
    """Whether a block has words of its own: not only punctuation, links, badges or addresses."""
    text = "\n".join(block.lines)
    if not _LETTER_OR_DIGIT.search(text):
        return False
    if block.is_code or not _MAY_LINK.search(text):
        return True
    rest = _LINK_DEFINITION.sub("", text)
    # Twice, because a badge is an image inside a link.
    for pattern in (_IMAGE, _LINK, _ADDRESS):
        rest = pattern.sub(" ", rest)
    return bool(_LETTER.search(rest)) or rest == text


def _is_list(block: Block) -> bool:
    return not block.is_code and all(_LIST_ITEM.match(line) or line[:1].isspace() for line in block.lines)


def _parts(lines: list[str]) -> Iterator[Block | tuple[int, str]]:
    """Blocks and headings (level, text) in order."""
    closing = _longest_fence_ahead(lines)
    pending: list[str] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        fence = _FENCE.match(line)
        if fence and closing[fence[1][0]][number + 1] >= len(fence[1]):
            yield from _block(pending)
            pending = []
            end = _fence_end(lines, number + 1, fence[1])
            yield Block(tuple(lines[number : end + 1]), is_code=True)
            number = end + 1
            continue
        heading = atx_heading(line) or _setext_heading(pending, line)
        if heading:
            if line.lstrip()[:1] == "#":
                yield from _block(pending)
            yield heading
            pending = []
        elif line.strip():
            pending.append(line)
        else:
            yield from _block(pending)
            pending = []
        number += 1
    yield from _block(pending)


def _block(pending: list[str]) -> Iterator[Block]:
    if pending:
        yield Block(tuple(pending))


def atx_heading(line: str) -> tuple[int, str] | None:
    """`## Text ##` as (2, "Text"), None for any other line."""
    text = line.lstrip(" ")
    if len(line) - len(text) > 3 or text[:1] != "#":
        return None
    rest = text.lstrip("#")
    level = len(text) - len(rest)
    if level > 6 or (rest and rest[0] not in " \t") or len(rest) > MAX_HEADING_CHARACTERS:
        return None
    rest = rest.strip()
    unclosed = rest.rstrip("#")
    if unclosed != rest and (not unclosed or unclosed[-1] in " \t"):
        rest = unclosed
    return level, plain_heading(rest)


def _setext_heading(pending: list[str], line: str) -> tuple[int, str] | None:
    underline = _SETEXT.match(line)
    if not underline or not pending or any(_NOT_A_PARAGRAPH.match(above) for above in pending[:8]):
        return None
    if len(pending) > 4 or sum(map(len, pending)) > MAX_HEADING_CHARACTERS:
        return None
    return (1 if underline[1][0] == "=" else 2), plain_heading(" ".join(map(str.strip, pending)))


def plain_heading(text: str) -> str:
    """A heading as words: no images, link targets, HTML or emphasis marks; one line."""
    plain = _ADDRESS.sub(" ", _LINK.sub(r"\1", _IMAGE.sub(" ", text)))
    plain = _EMPHASIS.sub("", plain)
    return " ".join(plain.split())


def _shown_lines(markdown: str) -> list[str]:
    lines = markdown.split("\n")
    return list(_without_comments(lines)) if "<!--" in markdown else lines


def _without_comments(lines: list[str]) -> Iterator[str]:
    """Drop HTML comments that begin a line (they are not shown). One that never ends is text."""
    last_end = max((number for number, line in enumerate(lines) if "-->" in line), default=-1)
    inside = in_fence = False
    fence = ""
    for number, line in enumerate(lines):
        if inside:
            if "-->" in line:
                inside = False
                yield line.partition("-->")[2]
            continue
        marker = _FENCE.match(line)
        if marker and (not in_fence or (marker[1].startswith(fence) and not marker[2].strip())):
            in_fence, fence = not in_fence, marker[1]
        text = line.lstrip()
        if in_fence or not text.startswith("<!--"):
            yield line
        elif "-->" in text:
            yield text.partition("-->")[2]
        elif number < last_end:
            inside = True
        else:
            yield line


def _longest_fence_ahead(lines: list[str]) -> dict[str, list[int]]:
    """For each fence character: the longest line, from this line number on, that could close a fence."""
    ahead: dict[str, list[int]] = {}
    for character in "`~":
        lengths = [_closing_length(line, character) for line in lines]
        ahead[character] = [*list(accumulate(reversed(lengths), max))[::-1], 0]
    return ahead


def _closing_length(line: str, character: str) -> int:
    if character not in line:
        return 0
    text = line.strip()
    return len(text) if len(text) >= 3 and text == character * len(text) else 0


def _fence_end(lines: list[str], start: int, fence: str) -> int:
    """The number of the line that closes `fence`, which is known to be there."""
    return next(number for number in range(start, len(lines)) if _closing_length(lines[number], fence[0]) >= len(fence))
