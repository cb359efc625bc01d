"""Packed documents (zip: word, spreadsheet, slides, books): what is in them, counted while it is unpacked. Pure.

What the headers say of sizes is not believed: every file is unpacked to its end, in pieces that are counted and thrown
away, also those of packed files inside, before a parser sees the document. Only one piece is held in memory, or one
inner packed file. Names are counted, never used as paths.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import IO

from concordance.parsing.limits import Limits, Poison

START = b"PK\x03\x04"
_PIECE_BYTES = 1 << 20
_ANY_RATIO_BYTES = 1_000_000
_MAX_DEPTH = 3
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 1
_NO_END = 1 << 62
_PAGE = re.compile(r"(?:ppt/slides/slide|xl/worksheets/sheet)[^/]*\.xml", re.IGNORECASE)


def check(content: bytes, limits: Limits) -> None:
    """Raises `Poison`."""
    _Count(limits, packed_bytes=len(content)).unpack(content, depth=1)


class _Count:
    def __init__(self, limits: Limits, *, packed_bytes: int) -> None:
        self._limits = limits
        self._max_bytes = min(
            limits.max_expanded_bytes, max(_ANY_RATIO_BYTES, limits.max_expansion_ratio * packed_bytes)
        )
        self._bytes = self._files = self._pages = 0

    def unpack(self, content: bytes, *, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise Poison("too_large", "packed files in packed files, too deeply")
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                files = archive.infolist()
                self._count_files(files, len(content))
                for file in files:
                    self._unpack_file(archive, file, depth)
        except (zipfile.BadZipFile, zlib.error, EOFError):
            raise Poison("parser_failed", "it is packed in a way that cannot be unpacked") from None

    def _count_files(self, files: list[zipfile.ZipInfo], size: int) -> None:
        self._files += len(files)
        self._pages += sum(1 for file in files if _PAGE.fullmatch(file.filename))
        if self._files > self._limits.max_packed_files:
            raise Poison("too_large", "more files packed into it than allowed")
        if self._pages > self._limits.max_pages:
            raise Poison("too_large", "more pages than allowed")
        if sum(file.compress_size for file in files) > size:
            raise Poison("too_large", "its packed files overlap")

    def _unpack_file(self, archive: zipfile.ZipFile, file: zipfile.ZipInfo, depth: int) -> None:
        if file.flag_bits & _ENCRYPTED:
            raise Poison("parser_failed", "it is encrypted")
        if file.compress_type not in _METHODS:
            raise Poison("parser_failed", "it is packed by a method that no document uses")
        # The stated size would end the reading early, and hide what comes after it.
        file.file_size = _NO_END
        with archive.open(file) as stream:
            first = self._piece(stream)
            if first.startswith(START):
                self.unpack(first + self._rest(stream), depth=depth + 1)
            else:
                while self._piece(stream):
                    pass

    def _rest(self, stream: IO[bytes]) -> bytes:
        return b"".join(iter(lambda: self._piece(stream), b""))

    def _piece(self, stream: IO[bytes]) -> bytes:
        piece = stream.read(_PIECE_BYTES)
        self._bytes += len(piece)
        if self._bytes > self._max_bytes:
            raise Poison("too_large", "it unpacks to more than allowed")
        return piece
