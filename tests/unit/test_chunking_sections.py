"""Which blocks a heading owns, and what says nothing and is left out."""

from __future__ import annotations

import pytest

from concordance.chunking.sections import Section, atx_heading, sections


def found(markdown: str) -> list[tuple[tuple[str, ...], str]]:
    return [(section.heading_path, _text(section)) for section in sections(markdown)]


def _text(section: Section) -> str:
    return "|".join("\n".join(block.lines) for block in section.blocks)


def test_a_section_knows_the_headings_above_it():
    markdown = "intro\n\n# A\na\n## B\nb\n### C\nc\n## D\nd\n# E\ne"
    assert found(markdown) == [
        ((), "intro"),
        (("A",), "a"),
        (("A", "B"), "b"),
        (("A", "B", "C"), "c"),
        (("A", "D"), "d"),
        (("E",), "e"),
    ]


def test_a_level_that_was_skipped_leaves_no_hole_in_the_path():
    assert found("# A\n#### B\nb\n## C\nc") == [(("A", "B"), "b"), (("A", "C"), "c")]


def test_underlined_headings_count():
    assert found("Top\n===\n\ntext\n\nBelow\n-----\nmore") == [(("Top",), "text"), (("Top", "Below"), "more")]


@pytest.mark.parametrize(
    "markdown",
    ["- item\n---\ntext", "| a | b |\n---\ntext", "> quote\n---\ntext", "    code\n---\ntext", "\n---\ntext"],
)
def test_a_rule_below_something_else_than_a_paragraph_is_no_heading(markdown: str):
    assert all(path == () for path, _ in found(markdown))


def test_a_comment_in_a_code_fence_is_no_heading():
    markdown = "# A\n```bash\n# install it\npip install x\n```\n~~~\n## also code\n~~~\n"
    assert found(markdown) == [
        (("A",), "```bash\n# install it\npip install x\n```|~~~\n## also code\n~~~"),
    ]


def test_a_shorter_fence_inside_a_longer_one_does_not_close_it():
    markdown = "````md\n```\n# not a heading\n```\n````\n# Heading\ntext"
    assert [path for path, _ in found(markdown)] == [(), ("Heading",)]


def test_a_fence_that_is_never_closed_is_text_and_hides_no_heading():
    assert found("```\nforgotten\n\n# Heading\ntext") == [((), "```\nforgotten"), (("Heading",), "text")]


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("## Text ##", (2, "Text")),
        ("   # Indented", (1, "Indented")),
        ("# C#", (1, "C#")),
        ("#", (1, "")),
        ("# `code` and **bold** [link](http://x.y)", (1, "code and bold link")),
        ("# ![logo](logo.png) Name", (1, "Name")),
        ("    # code", None),
        ("#hashtag", None),
        ("####### seven", None),
        ("# " + "x" * 1000, None),
    ],
)
def test_what_is_a_heading(line: str, heading: tuple[int, str] | None):
    assert atx_heading(line) == heading


@pytest.mark.parametrize(
    "nothing",
    [
        "- [Install](#install)\n- [Use](#use)\n  - [More](#more)",
        "[![build](https://ci/badge.svg)](https://ci) [![pypi](https://b/x.svg)](https://pypi.org/x)",
        "https://example.org/somewhere",
        '<p align="center"><img src="logo.png" alt="Logo"></p>',
        "[one]: https://example.org\n[two]: https://example.org/2",
        "***",
        "| --- | --- |",
        "<!-- a note\nfor editors -->",
        "\N{GRINNING FACE}\N{GRINNING FACE}",
    ],
)
def test_a_block_without_words_of_its_own_is_left_out(nothing: str):
    assert found(f"# A\n\n{nothing}\n\n# B\ntext") == [(("B",), "text")]


def test_a_table_of_contents_without_links_is_known_by_its_heading():
    assert found("## Table of Contents\n\n- Install\n- Use\n\n## Install\ntext") == [(("Install",), "text")]


def test_a_sentence_with_a_link_stays():
    assert found("See [the manual](https://example.org).") == [((), "See [the manual](https://example.org).")]


def test_a_comment_that_never_ends_swallows_nothing():
    assert found("<!-- forgotten\n\n# Heading\ntext") == [((), "<!-- forgotten"), (("Heading",), "text")]


def test_a_comment_inside_a_fence_is_code():
    assert found("```html\n<!-- shown -->\n```") == [((), "```html\n<!-- shown -->\n```")]
