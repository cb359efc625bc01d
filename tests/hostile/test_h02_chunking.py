"""Texts made to break a chunker: each ends, keeps the window and the limits, and leaves the next document alone."""

from __future__ import annotations

import pytest

from concordance.model import Chunk
from support.chunking import WINDOW_TOKENS, cut

MAX_CHARACTERS = 4_000


def checked(markdown: str) -> list[Chunk]:
    chunks = cut(markdown, title="Title")
    assert all(chunk.token_count <= WINDOW_TOKENS for chunk in chunks)
    assert all(len(chunk.text) <= MAX_CHARACTERS for chunk in chunks)
    return chunks


def test_one_line_of_a_megabyte_is_cut():
    assert len(checked("word " * 200_000)) > 1_000


def test_a_million_empty_lines_between_two_words_are_one_chunk():
    (chunk,) = checked("first" + "\n" * 1_000_000 + "last")
    assert chunk.text == "Title\n\nfirst\n\nlast"


def test_a_million_spaces_inside_a_line_do_not_fill_a_chunk():
    (chunk,) = checked("first" + " " * 1_000_000 + "last")
    assert chunk.text == "Title\n\nfirst last"


def test_headings_nested_and_repeated_without_end_keep_their_paths():
    deep = "\n".join(f"{'#' * (number % 6 + 1)} heading {number}\ntext {number}" for number in range(3_000))
    chunks = checked(deep)
    assert len(chunks) == 3_000
    assert max(len(chunk.heading_path) for chunk in chunks) == 6
    checked("\n".join("#" * depth + " x\ntext" for depth in range(1, 500)))


def test_a_run_of_combining_marks_is_bounded_by_characters():
    checked("a" + "\u0301" * 10_000 + " and after")


def test_a_text_without_spaces_is_cut_inside():
    chunks = checked("漢字" * 20_000)
    assert sum(len(chunk.text.partition("\n\n")[2]) for chunk in chunks) == 40_000


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "![",
        "<",
        "[](a",
        "```\n",
        "~~~x\n",
        "---\n",
        "a\n---\n",
        "<!--\n",
        "!)",
        "! ",
        "`",
        "#",
        "|",
        ">",
        "(",
        "\t",
        "\x00",
    ],
    ids=repr,
)
def test_a_mark_repeated_fifty_thousand_times_ends(piece: str):
    checked(piece * 50_000 + "\n\nthe end")


def test_many_different_long_words_do_not_fill_the_memory():
    checked(" ".join(f"{number:x}{'q' * 80}" for number in range(1_000)))
