"""Names of files as uris: NFC, valid text, one uri a name. Pure.

Two spellings of one name (Unicode composed and decomposed) are one uri, and the same one of them is listed and read:
the one that is spelled like the uri, else the first in byte order. Bytes that are not UTF-8 are written as `%XX`.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable


def uri_name(name: str) -> str:
    """The uri's spelling of one file name."""
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        raw = name.encode("utf-8", "surrogateescape")
        name = "".join(
            f"%{ord(character) - 0xDC00:02X}" if 0xDC80 <= ord(character) <= 0xDCFF else character
            for character in raw.decode("utf-8", "surrogateescape")
        )
    return unicodedata.normalize("NFC", name)


def by_uri_name(names: Iterable[str]) -> dict[str, str]:
    """One name for each uri name among the names of one folder."""
    chosen: dict[str, str] = {}
    for name in names:
        uri = name if name.isascii() else uri_name(name)
        if uri not in chosen or name == uri or (chosen[uri] != uri and os.fsencode(name) < os.fsencode(chosen[uri])):
            chosen[uri] = name
    return chosen
