"""H03: bytes that are no text, or text in an encoding that nobody named."""

from __future__ import annotations

from concordance.model import Reason
from support.hostile import Batch, Case, Reader, given

CASES = (
    given("H03-invalid-utf-8", "invalid.md", b"\xc3\x28\xa0\xa1\xe2\x28\xa1 words" * 50, Reason.BAD_ENCODING),
    given(
        "H03-few-broken-bytes", "broken.md", ("Stra\u00dfe in K\u00f6ln " * 20).encode() + b"\xff end", "Straße in Köln"
    ),
    given("H03-utf-16-without-mark", "wide.md", "Plain words, widely spaced.".encode("utf-16-le"), "Plain words"),
    given("H03-utf-16-other-order", "wider.md", "Plain words, widely spaced.".encode("utf-16-be"), "Plain words"),
    given("H03-utf-16-odd", "odd.md", b"\xff\xfe" + "words".encode("utf-16-le") + b"\x00", Reason.BAD_ENCODING),
    given(
        "H03-utf-16-lone-surrogate", "lone.md", b"\xff\xfe\x00\xd8" + "words".encode("utf-16-le"), Reason.BAD_ENCODING
    ),
    given("H03-utf-8-surrogates", "surrogates.md", b"words \xed\xa0\x80 and more words", Reason.BAD_ENCODING),
    given("H03-json-surrogate", "surrogate.json", b'{"text": "words \\ud800 and more"}', "words"),
    given("H03-overlong", "overlong.md", b"words \xc0\x80 \xe0\x80\xaf and more words", Reason.BAD_ENCODING),
    given("H03-mixed", "mixed.md", "caf\u00e9 ".encode() * 5 + "caf\u00e9 ".encode("latin-1") * 5, Reason.BAD_ENCODING),
    given("H03-western", "western.md", "caf\u00e9 au lait".encode("cp1252"), "café au lait"),
    given("H03-charset-lies", "lies.html", b"<meta charset=nonsense><p>caf\xe9 au lait", "café au lait"),
    given("H03-utf-7", "seven.html", b"<meta charset=utf-7><p>words +ADw-script+AD4- and more</p>", "words"),
)


def test_alone(reader: Reader, case: Case) -> None:
    reader.check(case)


def test_in_the_middle_of_fifty_good_ones(batch: Batch) -> None:
    batch.check(CASES)
