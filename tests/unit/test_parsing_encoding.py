"""Bytes to clean text: what is told, what is refused, what is removed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance.parsing.encoding import BadEncoding, clean, decode, html_charset, is_binary

SENTENCE = "Straße, naïve café: 10 € for the Übung.\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_text_reads_the_same_from_every_encoding_that_can_be_told(encoding: str) -> None:
    assert decode((SENTENCE * 20).encode(encoding)) == SENTENCE * 20


def test_a_stated_charset_is_believed_when_it_fits() -> None:
    content = "Привет, мир. Это обычный текст.".encode("koi8-r")
    assert decode(content, charset="koi8-r") == "Привет, мир. Это обычный текст."
    assert html_charset(b'<meta http-equiv="x" content="text/html; charset=KOI8-R">') == "KOI8-R"


@pytest.mark.parametrize(
    "content",
    [
        "Привет, мир. Это обычный текст.".encode("koi8-r"),
        "これは日本語の文章です。".encode("shift-jis"),
        bytes(range(0x80, 0x100)) * 4,
        b"\xef\xbb\xbf\xff\xfe\xff after a mark",
        b"\xff\xfe\x00\xd8\x00",
        "text ".encode("utf-16-le") * 20 + b"\x00\xd8",
    ],
)
def test_what_cannot_be_told_is_refused_and_not_guessed(content: bytes) -> None:
    with pytest.raises(BadEncoding):
        decode(content)


def test_a_few_broken_bytes_in_good_utf8_are_left_out() -> None:
    content = (SENTENCE * 100).encode() + b"\xed\xa0\x80 overlong \xc0\xaf end"
    assert decode(content).endswith("overlong  end")


@pytest.mark.parametrize(("content", "binary"), [(b"a\x00\x01\x02b" * 9, True), (b"text", False), (b"", False)])
def test_zero_bytes_tell_binary_content(content: bytes, binary: bool) -> None:
    assert is_binary(content) is binary
    assert not is_binary(SENTENCE.encode("utf-16-le"))


def test_nul_controls_marks_and_surrogates_go_and_line_ends_are_one() -> None:
    hostile = "a\x00b\x1b[31mc\ufeffd\u202ee\u200bf\u00adg\ud800h\r\ni\rj\u2028k\x85l\x0cm\tn"
    assert clean(hostile) == "ab[31mcdefgh\ni\nj\nk\nl\n\nm\tn"


def test_joiners_that_scripts_and_emoji_need_stay() -> None:
    family = "\U0001f469\u200d\U0001f467 \u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert clean(family) == family


def test_an_endless_run_of_combining_marks_is_cut_before_it_is_sorted() -> None:
    run = "e" + "\u0301\u0323" * 200_000
    assert len(clean(run)) <= 10


@given(st.text())
def test_clean_text_can_be_stored_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert "\x00" not in cleaned
    assert "\r" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert clean(cleaned) == cleaned


@given(st.binary())
def test_whatever_bytes_come_they_are_text_or_refused(content: bytes) -> None:
    try:
        text = decode(content)
    except BadEncoding:
        return
    assert text.encode().decode() == text
