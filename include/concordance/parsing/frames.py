"""What the parser's two processes say to each other: frames of JSON and bytes. Pure.

A frame is two unsigned 32-bit lengths (big-endian), a JSON header and a body. Nothing is ever unpickled: the child
reads hostile documents, so that what it answers is checked like any other input.
"""

from __future__ import annotations

import json
import struct
from typing import Any

LENGTHS = struct.Struct(">II")
MAX_HEADER_BYTES = 16_000_000


class BadFrame(ValueError):
    """What came is no frame of this protocol."""


def pack(header: dict[str, Any], body: bytes = b"") -> bytes:
    encoded = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return LENGTHS.pack(len(encoded), len(body)) + encoded + body


def lengths(prefix: bytes, *, max_body_bytes: int) -> tuple[int, int]:
    """Header and body length from the first `LENGTHS.size` bytes. Raises `BadFrame` beyond the limits."""
    header_bytes, body_bytes = LENGTHS.unpack(prefix)
    if header_bytes > MAX_HEADER_BYTES or body_bytes > max_body_bytes:
        raise BadFrame("a frame is larger than allowed")
    return header_bytes, body_bytes


def unpack_header(encoded: bytes) -> dict[str, Any]:
    """The JSON object of a header. Raises `BadFrame`."""
    try:
        header = json.loads(encoded)
    except ValueError:
        raise BadFrame("a header is not JSON") from None
    if not isinstance(header, dict):
        raise BadFrame("a header is not a JSON object")
    return header
