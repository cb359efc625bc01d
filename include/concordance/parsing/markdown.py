"""Markdown as it is found, to Markdown as it is chunked. Pure.

Front matter, comments, tables of contents, badge lines and link definitions go; headings are `#` lines; links and tags
inside a line become text (`inline`). Code blocks are left as they are. `tidy` of its own output changes nothing but
what stood escaped, so that parsing twice is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from concordance.parsing.inline import Inline, label

_FENCE = re.compile(r"^[ \t]{0,200}(?:(?:[-*+]|\d{1,9}[.)])[ \t]{1,20}|>[ \t]?){0,20}(`{3,}|~{3,})[^`]*$")
_HEADING = re.compile(r"^ {0,3}(#{1,6})(?:[ \t](.*))?$")
_HTML_HEADING = re.compile(r"<h([1-6])\b[^<>]{0,1000}>(.{0,1000}?)</h\1\s*>", re.IGNORECASE | re.DOTALL)
_SETEXT = re.compile(r"^ {0,3}(=+|-{2,})[ \t]*$")
_BLOCK_START = re.compile(r"^[ \t]{0,200}(?:[-*+>|]\s|\d{1,9}[.)]\s|#{1,6}\s|\|)")
_RULE = re.compile(r"^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_DEFINITION = re.compile(
    r"^ {0,3}\[([^\[\]^][^\[\]]{0,200})\]:[ \t]+<?([^\s<>]{1,2000})>?(?:[ \t]+[\"'(].{0,500})?[ \t]*$"
)
_CONTENTS_ITEM = re.compile(r"^[ \t]{0,200}(?:[-*+]|\d{1,9}[.)])\s+\[[^\n]{0,300}\]\(\s*#[^()\s]{0,300}\s*\)\s*$")
_CONTENTS_MARK = re.compile(r"^[ \t]{0,200}(?:\[TOC\]|\[\[_?TOC_?\]\]|\{:toc\}|\{\{\s?toc\s?\}\})\s*$", re.IGNORECASE)
_CONTENTS_TITLE = re.compile(
    r"^(?:table of contents?|contents|toc|on this page|in this (?:page|article|document)|quick ?links|navigation)$",
    re.I,
)
_FRONT_MATTER_TITLE = re.compile(r"""^title\s*[:=]\s*["']?(.{1,500}?)["']?\s*$""", re.IGNORECASE)
_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n){19,}")
_MAX_FRONT_MATTER_LINES = 500
_MIN_CONTENTS_ITEMS = 3
_MARKUP = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)")

MAX_TITLE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Tidied:
    """`title` is the first `#` heading, else the front matter's title, else None."""

    markdown: str
    title: str | None
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    is_code: bool


def tidy(markdown: str) -> Tidied:
    """The document's content as plain Markdown, its title and its link targets."""
    body, stated_title = _without_front_matter(_EMPTY_LINES.sub("\n\n\n", markdown))
    inline = Inline()
    lines = _without_definitions(_lines(_without_comments(body)), inline)
    text = _joined(_headings(_plain(_without_contents(lines), inline)))
    title = next((plain for level, plain in headings(text) if level == 1), None)
    return Tidied(text, shortened(title or stated_title), tuple(inline.targets))


def from_plain_text(text: str) -> Tidied:
    """Plain text as Markdown: underlined lines are its headings, a leading `#` is none."""
    lines = []
    for line in _EMPTY_LINES.sub("\n\n\n", text).split("\n"):
        lines.append(_Line("\\" + line if _heading(line) else line.rstrip(), is_code=False))
    text = _joined(_headings(lines, strict=True))
    title = next((plain for level, plain in headings(text) if level == 1), None)
    return Tidied(text, shortened(title), ())


def headings(markdown: str) -> Iterator[tuple[int, str]]:
    """Level and text of every heading, without emphasis and code marks."""
    for line in _lines(markdown):
        if not line.is_code and (heading := _heading(line.text)) and heading[1]:
            yield heading[0], " ".join(_MARKUP.sub("", heading[1]).split())


def _without_front_matter(markdown: str) -> tuple[str, str | None]:
    mark = markdown[:3]
    if mark not in ("---", "+++"):
        return markdown, None
    lines = markdown.split("\n", _MAX_FRONT_MATTER_LINES)
    if lines[0].rstrip() != mark:
        return markdown, None
    for number, line in enumerate(lines[1:_MAX_FRONT_MATTER_LINES], start=1):
        if line.rstrip() in (mark, "..." if mark == "---" else mark):
            # A thematic break opens a document too; front matter has keys.
            if not any(re.match(r"^[\w.-]+\s*[:=]", stated) for stated in lines[1:number]):
                return markdown, None
            titles = (_FRONT_MATTER_TITLE.match(stated) for stated in lines[1:number])
            title = next((found[1].strip() for found in titles if found), None)
            return "\n".join(lines[number + 1 :]), title
    return markdown, None


def _without_comments(text: str) -> str:
    """Text without HTML comments, those inside code blocks kept."""
    if "<!--" not in text:
        return text
    kept, position, fences = [], 0, _fence_spans(text)
    while (start := text.find("<!--", position)) >= 0:
        fence = next((span for span in fences if span[0] <= start < span[1]), None)
        if fence is not None:
            kept.append(text[position : fence[1]])
            position = fence[1]
            fences = [span for span in fences if span[0] >= position]
            continue
        closing = text.find("-->", start)
        if closing < 0:
            break
        kept.append(text[position:start])
        position = closing + 3
        fences = [span for span in fences if span[1] > position]
    return "".join(kept) + text[position:]


def _fence_spans(text: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    position, start = 0, None
    for line in _lines(text):
        if line.is_code and start is None:
            start = position
        elif not line.is_code and start is not None:
            spans.append((start, position))
            start = None
        position += len(line.text) + 1
    if start is not None:
        spans.append((start, len(text)))
    return spans


def _lines(text: str) -> Iterator[_Line]:
    """The lines, each with whether it belongs to a fenced or indented code block, its fences included."""
    fence = ""
    after_blank, in_indented, in_list = True, False, False
    for line in text.split("\n"):
        if fence:
            yield _Line(line, is_code=True)
            stripped = line.strip()
            if stripped and set(stripped) == {fence[0]} and len(stripped) >= len(fence):
                fence, after_blank = "", False
            continue
        if opening := _FENCE.match(line):
            fence = opening[1]
            in_indented = False
            yield _Line(line, is_code=True)
            continue
        is_blank = not line.strip()
        is_indented = line.startswith(("    ", "\t")) and not is_blank
        if not is_indented and not is_blank:
            in_indented = False
            in_list = bool(_BLOCK_START.match(line)) or (in_list and (line.startswith(" ") or not after_blank))
        if is_indented and after_blank and not in_list:
            in_indented = True
        yield _Line(line, is_code=in_indented and not is_blank)
        after_blank = is_blank


def _without_definitions(lines: Iterable[_Line], inline: Inline) -> list[_Line]:
    kept = []
    for line in lines:
        definition = None if line.is_code else _DEFINITION.match(line.text)
        if definition:
            inline.definitions.setdefault(label(definition[1]), definition[2])
        else:
            kept.append(line)
    return kept


def _without_contents(lines: list[_Line]) -> list[_Line]:
    """Without lists of links into the same page, and without the heading that stands over nothing else."""
    drop = {number for number, line in enumerate(lines) if not line.is_code and _CONTENTS_MARK.match(line.text)}
    run: list[int] = []
    for number, line in enumerate([*lines, _Line("end", is_code=False)]):
        if not line.is_code and _CONTENTS_ITEM.match(line.text):
            run.append(number)
        elif line.text.strip():
            if len(run) >= _MIN_CONTENTS_ITEMS or (run and _heads_contents(lines, run[0])):
                drop.update(run)
            run = []
    drop.update(_empty_contents_headings(lines, drop))
    return [line for number, line in enumerate(lines) if number not in drop]


def _heads_contents(lines: list[_Line], number: int) -> bool:
    titles = (lines[index] for index in range(number - 1, -1, -1) if not _SETEXT.match(lines[index].text))
    above = next((line for line in titles if line.text.strip()), None)
    return above is not None and _is_contents_heading(above)


def _is_contents_heading(line: _Line) -> bool:
    plain = _MARKUP.sub("", line.text.strip().strip("#")).strip().rstrip(":").strip()
    return not line.is_code and bool(_CONTENTS_TITLE.match(plain))


def _empty_contents_headings(lines: list[_Line], dropped: set[int]) -> Iterator[int]:
    if not dropped:
        return
    for number, line in enumerate(lines):
        if number in dropped or not _is_contents_heading(line):
            continue
        following = number + 1
        if following < len(lines) and _SETEXT.match(lines[following].text):
            following += 1
        after = next((index for index in range(following, len(lines)) if lines[index].text.strip()), None)
        if after is not None and after in dropped:
            yield from range(number, following)


def _plain(lines: Iterable[_Line], inline: Inline) -> Iterator[_Line]:
    held: list[str] = []
    for line in lines:
        # Links and tags go over line ends, and never over the end of a paragraph, an item or a row.
        if held and (line.is_code or not line.text.strip() or _BLOCK_START.match(line.text) or _heading(held[-1])):
            yield from _paragraph(held, inline)
            held = []
        if line.is_code or not line.text.strip():
            yield line
        else:
            held.append(line.text)
    yield from _paragraph(held, inline)


def _paragraph(held: list[str], inline: Inline) -> Iterator[_Line]:
    if not held:
        return
    text = "\n".join(held)
    if "</h" in text or "</H" in text:
        text = _HTML_HEADING.sub(
            lambda heading: f"\n\n{'#' * int(heading[1])} {' '.join(heading[2].split())}\n\n", text
        )
    plain = inline.plain(text)
    before = set(held)
    for piece in plain.split("\n"):
        yield _Line(piece.rstrip() if piece in before else _with_words(piece), is_code=False)


def _with_words(piece: str) -> str:
    """What is left of a line that lost images or tags: without a word it is kept only if it is structure."""
    has_words = any(map(str.isalnum, piece))
    return piece.rstrip() if has_words or "|" in piece or _RULE.match(piece) or _SETEXT.match(piece) else ""


def _headings(lines: Iterable[_Line], *, strict: bool = False) -> Iterator[_Line]:
    """Underlined headings as `#` lines, headings without a text dropped. `strict`: plain text, where the underline must
    be as long as its line and stand below an empty one."""
    held: _Line | None = None
    before_held = ""
    for line in lines:
        underline = None if line.is_code or held is None else _SETEXT.match(line.text)
        if underline and held is not None and _may_be_title(held, before_held, line.text, strict):
            yield _Line(f"{'#' if underline[1][0] == '=' else '##'} {held.text.strip()}", is_code=False)
            held, before_held = None, ""
            continue
        if held is not None:
            yield held
            before_held = held.text
        # A rule says nothing, and could be taken for an underline once what stood above it has gone.
        held = _Line("", is_code=False) if not line.is_code and _RULE.match(line.text) else _atx(line)
    if held is not None:
        yield held


def _may_be_title(held: _Line, before: str, underline: str, strict: bool) -> bool:
    title = held.text.strip()
    if held.is_code or not title or _BLOCK_START.match(held.text) or before.strip():
        return False
    return not strict or abs(len(title) - len(underline.strip())) <= 2


def _atx(line: _Line) -> _Line:
    heading = None if line.is_code else _heading(line.text)
    if heading is None:
        return line
    level, text = heading
    return _Line(f"{'#' * level} {text}" if any(map(str.isalnum, text)) else "", is_code=False)


def _heading(line: str) -> tuple[int, str] | None:
    """Level and text of a `#` line, its closing marks left out; None for any other line."""
    found = _HEADING.match(line)
    if found is None:
        return None
    text = (found[2] or "").strip()
    without_marks = text.rstrip("#")
    # Closing marks stand apart: `# C#` keeps its last letter.
    if without_marks != text and (not without_marks or without_marks[-1].isspace()):
        text = without_marks.rstrip()
    return len(found[1]), text


def _joined(lines: Iterable[_Line]) -> str:
    """The lines with single empty lines between blocks; headings stand alone. Code keeps its own empty lines."""
    kept: list[str] = []
    after_heading = False
    for line in lines:
        is_heading = not line.is_code and _heading(line.text) is not None
        is_blank = not line.text.strip() and not line.is_code
        if is_blank or is_heading or after_heading:
            if kept and kept[-1]:
                kept.append("")
            if is_blank:
                after_heading = False
                continue
        kept.append(line.text if line.is_code else line.text.rstrip())
        after_heading = is_heading
    return "\n".join(kept).strip("\n")


def shortened(title: str | None) -> str | None:
    shown = " ".join((title or "").split())[:MAX_TITLE_CHARACTERS].strip()
    return shown if any(map(str.isalnum, shown)) else None
