"""H01: documents that unpack to more than they seem."""

from __future__ import annotations

import random
import struct
import zipfile
from functools import cache

import pytest

from concordance.errors import PoisonDocument
from concordance.model import RawDocument, Reason
from concordance.parsing.parser import Parser
from concordance.settings import load_settings
from support.hostile import Batch, Case, Reader, given
from support.office import docx, pptx, xlsx, zipped, zipped_repeat

MEGABYTE = b"A" * 1_000_000
TYPES = [("[Content_Types].xml", "<Types/>")]
MAIN = "word/document.xml"


@cache
def bomb(megabytes: int, *, name: str = MAIN) -> bytes:
    return zipped_repeat(name, MEGABYTE, megabytes, others=TYPES)


def lying(megabytes: int) -> bytes:
    """A bomb whose headers, both of them, say a kilobyte."""
    true, stated = struct.pack("<I", megabytes * 1_000_000), struct.pack("<I", 1_000)
    content = bomb(megabytes)
    assert content.count(true) == 2
    return content.replace(true, stated)


def nested(depth: int, inner: bytes) -> bytes:
    for level in range(depth):
        inner = zipped([(f"{level}.zip", inner)], method=zipfile.ZIP_STORED)
    return docx("outside", others=[("word/embeddings/inner.zip", inner)])


def overlapping(times: int) -> bytes:
    """A zip whose directory names the bytes of one file many times."""
    single = zipped([*TYPES, (MAIN, b"A" * 900_000)])
    end = single.rindex(b"PK\x05\x06")
    (size, start) = struct.unpack("<II", single[end + 12 : end + 20])
    types, _, file = single[start:end].partition(b"PK\x01\x02")[2].partition(b"PK\x01\x02")
    directory = b"PK\x01\x02" + types + times * (b"PK\x01\x02" + file)
    assert size == end - start
    return (
        single[:start]
        + directory
        + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, times + 1, times + 1, len(directory), start, 0)
    )


def encrypted() -> bytes:
    """The flag alone: no parser gets further without a password."""
    content = bytearray(docx("secret"))
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(start)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(start, place + 4)
    return bytes(content)


CASES = (
    Case("H01-flat-docx", "flat.docx", lambda _: bomb(101), Reason.TOO_LARGE),
    Case("H01-flat-xlsx", "flat.xlsx", lambda _: bomb(101, name="xl/worksheets/sheet1.xml"), Reason.TOO_LARGE),
    Case("H01-plain-bomb", "plain.zip", lambda _: bomb(101, name="text.txt"), Reason.TOO_LARGE),
    Case("H01-ratio-alone", "ratio.docx", lambda _: bomb(30), Reason.TOO_LARGE),
    Case("H01-headers-lie", "lying.docx", lambda _: lying(101), Reason.TOO_LARGE),
    Case("H01-nested-bomb", "nested.docx", lambda _: nested(1, bomb(101)), Reason.TOO_LARGE),
    Case("H01-nested-deeply", "deep.docx", lambda _: nested(2, zipped([("x", "y")])), Reason.TOO_LARGE),
    Case("H01-overlapping", "overlapping.docx", lambda _: overlapping(50), Reason.TOO_LARGE),
    Case(
        "H01-many-files",
        "many.docx",
        lambda _: docx("text", others=[(f"word/{number}.xml", "") for number in range(10_001)]),
        Reason.TOO_LARGE,
    ),
    Case("H01-encrypted", "encrypted.docx", lambda _: encrypted(), Reason.PARSER_FAILED),
    Case(
        "H01-other-method",
        "bzip.docx",
        lambda _: zipped([*TYPES, (MAIN, MEGABYTE)], method=zipfile.ZIP_BZIP2),
        Reason.PARSER_FAILED,
    ),
    Case("H01-truncated", "truncated.docx", lambda _: docx("text")[:-30], Reason.PARSER_FAILED),
    given("H01-gzip", "bomb.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + bytes(1000), Reason.UNKNOWN_FORMAT),
    Case("H01-archive", "archive.zip", lambda _: zipped([("a.txt", "hello")]), Reason.UNKNOWN_FORMAT),
    Case("H01-too-many-slides", "deck.pptx", lambda _: pptx(["slide"] * 2_001), Reason.TOO_LARGE),
    Case("H01-too-many-sheets", "book.xlsx", lambda _: xlsx(["cell"] * 2_001), Reason.TOO_LARGE),
    Case("H01-harmless-docx", "good.docx", lambda _: docx("harmless words"), "harmless words"),
    Case("H01-harmless-inside", "inside.docx", lambda _: nested(1, zipped([("x", "y")])), "outside"),
)


def test_alone(reader: Reader, case: Case) -> None:
    reader.check(case)


def test_in_the_middle_of_fifty_good_ones(batch: Batch) -> None:
    batch.check(CASES)


def test_the_total_is_counted_where_the_ratio_is_modest() -> None:
    """A million bytes more or less, packed one by one: no ratio tells."""
    with Parser(load_settings({"max_expanded_bytes": 1_000_000}, environment={})) as parser:
        for size, is_refused in ((900_000, False), (1_000_001, True)):
            files = [("word/media/noise.bin", random.Random(size).randbytes(size))]
            raw = RawDocument("noise.docx", docx("harmless words", others=files))
            if is_refused:
                with pytest.raises(PoisonDocument) as refused:
                    parser.parse(raw)
                assert refused.value.reason == Reason.TOO_LARGE
            else:
                assert parser.parse(raw).markdown == "harmless words"
