"""Documents of every kind through the real child process and the real parsers."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator

import pytest

from concordance.errors import PoisonDocument
from concordance.model import ParsedDocument, RawDocument, Reason
from concordance.parsing.parser import Parser
from concordance.settings import Settings

RST = """
=======
 Title
=======

.. image:: https://img.example.org/badge.svg
   :target: https://ci.example.org

.. contents:: Table of contents

Text with ``a_literal``, a `link <https://example.org/x>`_, :func:`~package.run` and |name|.

.. |name| replace:: a substitution

Section
=======

- one item
  that goes on

- another

.. code-block:: python

    print("x")

.. versionadded:: 2.0
   It can do more.

.. include:: /etc/passwd

.. raw:: html

   <b>raw markup</b>
"""
PAGE = """<!DOCTYPE html><html><head><title>Site title</title></head><body>
<header><nav><a href="/home">Home of the site</a></nav></header>
<main><h1>Page<a href="#page">¶</a></h1><p>Text with <a href="../other.html#x">a link</a>.</p>
<pre><code class="language-python">def f():
    return 1
</code></pre><script>alert("script")</script></main><footer>Footer of the site</footer></body></html>"""


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser(Settings()) as parser:
        yield parser


def parse(parser: Parser, content: str | bytes, uri: str, media_type: str | None = None) -> ParsedDocument:
    encoded = content.encode() if isinstance(content, str) else content
    return parser.parse(RawDocument(uri=uri, content=encoded, media_type=media_type))


def reason(parser: Parser, content: str | bytes, uri: str, media_type: str | None = None) -> Reason:
    with pytest.raises(PoisonDocument) as refused:
        parse(parser, content, uri, media_type)
    assert uri in str(refused.value)
    return Reason(refused.value.reason)


def word_document(text: str = "Paragraph text.") -> bytes:
    """A small but real docx: one heading, one paragraph."""
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    package = "http://schemas.openxmlformats.org/package/2006"
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<?xml version="1.0"?><Types xmlns="{package}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<?xml version="1.0"?><Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="r1" Type="{relation}" Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            f'<?xml version="1.0"?><w:document xmlns:w="{word}"><w:body>'
            f'<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr>'
            f"<w:r><w:t>Heading</w:t></w:r></w:p><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>",
        )
    return buffer.getvalue()


def test_markdown_keeps_its_headings_and_gives_title_and_targets(parser: Parser) -> None:
    parsed = parse(parser, "# Title\n\nSee [other](other.md).\n", "a.md")
    assert parsed == ParsedDocument("# Title\n\nSee other.", "Title", ("other.md",))


def test_a_title_that_the_source_gives_comes_before_the_documents_own(parser: Parser) -> None:
    raw = RawDocument(uri="a.md", content=b"# Own\n\ntext", title="Given")
    assert parser.parse(raw).title == "Given"


def test_a_rename_changes_nothing_of_a_document_without_a_title(parser: Parser) -> None:
    assert parse(parser, "Only text.", "before.md") == parse(parser, "Only text.", "after/elsewhere.md")


def test_restructured_text_becomes_markdown_with_its_headings_lists_code_and_roles(parser: Parser) -> None:
    parsed = parse(parser, RST, "a.rst")
    assert parsed.title == "Title"
    lines = parsed.markdown.splitlines()
    assert [line for line in lines if line.startswith("#")] == ["# Title", "## Section"]
    assert "Text with `a_literal`, a link, `run` and a substitution." in lines
    assert "\n".join(["- one item", "  that goes on", "- another"]) in parsed.markdown.replace("\n\n", "\n")
    assert '```python\nprint("x")\n```' in parsed.markdown
    assert "It can do more." in lines
    assert parsed.targets == ("https://example.org/x",)


def test_restructured_text_reads_no_file_and_passes_no_markup(parser: Parser) -> None:
    markdown = parse(parser, RST, "a.rst").markdown
    assert "root:" not in markdown
    assert "raw markup" not in markdown
    assert "badge" not in markdown


def test_a_role_that_one_document_defines_is_unknown_to_the_next(parser: Parser) -> None:
    plain = "Some :custom:`word` here.\n"
    alone = parse(parser, plain, "b.rst")
    parse(parser, ".. role:: custom(strong)\n\n" + plain, "a.rst")
    assert parse(parser, plain, "b.rst") == alone


def test_a_page_is_read_without_the_site_around_it(parser: Parser) -> None:
    parsed = parse(parser, PAGE, "a.html")
    assert parsed.title == "Page"
    assert parsed.targets == ("../other.html#x",)
    assert parsed.markdown == "# Page\n\nText with a link.\n\n```python\ndef f():\n    return 1\n```"


def test_a_page_without_a_heading_has_the_title_of_its_head(parser: Parser) -> None:
    page = "<html><head><title>Only a title</title></head><body><p>Text of the page.</p></body></html>"
    assert parse(parser, page, "a.html").title == "Only a title"


def test_linked_images_below_a_heading_do_not_stop_the_native_parser(parser: Parser) -> None:
    badges = '<a href="x"><img alt="one" src="1"></a> <a href="y"><img alt="two" src="2"></a>'
    page = f"<html><body><h2>Name</h2>\n<p>{badges}</p><p>Text.</p></body></html>"
    assert parse(parser, page, "a.html").markdown == "## Name\n\nText."


def test_a_word_document_is_told_by_its_content_whatever_its_name(parser: Parser) -> None:
    for uri, media_type in (("a.docx", None), ("a.md", "text/markdown"), ("a", None)):
        assert parse(parser, word_document(), uri, media_type).markdown == "# Heading\n\nParagraph text."


def test_a_table_of_values_becomes_a_table(parser: Parser) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["name", "rows"], ["=1+1", "2"]])
    assert "| name | rows |" in parse(parser, buffer.getvalue(), "a.csv").markdown


def test_character_references_bring_no_control_characters_back(parser: Parser) -> None:
    assert parse(parser, "a&#x202e;b&#0;c", "a.md").markdown == "ab\ufffdc"


@pytest.mark.parametrize(
    ("content", "uri", "media_type", "expected"),
    [
        (b"", "empty.md", None, Reason.EMPTY),
        (b"\n  \n---\n", "rule.md", None, Reason.NO_TEXT),
        (b"<html><body><img src=x></body></html>", "image.html", None, Reason.NO_TEXT),
        (b"\x00\x01\x02\x03" * 100, "noise.md", None, Reason.UNKNOWN_FORMAT),
        (b"text", "a", "application/x-nothing-known", Reason.UNKNOWN_FORMAT),
        ("これは日本語の文章です。".encode("shift-jis"), "sjis.md", None, Reason.BAD_ENCODING),
        (b"%PDF-1.4\nbroken", "broken.pdf", None, Reason.PARSER_FAILED),
        (b"PK\x03\x04" + b"\x00" * 50, "broken.docx", None, Reason.PARSER_FAILED),
    ],
)
def test_what_cannot_be_read_is_quarantined_with_its_reason(
    parser: Parser, content: bytes, uri: str, media_type: str | None, expected: Reason
) -> None:
    assert reason(parser, content, uri, media_type) == expected


def test_an_archive_is_no_document(parser: Parser) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner.md", "# Inner")
    assert reason(parser, buffer.getvalue(), "a.zip") == Reason.UNKNOWN_FORMAT


def test_text_beyond_the_limits_is_refused_before_and_after_it_is_read() -> None:
    with Parser(Settings(max_text_bytes=100, max_document_bytes=2000)) as parser:
        assert reason(parser, "x" * 3000, "a.md") == Reason.TOO_LARGE
        assert reason(parser, "x" * 1500, "a.md") == Reason.TOO_LARGE
        assert reason(parser, "x" * 150, "a.md") == Reason.TOO_LARGE
        assert parse(parser, "x" * 100, "a.md").markdown == "x" * 100
