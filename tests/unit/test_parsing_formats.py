"""The format of a document: by its content, then by what is declared, then by its name."""

from __future__ import annotations

import pytest

from concordance.parsing.formats import Format, Route, detect
from concordance.parsing.html_page import main_content, page_title, without_images

PDF = b"%PDF-1.7\n\x00\x01binary"
ZIP = b"PK\x03\x04\x14\x00rest"


def route(content: bytes, declared: str | None, name: str) -> Route | None:
    found = detect(content, declared=declared, name=name)
    return found.route if found else None


@pytest.mark.parametrize(
    ("content", "declared", "name", "expected"),
    [
        (b"# A", None, "a.md", Route.MARKDOWN),
        (b"# A", "text/markdown; charset=UTF-8", "a", Route.MARKDOWN),
        (b"# A", "text/plain", "a.md", Route.MARKDOWN),
        (b"A\n=", "text/x-rst", "a.md", Route.RST),
        (b"text", None, "LICENSE", Route.TEXT),
        (b"text", "text/x-python", "a.py", Route.TEXT),
        (b"<html><p>x", "text/plain", "a.txt", Route.HTML),
        (b"\xef\xbb\xbf <!DOCTYPE HTML><p>x", None, "a", Route.HTML),
        (b"a,b\n1,2", None, "a.csv", Route.OFFICE),
        (b"<?xml version='1.0'?><a/>", None, "a", Route.OFFICE),
        (PDF, "text/markdown", "a.md", Route.OFFICE),
        (ZIP, None, "a.txt", Route.OFFICE),
        (b"\x00\x01\x02\x03" * 10, None, "a.md", None),
        (b"\x7fELF\x02\x01\x00\x00", "application/octet-stream", "tool", None),
    ],
)
def test_content_wins_over_the_declared_type_and_that_over_the_name(
    content: bytes, declared: str | None, name: str, expected: Route | None
) -> None:
    assert route(content, declared, name) == expected


def test_a_container_is_told_by_the_native_parser() -> None:
    assert detect(ZIP, declared="text/plain", name="a.txt") == Format(Route.OFFICE, None, is_text=False)


def test_the_main_content_of_a_page_is_what_it_marks_as_such() -> None:
    assert main_content("<nav>x</nav><main><h1>A</h1></main><footer>y</footer>") == "<main><h1>A</h1></main>"
    assert (
        main_content("<div>menu</div><div role='main'><div>a</div>b</div>c") == "<div role='main'><div>a</div>b</div>"
    )
    assert main_content("<article>only</article>") == "<article>only</article>"
    assert main_content("<article>one</article><article>two</article>") is None
    assert main_content('<div class="sphinx body extra">a</div>') == '<div class="sphinx body extra">a</div>'
    assert main_content("<p>nothing marked</p>") is None


def test_marks_in_scripts_and_comments_are_no_content() -> None:
    page = "<script>x = '<main>'</script><!-- <main> --><MAIN id=a>real</MAIN>"
    assert main_content(page) == "<MAIN id=a>real</MAIN>"


def test_a_page_cut_off_in_its_main_content_gives_what_there_is() -> None:
    assert main_content("<nav>x</nav><main><p>cut") == "<main><p>cut"


def test_a_pages_title_is_read_without_its_entities() -> None:
    assert page_title("<head><title lang=en>\n A &amp; B\n</title></head>") == "A & B"
    assert page_title("<p>none</p>") is None


def test_badges_go_and_described_pictures_become_their_description() -> None:
    html = '<a href="x"><img alt="Build status of main" src="y"></a><img alt="How the parts fit" src="z"><img src="q">'
    assert without_images(html) == "How the parts fit"


@pytest.mark.parametrize("piece", ["<main>", "<div ", "<!--", "<script>", "<div class='body'>", "<a><img>", "<img "])
def test_a_wall_of_any_tag_is_read_in_one_pass(piece: str) -> None:
    page = piece * (200_000 // len(piece))
    main_content(page)
    without_images(page)
