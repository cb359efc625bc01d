"""PDF files as small as they come, object by object."""

from __future__ import annotations

from collections.abc import Sequence

CATALOG, PAGES, FONT, CONTENT = 1, 2, 3, 4
_FIRST_PAGE = 5


def text(words: str) -> bytes:
    """A page's content."""
    return f"BT /F1 12 Tf 72 720 Td ({words}) Tj ET".encode()


def stream(content: bytes, entries: str = "") -> bytes:
    return f"<< /Length {len(content)} {entries} >>\nstream\n".encode() + content + b"\nendstream"


def paged(
    content: bytes,
    *,
    pages: int = 1,
    filters: str = "",
    catalog: str = "",
    trailer: str = "",
    others: Sequence[bytes] = (),
) -> bytes:
    """A document whose pages all show `content`; `others` are objects after its pages, numbered on."""
    kids = " ".join(f"{_FIRST_PAGE + number} 0 R" for number in range(pages))
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 3 0 R >> >>"
    )
    return written(
        [
            f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode(),
            f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>".encode(),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            stream(content, filters),
            *[page + b" >>"] * pages,
            *others,
        ],
        trailer=trailer,
    )


def written(objects: Sequence[bytes], *, trailer: str = "") -> bytes:
    """A file of these objects, numbered from 1; `trailer` are entries beside /Size and /Root."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def first_object_after(pages: int) -> int:
    """The number of the first of `others`."""
    return _FIRST_PAGE + pages
