"""H15: documents that are not what their names say, or two things at once: content decides.

Folders, pipes, devices and links, and files that change while they are read, stand in `test_h15_files`.
"""

from __future__ import annotations

import os
import socket

from concordance.model import Reason
from support import pdf
from support.hostile import Batch, Case, Reader, given
from support.office import docx, zipped

WORDS = pdf.text("harmless words")


def pdf_and_zip() -> bytes:
    """A PDF for who reads its beginning, a zip for who reads its end."""
    return pdf.paged(WORDS) + zipped([("inner.txt", "escaped")])


def page_and_zip() -> bytes:
    return b"<!DOCTYPE html><html><body><p>harmless words</p><!--" + zipped([("inner.txt", "escaped")])


CASES = (
    Case("H15-pdf-and-zip", "both.pdf", lambda _: pdf_and_zip(), "harmless words"),
    Case("H15-page-and-zip", "both.html", lambda _: page_and_zip(), Reason.BAD_ENCODING),
    Case("H15-pdf-named-text", "pdf.txt", lambda _: pdf.paged(WORDS), "harmless words"),
    Case("H15-docx-named-pdf", "docx.pdf", lambda _: docx("harmless words"), "harmless words"),
    given("H15-text-named-pdf", "text.pdf", b"harmless words, and no PDF", Reason.PARSER_FAILED),
    given("H15-text-named-docx", "text.docx", b"harmless words, and no zip", Reason.PARSER_FAILED),
    given("H15-page-named-markdown", "page.md", b"<!DOCTYPE html><html><body><p>harmless words", "harmless words"),
    given("H15-program", "program.md", b"\x7fELF\x02\x01\x01\x00" + bytes(500), Reason.UNKNOWN_FORMAT),
    given("H15-picture", "picture.md", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(100), Reason.UNKNOWN_FORMAT),
    given("H15-picture-named-page", "picture.html", b"GIF89a\x00\x00<html>" + bytes(100), Reason.UNKNOWN_FORMAT),
    given("H15-script-in-page", "script.html", b"<p>harmless words</p><script>alert('x')</script>", "harmless words"),
    given("H15-empty", "empty.md", b"", Reason.EMPTY),
    given("H15-spaces", "spaces.md", b" \n\t\n", Reason.NO_TEXT),
    given("H15-rule", "rule.md", b"\n\n---\n\n", Reason.NO_TEXT),
)


def test_alone(reader: Reader, case: Case) -> None:
    reader.check(case)


def test_in_the_middle_of_fifty_good_ones(batch: Batch) -> None:
    """Besides what is no file at all: that is no document either, and nothing waits for it."""
    os.mkfifo(batch.folder / "m-pipe.md")
    (batch.folder / "m-folder.md").mkdir()
    (batch.folder / "m-device.md").symlink_to("/dev/zero")
    (batch.folder / "m-canary.md").symlink_to(batch.canary.file)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(batch.folder / "m-socket.md"))
        batch.check(CASES)
