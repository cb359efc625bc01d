"""What one document may be, and how the child process refuses one. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """The settings of these names."""

    max_text_bytes: int
    max_expanded_bytes: int
    max_expansion_ratio: int
    max_packed_files: int
    max_pages: int


class Poison(Exception):
    """This document cannot be read; `reason` is its code, `detail` a fixed phrase that quotes nothing."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
