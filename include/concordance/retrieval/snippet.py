"""The passage of a chunk that answers a query best, as bounded plain text. Pure.

Markdown marks go, because a snippet is shown in terminals, pages and JSON alike; so do control characters and those
that steer the writing direction, because the text is from outside and a terminal would obey them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Set

from concordance.chunking.bm25 import terms

_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_MARKS = re.compile(r"^[-=:| ]{3,}$|^ {0,3}(?:#{1,6}\s+|>\s?|[-*+]\s+|```.*$|~~~.*$)|[*`|]+", re.MULTILINE)
_WORD = re.compile(r"\w+(?:[.\-]\w+)*")
_MAX_BODY_CHARACTERS = 20_000  # a chunk is bounded in tokens, and one token may be a very long word


def plain(text: str) -> str:
    """`text` on one line, without Markdown marks and without characters that are no text."""
    text = _MARKS.sub(" ", _LINK.sub(r"\1", text))
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """`text` with control, format and surrogate characters replaced by spaces."""
    return "".join(
        " " if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") else character for character in text
    )


def snippet(body: str, query: str, *, max_characters: int) -> str:
    """The window of whole words that holds most different terms of the query, at most `max_characters` long.

    Terms are those of the index (`chunking.bm25`): stems, and identifiers whole and in parts. Where something was cut
    off, an ellipsis says so; it counts.
    """
    text = plain(body[:_MAX_BODY_CHARACTERS])
    if len(text) <= max_characters:
        return text
    room = max_characters - 4  # "… " before and " …" after
    wanted = terms(query).keys()
    start, end = _best_window(list(_matches(text, wanted)), room)
    return _cut(text, start, end, room)


def _matches(text: str, wanted: Set[str]) -> Iterator[tuple[int, int, frozenset[str]]]:
    """Start, end and the query's terms of each word that has any."""
    for word in _WORD.finditer(text):
        common = wanted & terms(word.group()).keys()
        if common:
            yield word.start(), word.end(), frozenset(common)


def _best_window(matches: list[tuple[int, int, frozenset[str]]], room: int) -> tuple[int, int]:
    """Start and end of the matches that one window can hold together: most different terms first, then most words."""
    best, best_value = (0, 0), (0, 0)
    first = 0
    for last in range(len(matches)):
        while matches[last][1] - matches[first][0] > room and first < last:
            first += 1
        inside = matches[first : last + 1]
        value = (len(frozenset().union(*(found for _, _, found in inside))), len(inside))
        if value > best_value:
            best, best_value = (matches[first][0], matches[last][1]), value
    return best


def _cut(text: str, start: int, end: int, room: int) -> str:
    """`room` characters around start..end, on word boundaries, a little more after than before."""
    spare = max(room - (end - start), 0)
    left = max(0, min(start - spare // 3, len(text) - room))
    right = min(len(text), left + room)
    if left > 0 and " " in text[left : min(start + 1, right)]:
        left = text.index(" ", left) + 1
    if right < len(text) and " " in text[max(left, min(end, right)) : right]:
        right = text.rindex(" ", left, right)
    return ("… " if left > 0 else "") + text[left:right].strip() + (" …" if right < len(text) else "")
