"""H02: documents that are too long, too empty or too deep."""

from __future__ import annotations

import tracemalloc

import pytest

from concordance.errors import PoisonDocument
from concordance.model import Reason
from concordance.sources.kinds import open_source
from support.hostile import Batch, Case, Reader

MILLION = 1_000_000

CASES = (
    Case("H02-line-of-10-MB", "line.md", lambda _: b"word " * (2 * MILLION), Reason.TOO_MANY_CHUNKS),
    Case("H02-line-without-spaces", "solid.md", lambda _: b"a" * (10 * MILLION), Reason.TOO_MANY_CHUNKS),
    Case("H02-spaces", "spaces.md", lambda _: b"first" + b" " * (10 * MILLION - 9) + b"last", "first last"),
    Case(
        "H02-empty-lines", "lines.md", lambda _: b"first" + b"\n" * (10 * MILLION - 9) + b"last", Reason.PARSER_KILLED
    ),
    Case("H02-more-text-than-allowed", "text.md", lambda _: b"word " * (2 * MILLION + 1), Reason.TOO_LARGE),
    Case("H02-deep-json", "deep.json", lambda _: b"[" * MILLION + b"]" * MILLION, Reason.NO_TEXT),
    Case("H02-deep-html", "deep.html", lambda _: b"<div>" * MILLION + b"text", Reason.NO_TEXT),
    Case("H02-deep-xml", "deep.xml", lambda _: b"<a>" * MILLION, Reason.PARSER_FAILED),
    Case("H02-deep-list", "list.md", lambda _: b"- " * 200_000 + b"text", "text"),
    Case("H02-deep-quotation", "quotes.md", lambda _: b"> " * 200_000 + b"text", "text"),
    Case("H02-deep-brackets", "brackets.md", lambda _: b"[" * MILLION + b"text", "text"),
    Case("H02-deep-parentheses", "deep.txt", lambda _: b"(" * MILLION + b" text", "text"),
    Case("H02-long-heading", "heading.rst", lambda _: b"=" * 500_000 + b"\n" + b"x" * 500_000, Reason.NO_TEXT),
    Case("H02-deep-rtf", "deep.rtf", lambda _: b"{\\rtf1 text" + b"{" * 100_000, "text"),
)


def test_alone(reader: Reader, case: Case) -> None:
    reader.check(case)


def test_in_the_middle_of_fifty_good_ones(batch: Batch) -> None:
    """With a gigabyte and a terabyte, which are refused unread. (What takes seconds is read and cut alone.)"""
    refused = {"m-gigabyte.md": 1 << 30, "m-terabyte.md": 1 << 40}
    for name, size in refused.items():
        with (batch.folder / name).open("wb") as file:
            file.truncate(size)
    quick = ("H02-more-text-than-allowed", "H02-deep-json", "H02-deep-xml", "H02-long-heading", "H02-deep-rtf")
    batch.check([case for case in CASES if case.id in quick], besides=dict.fromkeys(refused, Reason.TOO_LARGE))


def test_a_terabyte_is_refused_in_no_memory(batch: Batch) -> None:
    with (batch.folder / "huge.md").open("wb") as file:
        file.truncate(1 << 40)
    source = open_source(batch.declaration, batch.settings)
    tracemalloc.start()
    try:
        with pytest.raises(PoisonDocument) as refused:
            source.read("huge.md")
        assert tracemalloc.get_traced_memory()[1] < MILLION
    finally:
        tracemalloc.stop()
    assert refused.value.reason == Reason.TOO_LARGE
