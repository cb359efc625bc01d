"""What extract measures of a document's Markdown for the gate of documents, which never sees the text. Pure.

All of it takes time linear in the text, whatever it holds.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from concordance import ids
from concordance.chunking.sections import headings
from concordance.errors import Misconfigured
from concordance.settings import Settings

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# What ISO 639 calls text without a language.
UNKNOWN_LANGUAGES = frozenset({"", "zxx", "und"})

_LANGUAGE_CHARACTERS = 4_000
_REPLACED = "\N{REPLACEMENT CHARACTER}"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_FENCED = re.compile(r"(?ms)^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)|`[^`\n]*`")

_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()]*\)|\[[^\[\]]*\])?")
_DEFINITION = re.compile(r"(?m)^ {0,3}\[[^\[\]]+\]:[^\n]*")
_LINK = re.compile(r"\[[^\[\]]*\](?:\([^()]*\)|\[[^\[\]]*\])")
_ADDRESS = re.compile(r"<[^<>\n]{1,1000}>|https?://[^\s<>]+")
_CONTENTS = re.compile(
    r"(?im)^ {0,3}#{1,6}[ \t]*+(?:table of )?(?:contents?|toc|on this page|in this article)[ \t]*+#*+[ \t]*+$"
    r"(?:\n[ \t]*+(?:$|(?:[-*+]|\d{1,9}[.)])[ \t][^\n]*+)|\n[ \t]++[^\n]*+)*+"
)


@dataclass(frozen=True, slots=True)
class Measures:
    """`language` is an ISO 639-1 code, empty where nobody asked or the text does not tell; `said_characters` are the
    letters and digits that chunks hold in their bodies, so without headings; documents that say the same have the same
    `said_digest`."""

    damaged_characters: int
    language: str
    language_probability: float
    said_characters: int
    said_digest: str


def measure(markdown: str, *, languages: Collection[str], settings: Settings) -> Measures:
    """Measure the Markdown that goes into the chunker. `languages` are those that the source declares, if any."""
    language, probability = _language(markdown, languages, settings) if languages else ("", 0.0)
    return Measures(
        damaged_characters=damage(markdown),
        language=language,
        language_probability=probability,
        said_characters=said(markdown) - said("\n".join(headings(markdown))),
        said_digest=same(markdown),
    )


def damage(text: str) -> int:
    """Characters that a wrong decoding leaves: replacement and control characters, and sequences of mojibake."""
    if text.isascii():
        return len(_CONTROL.findall(text))
    # A fifth of a second to import, and most text is ASCII.
    from ftfy.badness import badness

    foreign = "\n".join(line for line in text.split("\n") if not line.isascii())
    return text.count(_REPLACED) + len(_CONTROL.findall(text)) + badness(foreign)


def said(text: str) -> int:
    """Letters and digits of a text, a document's and a chunk's body alike: without links, images, addresses, comments
    and tables of contents, which chunks may leave out."""
    text = _without_comments(text)
    for pattern in (_CONTENTS, _IMAGE, _DEFINITION, _LINK, _ADDRESS):
        text = pattern.sub(" ", text)
    return sum(map(str.isalnum, text))


def same(text: str) -> str:
    """A digest that texts share which differ only in case and white space."""
    return ids.bytes_digest(" ".join(text.split()).casefold().encode("utf-8", "surrogatepass"))[:32]


@functools.lru_cache(maxsize=1)
def known_languages() -> frozenset[str]:
    """The codes that a source may declare."""
    return frozenset(_identifier().labels) - UNKNOWN_LANGUAGES


def _language(markdown: str, languages: Collection[str], settings: Settings) -> tuple[str, float]:
    """The text's language, and how likely it is one of `languages` (0 to 1). Code and addresses tell nothing. Raises
    `Misconfigured` for a language that the detector does not know."""
    if unknown := sorted(set(languages) - known_languages()):
        raise Misconfigured(
            f"A source declares the languages {', '.join(unknown)}, which cannot be told from texts: take them out of "
            f"the sources file; known are {', '.join(sorted(known_languages()))}"
        )
    prose = _ADDRESS.sub(" ", _FENCED.sub(" ", _without_comments(markdown)))
    sample = " ".join(prose.split())[:_LANGUAGE_CHARACTERS]
    if sum(map(str.isalpha, sample)) < settings.min_language_characters:
        return "", 0.0
    ranked = _identifier().rank(sample)
    language = str(ranked[0][0])
    if language in UNKNOWN_LANGUAGES:
        return "", 0.0
    return language, float(min(1.0, sum(probability for name, probability in ranked if name in languages)))


@functools.lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    # Half a second and 80 MB: only for sources that declare their languages.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _without_comments(text: str) -> str:
    """Without what stands between `<!--` and `-->`; a comment that never ends is text."""
    *before, last = text.split("-->")
    return " ".join([*(part.partition("<!--")[0] for part in before), last])
