"""Relative links become links between the documents of one source; recurring blocks are found and stripped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance.model import Link, LinkKind
from concordance.parsing.boilerplate import blocks, recurring_blocks, strip_blocks
from concordance.parsing.links import MAX_LINKS, resolve, resolve_links


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("other.md", "guides/other.md"),
        ("./other.md#part", "guides/other.md"),
        ("../top.md?x=1", "top.md"),
        ("deep/er.md", "guides/deep/er.md"),
        ("/from/root.md", "from/root.md"),
        ("caf%C3%A9.md", "guides/café.md"),
        ("cafe\u0301.md", "guides/café.md"),
        ("../../outside.md", None),
        ("https://example.org/other.md", None),
        ("//example.org/other.md", None),
        ("mailto:somebody@example.org", None),
        ("#part", None),
        ("", None),
        ("folder/", None),
        ("..", None),
        ("http://[broken", None),
        ("a%00b", None),
    ],
)
def test_a_target_resolves_against_the_document_it_stands_in(target: str, expected: str | None) -> None:
    assert resolve(target, uri="guides/install.md") == expected


def test_links_are_sorted_come_once_and_never_name_their_own_document() -> None:
    targets = ["b.md", "a.md#x", "./a.md", "self.md", "https://x.y/z"]
    assert resolve_links(targets, uri="self.md") == (
        Link(LinkKind.REFERENCES, "a.md"),
        Link(LinkKind.REFERENCES, "b.md"),
    )


def test_a_document_has_a_bounded_number_of_links() -> None:
    assert len(resolve_links((f"{number}.md" for number in range(10_000)), uri="a.md")) == MAX_LINKS


PARTS = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1).filter(
    lambda part: part not in (".", "..")
)


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(["..", ".", "a", "", "%2e%2e"])).map("/".join)),
    st.lists(PARTS, min_size=1).map("/".join),
)
def test_whatever_a_target_says_it_never_leaves_the_source(target: str, uri: str) -> None:
    resolved = resolve(target, uri=uri)
    if resolved is not None:
        assert not {"..", "", "."} & set(resolved.split("/"))


BANNER = "This page is part of the handbook and may be copied by anybody."


def corpus(count: int) -> list[str]:
    return [f"# Page {number}\n\n{BANNER}\n\nWhat only page {number} says, and no other." for number in range(count)]


def test_a_banner_on_every_page_is_boilerplate_and_what_one_page_says_is_not() -> None:
    digests = recurring_blocks(corpus(20))
    assert len(digests) == 1
    assert strip_blocks(corpus(1)[0], digests) == "# Page 0\n\nWhat only page 0 says, and no other."


def test_headings_and_code_that_recur_are_content() -> None:
    page = "## Installation of the package\n\n```\npip install the-package-itself\n```"
    assert recurring_blocks([page] * 50) == frozenset()


def test_a_block_that_recurs_inside_one_document_only_is_content() -> None:
    assert recurring_blocks([f"{BANNER}\n\n" * 100, *["other text that is long enough"] * 2]) == frozenset()


def test_the_blocks_found_do_not_depend_on_the_documents_order() -> None:
    assert recurring_blocks(corpus(30)) == recurring_blocks(reversed(corpus(30)))


def test_a_document_depends_on_the_frozen_blocks_and_on_no_other_document() -> None:
    frozen = recurring_blocks(corpus(20))
    edited = [page.replace(BANNER, "gone") for page in corpus(20)]
    assert strip_blocks(corpus(20)[3], frozen) == strip_blocks(corpus(20)[3], frozen | recurring_blocks(edited))


def test_a_document_of_nothing_but_boilerplate_stays_as_it_is() -> None:
    digests = recurring_blocks(corpus(20))
    assert strip_blocks(BANNER, digests) == BANNER


def test_a_code_block_is_one_block_with_its_empty_lines() -> None:
    assert list(blocks("a\n\n```\nx\n\ny\n```\n\nb")) == ["a", "```\nx\n\ny\n```", "b"]
