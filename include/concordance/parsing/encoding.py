"""Bytes to clean text: which encoding, and which characters stay. Pure.

Encodings are told by their marks, then by what decodes without a fault: UTF-8, UTF-16 without a mark by its zero bytes,
Western single-byte text. Nothing is guessed beyond that: a wrong guess would index rubbish that nobody notices.
Text is cleaned of what no store or reader wants: NUL and control characters, lone surrogates, byte-order marks,
direction overrides, invisible breaks and endless runs of combining marks; it comes out in NFC with `\\n` line ends.
"""

from __future__ import annotations

import codecs
import re
import sys
import unicodedata
from functools import lru_cache

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 65_536
_MIN_GOOD_PER_FAULT = 10
_MIN_ZERO_SHARE = 0.4
_MAX_ZERO_SHARE = 0.02
_MAX_WESTERN_SHARE = 0.25
_MAX_COMBINING = 8

# C0 but tab and line feed, DEL and C1, surrogates, marks of order and direction, invisible breaks, noncharacters.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_LINE_ENDS = re.compile("\r\n|[\r\x85\u2028\u2029]")
# A range is looked through ten times as fast as the list of all marks, and most text has no such run.
_PERHAPS_COMBINING = re.compile(f"[\u0300-\U0010ffff]{{{_MAX_COMBINING + 1},}}")
_FORM_FEED = re.compile("\x0c")
_META_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)


class BadEncoding(ValueError):
    """The bytes are text in no encoding that can be told."""


def is_binary(content: bytes) -> bool:
    """Whether these bytes are no text: zero bytes that no wide encoding explains."""
    sample = content[:_SAMPLE_BYTES]
    return b"\x00" in sample and not _has_mark(content) and _wide(sample) is None


def decode(content: bytes, *, charset: str | None = None) -> str:
    """The text, cleaned. `charset` is what the document itself states. Raises `BadEncoding`."""
    return clean(_decoded(content, charset))


def html_charset(content: bytes) -> str | None:
    """The charset that an HTML page states in its head."""
    found = _META_CHARSET.search(content[:4096])
    return found[1].decode("ascii") if found else None


def clean(text: str) -> str:
    """The text without what does not belong into one; see the module."""
    text = _FORM_FEED.sub("\n\n", _LINE_ENDS.sub("\n", text))
    text = _UNWANTED.sub("", text)
    if text.isascii():
        return text
    # Normalisation sorts a run of combining marks in quadratic time: an endless run would stop the process.
    if _PERHAPS_COMBINING.search(text):
        text = _combining_runs().sub(lambda run: run[0][:_MAX_COMBINING], text)
    return unicodedata.normalize("NFC", text)


def _decoded(content: bytes, charset: str | None) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _strictly(content[len(mark) :] if encoding == "utf-8" else content, encoding)
    if wide := _wide(content[:_SAMPLE_BYTES]):
        return _strictly(content, wide)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if charset and charset.lower().replace("_", "-") not in ("utf-8", "utf8"):
        try:
            return content.decode(charset)
        except (UnicodeDecodeError, LookupError):
            pass
    return _damaged_utf8(content) or _western(content)


def _strictly(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise BadEncoding(f"not valid {encoding}") from None


def _has_mark(content: bytes) -> bool:
    return any(content.startswith(mark) for mark, _ in _MARKS)


def _wide(sample: bytes) -> str | None:
    """UTF-16 without a mark: in Western text nearly every second byte is zero, and it is always the same half."""
    if len(sample) < 4:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    encoding = None
    if odd > _MIN_ZERO_SHARE * half and even <= _MAX_ZERO_SHARE * half:
        encoding = "utf-16-le"
    elif even > _MIN_ZERO_SHARE * half and odd <= _MAX_ZERO_SHARE * half:
        encoding = "utf-16-be"
    if encoding is None:
        return None
    # Small binary numbers have zero bytes in the same places, and read as control characters.
    text = sample[: 2 * half].decode(encoding, "replace")
    return None if len(_UNWANTED.findall(text)) > _MAX_ZERO_SHARE * half else encoding


def _damaged_utf8(content: bytes) -> str | None:
    """UTF-8 with a few broken bytes among many good sequences, None for anything else."""
    text = content.decode("utf-8", "replace")
    faults = text.count("\ufffd")
    good = len(_BEYOND_ASCII.findall(text)) - faults
    if good < _MIN_GOOD_PER_FAULT * faults:
        return None
    return text.replace("\ufffd", "")


def _western(content: bytes) -> str:
    high = sum(1 for byte in content[:_SAMPLE_BYTES] if byte > 0x7F)
    if high > _MAX_WESTERN_SHARE * min(len(content), _SAMPLE_BYTES) or b"\x00" in content:
        raise BadEncoding("neither UTF-8 nor UTF-16 nor Western text")
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        raise BadEncoding("neither UTF-8 nor UTF-16 nor Western text") from None
    letters = sum(1 for character in text[:_SAMPLE_BYTES] if character > "\x7f" and character.isalpha())
    if letters * 2 < high:
        raise BadEncoding("neither UTF-8 nor UTF-16 nor Western text")
    return text


@lru_cache(maxsize=1)
def _combining_runs() -> re.Pattern[str]:
    marks = [code for code in range(0x300, sys.maxunicode + 1) if unicodedata.combining(chr(code))]
    return re.compile("[" + "".join(map(chr, marks)) + f"]{{{_MAX_COMBINING + 1},}}")
