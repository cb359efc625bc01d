"""Documents with marks in everything that they say, and the search for the marks where they must not be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

PARTS = ("text", "title", "heading", "author", "keyword", "poison")


def mark(part: str) -> str:
    """A word that nothing else contains."""
    return f"mark{hashlib.sha256(part.encode()).hexdigest()[:20]}"


MARKS = {part: mark(part) for part in PARTS}


def markdown(number: int) -> str:
    return (
        f"---\ntitle: A title {MARKS['title']}\n---\n\n# The heading {MARKS['heading']} of note {number}\n\n"
        f"What it says is {MARKS['text']}, and nobody else says this sentence number {number}.\n"
    )


def install(folder: Path, name: str) -> None:
    """An installed package: its README is the text, its authors and keywords become entities."""
    (folder / f"{name}-1.0.dist-info").mkdir(parents=True)
    metadata = (
        f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nSummary: {MARKS['title']}\n"
        f"Author: Ada {MARKS['author']}\nKeywords: {MARKS['keyword']},graphs\n\n"
        f"# {name}\n\nThis package says {MARKS['text']} in its README.\n"
    )
    (folder / f"{name}-1.0.dist-info" / "METADATA").write_text(metadata)


def poison(folder: Path) -> None:
    """Documents that their readers refuse, each in its own way."""
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\n1 0 obj << /Title (" + MARKS["poison"].encode() + b") >>\n%%EOF")
    (folder / "broken.docx").write_bytes(b"PK\x03\x04" + MARKS["poison"].encode() * 40)
    wordless(folder / "wordless.md")


def wordless(path: Path) -> None:
    """A document without text to index."""
    path.write_text(f"<!-- {MARKS['poison']} -->\n")


def found(files: Iterable[Path], *, marks: Iterable[str]) -> list[str]:
    """Where a mark stands, as `file: the line's beginning`."""
    wanted = [each.encode() for each in marks]
    return [
        f"{path}: {line[:300]!r}"
        for path in files
        if path.is_file()
        for line in path.read_bytes().splitlines()
        if any(each in line for each in wanted)
    ]
