"""Blocks that recur across a source's documents: navigation, banners, licence notes. Pure.

What stands in very many documents says nothing about any of them and must not become chunks. Whether a block recurs
depends on all documents, and a document's text must not: editing one would change others that nobody touched, and an
ingest of the changed ones would disagree with a rebuild of all. So the two halves are separate: `recurring_blocks` is
computed once, when an index version is built, and its digests are frozen with that version like the gazetteer;
`strip_blocks` is a pure function of one document and those digests. A new set takes effect with the next rebuild.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from concordance import ids

MIN_BLOCK_CHARACTERS = 20
MAX_DISTINCT_BLOCKS = 2_000_000
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_HEADING = re.compile(r"^ {0,3}#{1,6}\s")


def recurring_blocks(
    documents: Iterable[str],
    *,
    min_documents: int = 10,
    min_fraction: float = 0.05,
    min_characters: int = MIN_BLOCK_CHARACTERS,
) -> frozenset[str]:
    """Digests of the blocks that stand in at least `min_documents` documents and in `min_fraction` of all.

    A block counts once a document. Headings and code never count: the first give other blocks their place, the second
    is content even where it is common (`pip install x`). Memory is bounded: past `MAX_DISTINCT_BLOCKS` different blocks
    those seen once are forgotten. The result does not depend on the documents' order below that bound.
    """
    seen: Counter[str] = Counter()
    count = 0
    for document in documents:
        count += 1
        seen.update({_digest(block) for block in blocks(document) if _counts(block, min_characters)})
        if len(seen) > MAX_DISTINCT_BLOCKS:
            seen = Counter({digest: times for digest, times in seen.items() if times > 1})
    needed = max(min_documents, 2, min_fraction * count)
    return frozenset(digest for digest, times in seen.items() if times >= needed)


def strip_blocks(markdown: str, digests: frozenset[str]) -> str:
    """The document without the blocks of `digests`; a document that would be left without a word stays as it is."""
    if not digests:
        return markdown
    kept = [block for block in blocks(markdown) if not (_counts(block, 0) and _digest(block) in digests)]
    if not any(_counts(block, 0) and any(map(str.isalnum, block)) for block in kept):
        return markdown
    return "\n\n".join(kept)


def blocks(markdown: str) -> Iterator[str]:
    """The document's blocks: what empty lines part, a code block whole."""
    held: list[str] = []
    fence = ""
    for line in markdown.split("\n"):
        opening = _FENCE.match(line)
        if fence:
            stripped = line.strip()
            if stripped and set(stripped) == {fence[0]} and len(stripped) >= len(fence):
                fence = ""
        elif opening:
            fence = opening[1]
        if line.strip() or fence:
            held.append(line)
        elif held:
            yield "\n".join(held)
            held = []
    if held:
        yield "\n".join(held)


def _counts(block: str, min_characters: int) -> bool:
    return len(block) >= min_characters and not _HEADING.match(block) and not _FENCE.match(block)


def _digest(block: str) -> str:
    return ids.text_digest(" ".join(block.split()).casefold())
