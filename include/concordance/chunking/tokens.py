"""Counting the model's tokens without loading the model.

`load_tokenizer` reads the model folder's `tokenizer.json` with the tokenizers library alone (torch and transformers
stay out). `TokenCounter` weighs many small pieces of text quickly, word by word from a cache: exact for tokenizers that
split at white space and punctuation (BERT's), close for others. What must be exact uses `exact_counts` on the final
string.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from concordance.errors import Misconfigured

# A run of letters and digits, or one other visible character: what BERT's pre-tokenizer separates.
WORD = re.compile(r"[^\W_]+|[^\w\s]|_")

_MAX_CACHED_WORDS = 200_000
_MAX_CACHED_WORD_CHARACTERS = 64
_ENCODED_AT_ONCE = 512
_COUNTED_AT_ONCE = 1024


def load_tokenizer(model_dir: str | Path) -> Tokenizer:
    """The tokenizer of a model folder, without truncation or padding. Raises `Misconfigured`."""
    path = Path(model_dir) / "tokenizer.json"
    if not path.is_file():
        raise Misconfigured(f"{path} is missing: model_dir must name the folder of a sentence-transformers model")
    return _read(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)  # one for each model whose versions a process works on
def _read(path: Path, modified_ns: int) -> Tokenizer:
    # A process that runs several stages reads the file once, and again only when it has changed.
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises bare Exception for a file that it cannot parse
        raise Misconfigured(
            f"{path} is not a tokenizer ({type(error).__name__}): copy the model folder again"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def exact_counts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, special tokens included, in bounded memory."""
    counts: list[int] = []
    for start in range(0, len(texts), _ENCODED_AT_ONCE):
        encoded = tokenizer.encode_batch_fast(list(texts[start : start + _ENCODED_AT_ONCE]))
        counts.extend(len(encoding) for encoding in encoded)
    return counts


class TokenCounter:
    """Token counts of pieces of text as the sum over their words; each distinct word is encoded once."""

    __slots__ = ("_counts", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._counts: dict[str, int] = {}

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not included."""
        counts: list[int] = []
        for start in range(0, len(texts), _COUNTED_AT_ONCE):
            counts.extend(self._counts_of_slice(texts[start : start + _COUNTED_AT_ONCE]))
        return counts

    def count(self, text: str) -> int:
        return self.counts([text])[0]

    def prefix(self, text: str, max_tokens: int) -> str:
        """The longest beginning of `text` that ends with a whole word and holds at most `max_tokens` tokens."""
        end = spent = 0
        for match in WORD.finditer(text):
            spent += self.count(match[0])
            if spent > max_tokens:
                break
            end = match.end()
        return text[:end]

    def _counts_of_slice(self, texts: Sequence[str]) -> list[int]:
        found = [WORD.findall(text) for text in texts]
        known = self._counts
        unknown = {word for words in found for word in words if word not in known}
        if unknown:
            known.update(self._encode(sorted(unknown)))
        counts = [sum(map(known.__getitem__, words)) for words in found]
        # The cache stays small whatever it is fed: very long words are not kept, and a full cache starts anew.
        for word in unknown:
            if len(word) > _MAX_CACHED_WORD_CHARACTERS:
                del known[word]
        if len(known) > _MAX_CACHED_WORDS:
            known.clear()
        return counts

    def _encode(self, words: Sequence[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for start in range(0, len(words), _ENCODED_AT_ONCE):
            part = words[start : start + _ENCODED_AT_ONCE]
            encoded = self._tokenizer.encode_batch_fast(list(part), add_special_tokens=False)
            counts.update(zip(part, map(len, encoded), strict=True))
        return counts
