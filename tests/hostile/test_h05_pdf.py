"""H05: PDF files that run in circles, swell, start programs or end too early."""

from __future__ import annotations

import zlib
from functools import cache

from concordance.model import Reason
from support import pdf
from support.hostile import Batch, Canary, Case, Reader, given

WORDS = pdf.text("harmless words")


def circular_xref() -> bytes:
    """The table of objects says that the one before it is itself."""
    content = pdf.paged(WORDS, trailer="/Prev 000")
    return content.replace(b"/Prev 000", b"/Prev %03d" % content.index(b"xref\n"))


@cache
def flate_bomb(megabytes: int, *, times: int) -> bytes:
    content = WORDS + b" " * (megabytes * 1_000_000)
    for _ in range(times):
        content = zlib.compress(content, 9)
    return pdf.paged(content, filters=f"/Filter [{'/FlateDecode ' * times}]")


def lzw_bomb(megabytes: int) -> bytes:
    """Each code stands for one byte more than the one before: a row of them grows with its square."""
    bits, count, width, codes = 0, 0, 9, 258
    row = [256, 32]
    while codes < 4095:
        row.append(codes)
        codes += 1
    packed = bytearray()
    width, known = 9, 257
    for code in row:
        bits, count = (bits << width) | code, count + width
        while count >= 8:
            count -= 8
            packed.append(bits >> count & 0xFF)
        bits &= (1 << count) - 1
        if code != 256:
            known += 1
            width = 9 if known < 511 else 10 if known < 1023 else 11 if known < 2047 else 12
    each = 3836 * 3837 // 2
    return pdf.paged(bytes(packed) * max(1, megabytes * 1_000_000 // each), filters="/Filter /LZWDecode")


def launching(canary: Canary) -> bytes:
    target = str(canary.file)
    actions = (
        f"/OpenAction << /S /Launch /F ({target}) /Win << /F (cmd.exe) >> >> "
        f"/AA << /WC << /S /URI /URI ({canary.url}) >> /DS << /S /SubmitForm /F ({canary.url}) >> >>"
    )
    return pdf.paged(WORDS, catalog=actions)


def external_stream(canary: Canary) -> bytes:
    """The page's content is said to lie in a file of this machine."""
    return pdf.paged(WORDS, filters=f"/F ({canary.file}) /FFilter /FlateDecode")


def attached(canary: Canary) -> bytes:
    """A file whose name would lead out of any folder."""
    name = "../" * 30 + str(canary.file.with_name("escaped.txt")).lstrip("/")
    number = pdf.first_object_after(1)
    names = f"/Names << /EmbeddedFiles << /Names [({name}) {number} 0 R] >> >>"
    spec = f"<< /Type /Filespec /F ({name}) /UF ({name}) /EF << /F {number + 1} 0 R >> >>".encode()
    return pdf.paged(WORDS, catalog=names, others=[spec, pdf.stream(b"attached", "/Type /EmbeddedFile")])


CASES = (
    Case("H05-circular-xref", "xref.pdf", lambda _: circular_xref(), "harmless words"),
    Case(
        "H05-circular-pages",
        "pages.pdf",
        lambda _: pdf.written([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"]),
        Reason.PARSER_FAILED,
    ),
    Case("H05-flate-bomb", "flate.pdf", lambda _: flate_bomb(101, times=1), Reason.NO_TEXT),
    Case("H05-flate-twice", "twice.pdf", lambda _: flate_bomb(101, times=2), Reason.NO_TEXT),
    Case("H05-lzw-bomb", "lzw.pdf", lambda _: lzw_bomb(101), Reason.NO_TEXT),
    given("H05-inline-image", "inline.pdf", pdf.paged(b"q BI /W 10 /H 10 /BPC 8 ID " + bytes(1000)), Reason.NO_TEXT),
    Case(
        "H05-huge-size",
        "size.pdf",
        lambda _: pdf.paged(WORDS).replace(b"/Size 6", b"/Size 2147483647"),
        "harmless words",
    ),
    Case(
        "H05-javascript",
        "script.pdf",
        lambda _: pdf.paged(WORDS, catalog="/OpenAction << /S /JavaScript /JS (app.alert\\(1\\)) >>"),
        "harmless words",
    ),
    Case("H05-launch", "launch.pdf", launching, "harmless words"),
    Case("H05-external-stream", "external.pdf", external_stream, "harmless words"),
    Case("H05-attachment", "attached.pdf", attached, "harmless words"),
    Case(
        "H05-encrypted",
        "encrypted.pdf",
        lambda _: pdf.paged(
            WORDS,
            trailer=f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'41' * 32}> /U <{'42' * 32}> /P -4 >> /ID [<0><0>]",
        ),
        Reason.PARSER_FAILED,
    ),
    Case("H05-truncated", "truncated.pdf", lambda _: pdf.paged(WORDS, pages=3)[:400], Reason.PARSER_FAILED),
    Case("H05-no-trailer", "tail.pdf", lambda _: pdf.paged(WORDS, pages=3)[:-200], "harmless words"),
    Case("H05-too-many-pages", "long.pdf", lambda _: pdf.paged(WORDS, pages=2_001), Reason.TOO_LARGE),
    given("H05-ring", "ring.pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 1 0 R>>endobj", Reason.PARSER_FAILED),
)


def test_alone(reader: Reader, case: Case) -> None:
    reader.check(case)


def test_in_the_middle_of_fifty_good_ones(batch: Batch) -> None:
    batch.check(CASES)
