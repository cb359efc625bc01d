"""BM25 terms and their sparse vectors: the words of a text as a search engine for technical documents sees them.

Words become Snowball English stems without stop words; an identifier is indexed whole and in parts (`pd.read_csv`:
`pd.read_csv`, `read_csv`, `pd`, `read`, `csv`; `DataFrame`: `dataframe`, `data`, `frame`), so that a question finds it
by its name and by its words. Runs of Chinese or Japanese characters become pairs. A document's vector carries the term
weights of Okapi BM25 (S. Robertson, H. Zaragoza, "The Probabilistic Relevance Framework", 2009); the store multiplies
by the inverse document frequency. Vectors of two rules must not meet in one index: whoever changes the terms raises
`splitter.CHUNKER_REVISION`.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Any

import Stemmer

from concordance.chunking.words import STOP_WORDS
from concordance.model import IndexSettings, SparseVector

_MAX_PARTED_CHARACTERS = 64
_MAX_TERM_CHARACTERS = 256
_CACHED_TOKENS = 65_536

# An identifier: words joined by dots, underscores or hyphens. C++, C# and .NET keep their sign.
_TOKEN = re.compile(r"\w+(?:[.\-]\w+)*(?:\+\+|#)?")
_SIMPLE = re.compile(r"[^\W\d_]+")
# Humps of CamelCase and numbers: "HTTPServer26" is http, server, 26. A single character is no part worth finding.
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PART_OF_OTHER_SCRIPTS = re.compile(r"[^\W\d_]+|\d+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def terms(text: str) -> Counter[str]:
    """The terms of a text and how often each occurs."""
    found: Counter[str] = Counter()
    for token, count in Counter(_TOKEN.findall(_composed(text))).items():
        for term in _terms_of(token):
            found[term] += count
    return found


def document_vector(text: str, settings: IndexSettings) -> SparseVector:
    """BM25 weights without the IDF: `tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average))`, length in terms."""
    counts = terms(text)
    k1, b = settings.bm25_k1, settings.bm25_b
    length_share = counts.total() / settings.bm25_average_tokens
    saturation = k1 * (1.0 - b + b * length_share)
    return _sparse({term: count * (k1 + 1.0) / (count + saturation) for term, count in counts.items()})


def query_vector(text: str) -> SparseVector:
    """How often each term occurs in the query; the dot product with a document's vector is its BM25 score."""
    return _sparse({term: float(count) for term, count in terms(text).items()})


def _sparse(weights: dict[str, float]) -> SparseVector:
    """Sorted term ids; the weights of terms that share an id are added."""
    by_id: dict[int, float] = {}
    # In the order of the terms: the sum of floats must not depend on the order of the text.
    for term in sorted(weights):
        number = _term_id(term)
        by_id[number] = by_id.get(number, 0.0) + weights[term]
    indices = tuple(sorted(by_id))
    return SparseVector(indices=indices, values=tuple(by_id[number] for number in indices))


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _terms_of(token: str) -> tuple[str, ...]:
    # Very long tokens (base64, minified code) are terms as they are, and do not fill the cache.
    if len(token) > _MAX_PARTED_CHARACTERS and not _CJK.search(token):
        return (token[:_MAX_TERM_CHARACTERS].casefold(),)
    return _cached_terms(token) if len(token) <= _MAX_PARTED_CHARACTERS else _parted(token)


@lru_cache(maxsize=_CACHED_TOKENS)
def _cached_terms(token: str) -> tuple[str, ...]:
    return _parted(token)


def _parted(token: str) -> tuple[str, ...]:
    """The terms of one token, each once."""
    if _CJK.search(token):
        return tuple(_pairs(token))
    found = [_term(token)]
    names = re.split(r"[.\-]", token)
    if len(names) > 1:
        found += [_term(name) for name in names if len(name) > 1 and not _SIMPLE.fullmatch(name)]
    parts = (_PART if token.isascii() else _PART_OF_OTHER_SCRIPTS).findall(token)
    if len(parts) > 1:
        found += [_term(part) for part in parts if len(part) > 1]
    return tuple(dict.fromkeys(term for term in found if term and term not in STOP_WORDS))


def _term(word: str) -> str:
    folded = word.strip("_").casefold()
    if folded in STOP_WORDS:
        return ""
    return _stem(folded) if folded.isascii() and folded.isalpha() else folded


def _pairs(token: str) -> list[str]:
    found = [part.casefold() for part in _CJK.split(token) if part.strip("_")]
    for run in _CJK.findall(token):
        found += [run[start : start + 2] for start in range(max(1, len(run) - 1))]
    return found


_stemmers = threading.local()


def _stem(word: str) -> str:
    # A Snowball stemmer keeps the word that it works on: one for each thread.
    stemmer: Any = getattr(_stemmers, "english", None)
    if stemmer is None:
        stemmer = _stemmers.english = Stemmer.Stemmer("english")
    return str(stemmer.stemWord(word))


@lru_cache(maxsize=_CACHED_TOKENS)
def _term_id(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")
