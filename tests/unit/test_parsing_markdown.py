"""Markdown as it is found becomes Markdown as it is chunked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance.parsing.markdown import from_plain_text, headings, tidy


def text(markdown: str) -> str:
    return tidy(markdown).markdown


def test_front_matter_goes_and_gives_a_title_where_the_text_has_none() -> None:
    tidied = tidy("---\ntitle: 'A guide'\ntags: [x]\n---\n\nText.\n")
    assert (tidied.markdown, tidied.title) == ("Text.", "A guide")


def test_the_first_heading_of_level_one_is_the_title_whatever_the_front_matter_says() -> None:
    assert tidy("---\ntitle: Other\n---\n## Before\n# The `real` *title* #\n").title == "The real title"


def test_a_rule_at_the_start_is_no_front_matter() -> None:
    assert text("---\nFirst paragraph.\n\n---\nSecond.\n") == "First paragraph.\n\nSecond."


def test_a_document_without_a_heading_has_no_title() -> None:
    assert tidy("Only text.").title is None


def test_links_become_their_text_and_their_targets_are_kept() -> None:
    tidied = tidy(
        'See [the *guide*](../guide.md#start "Guide"), [`code`](x_(1).html), [one\ntwo][ref], [Ref] and <https://a.b/c>.\n'
        "\n[ref]: <other.md> 'Other'\n"
    )
    assert tidied.markdown == "See the *guide*, `code`, one\ntwo, Ref and https://a.b/c."
    assert tidied.targets == ("../guide.md#start", "x_(1).html", "other.md", "https://a.b/c")


def test_brackets_that_are_no_links_stay() -> None:
    assert text("An index a[0], a footnote[^1] and [not a link].") == (
        "An index a[0], a footnote[^1] and [not a link]."
    )


def test_lines_of_badges_go_and_pictures_in_the_text_leave_their_description() -> None:
    badges = "[![Build](https://ci/x.svg)](https://ci/x) ![PyPI](https://img/y.svg)\n<img src='z.svg' alt='z'>\n"
    assert text(f"# Name\n{badges}\nLook at ![the graph](g.png) here.\n") == "# Name\n\nLook at the graph here."


def test_a_badge_that_goes_over_lines_goes_too() -> None:
    assert text("Name\n\n[![Build](https://ci/x.svg)\n](https://ci/x)\n\nText.\n") == "Name\n\nText."


def test_html_in_markdown_becomes_text_and_headings() -> None:
    source = (
        '<h1 align="center">\n  <a href="https://x.y">Name</a>\n</h1>\n'
        '<p align="center">A <b>fast</b> tool &amp; more</p>\n<!-- a\ncomment -->\n'
        "<details><summary>More</summary>\n\nInner `<b>kept</b>` text, List<int> too.\n\n</details>\n"
    )
    assert text(source) == ("# Name\n\nA fast tool & more\n\nMore\n\nInner `<b>kept</b>` text, List<int> too.")


def test_code_blocks_are_left_as_they_are() -> None:
    code = "```python\n# not a heading\n[x](y)\n\n\n<!-- kept --> <p> &amp; \\_\n![a](b)\n```"
    assert text(f"Before\n{code}\nAfter") == f"Before\n{code}\nAfter"
    indented = "    # also code [x](y)\n\n    <b>kept</b>"
    assert indented in text(f"Before\n\n{indented}\n\nAfter")


def test_a_fence_without_an_end_keeps_the_rest_as_code() -> None:
    assert text("```\n# not a heading").splitlines() == ["```", "# not a heading"]


def test_underlined_headings_become_hash_headings() -> None:
    assert text("Title\n=====\nText\n\nSection\n---\nMore\n") == "# Title\n\nText\n\n## Section\n\nMore"


def test_rules_go_and_never_underline_what_stands_above_them() -> None:
    assert text("Text\n\n---\n\n***\nMore\n") == "Text\n\nMore"


@pytest.mark.parametrize(
    "contents",
    [
        "## Table of Contents\n\n- [One](#one)\n- [Two](#two)\n",
        "Contents\n--------\n1. [One](#one)\n   - [Two](#two)\n\n",
        "- [One](#one)\n- [Two](#two)\n- [Three](#three)\n",
        "[TOC]\n",
        "[[_TOC_]]\n",
    ],
)
def test_tables_of_contents_go_with_their_heading(contents: str) -> None:
    assert text(f"# Name\n\n{contents}\n## One\n\nText.\n") == "# Name\n\n## One\n\nText."


def test_a_list_of_links_to_other_documents_is_content() -> None:
    assert text("## Contents\n\n- [One](one.md)\n- [Two](two.md)\n") == "## Contents\n\n- One\n- Two"


def test_marks_behind_headings_that_link_to_themselves_go() -> None:
    assert text("## Section[¶](#section)\n\nText.") == "## Section\n\nText."


def test_escapes_that_only_markdown_needs_go() -> None:
    assert text(r"snake\_case\! and \[brackets\]") == "snake_case! and [brackets]"
    assert text("\\# not a heading") == "\\# not a heading"


def test_plain_text_has_headings_where_lines_are_underlined_and_nowhere_else() -> None:
    tidied = from_plain_text("Name\n====\n\n# a comment\n\nleft   right\n------------------------\n<b> [x](y)\n")
    assert tidied.title == "Name"
    assert [level for level, _ in headings(tidied.markdown)] == [1]
    assert "<b> [x](y)" in tidied.markdown
    assert tidied.targets == ()


MARKDOWN = st.lists(
    st.one_of(
        st.sampled_from(
            ["# A", "Title\n===", "```", "~~~", "- x", "[a](b)", "![a](b)", "<!--", "-->", "<p>", "---", "`"]
        ),
        st.sampled_from(
            ["[a]: b", "> q", "    code", "| a | b |", "&lt;", "\\_", "<h2>x</h2>", "- [a](#a)", "[TOC]", ""]
        ),
        st.text(max_size=20),
    ),
    max_size=30,
).map("\n".join)


@given(MARKDOWN)
def test_whatever_comes_in_the_output_is_bounded_and_has_single_empty_lines_outside_code(source: str) -> None:
    tidied = tidy(source)
    assert len(tidied.markdown) <= 3 * len(source) + 10
    if "`" not in source and "~" not in source and "    " not in source and "\t" not in source:
        assert "\n\n\n" not in tidied.markdown


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "![",
        "`",
        "``` `",
        "<",
        "<!--",
        "<a ",
        "[a](",
        "[a][",
        "&",
        "\\",
        "<h1>",
        "*",
        "|",
        "- [a](#a",
        "---\n",
        "(",
        "\n",
    ],
)
def test_a_wall_of_any_mark_is_read_in_one_pass(piece: str) -> None:
    # Reading it again from every mark would outlast the time limit of a test.
    tidy(piece * (200_000 // len(piece)))
    tidy(f"# {' ' * 200_000}{piece}")
