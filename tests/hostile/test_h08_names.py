"""H08: names inside documents that would lead out of a folder. They are never paths."""

from __future__ import annotations

import zipfile
from pathlib import Path

from concordance.model import Reason
from support.hostile import Batch, Canary, Case, Reader
from support.office import docx, zipped

LONG = "n" * 4_096
DEVICES = ("/dev/zero", "/dev/stdin", "/proc/self/environ", "CON", "NUL", "COM1:", "C:\\Windows\\win.ini")


def climbing(target: Path) -> str:
    return "../" * 30 + str(target).lstrip("/")


def with_names(*names: str) -> bytes:
    return docx("harmless words", others=[(name, "escaped") for name in names])


def escaping(canary: Canary) -> bytes:
    target = canary.file.with_name("escaped.txt")
    return with_names(climbing(target), str(target), climbing(target).replace("/", "\\"))


def linked(canary: Canary) -> bytes:
    """A picture that is a symbolic link to the canary."""
    link = zipfile.ZipInfo("word/media/image1.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    return docx("harmless words", others=[(link, str(canary.file))])


def message(canary: Canary) -> bytes:
    """A mail whose attachments are named by paths."""
    target = canary.file.with_name("escaped.txt")
    parts = "".join(
        f'--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename="{name}"\r\n\r\nescaped\r\n'
        for name in (climbing(target), str(target), *DEVICES, LONG)
    )
    external = f'--b\r\nContent-Type: message/external-body; access-type=URL; URL="{canary.url}"\r\n\r\n\r\n'
    return (
        "From: a@example.org\r\nSubject: harmless words\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
        f"harmless words\r\n{parts}{external}--b--\r\n"
    ).encode()


def book(canary: Canary) -> bytes:
    """A book whose table names a chapter outside of it."""
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    chapters = ("chapter.xhtml", climbing(canary.file), f"file://{canary.file}")
    items = "".join(
        f'<item id="c{number}" href="{name}" media-type="application/xhtml+xml"/>'
        for number, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{number}"/>' for number in range(len(chapters)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata/>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    chapter = '<html xmlns="http://www.w3.org/1999/xhtml"><body><p>harmless words</p></body></html>'
    return zipped(
        [
            ("mimetype", "application/epub+zip"),
            ("META-INF/container.xml", container),
            ("content.opf", package),
            ("chapter.xhtml", chapter),
        ],
        method=zipfile.ZIP_STORED,
    )


CASES = (
    Case("H08-climbing-and-absolute", "climbing.docx", escaping, "harmless words"),
    Case("H08-symlink", "linked.docx", linked, "harmless words"),
    Case("H08-devices", "devices.docx", lambda _: with_names(*DEVICES), "harmless words"),
    Case("H08-long-name", "long.docx", lambda _: with_names(LONG), "harmless words"),
    Case("H08-archive", "climbing.zip", lambda canary: zipped([(climbing(canary.file), "x")]), Reason.UNKNOWN_FORMAT),
    Case("H08-message", "message.eml", message, "harmless words"),
    Case("H08-book", "book.epub", book, "harmless words"),
)


def test_alone(reader: Reader, case: Case) -> None:
    reader.check(case)


def test_in_the_middle_of_fifty_good_ones(batch: Batch) -> None:
    batch.check(CASES)
