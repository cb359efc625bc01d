"""A chunker on the packaged model's tokenizer, and prose to cut."""

from __future__ import annotations

from functools import cache
from random import Random

from tokenizers import Tokenizer

from concordance.chunking.splitter import Chunker
from concordance.chunking.tokens import load_tokenizer
from concordance.embedding import model_folder
from concordance.model import Chunk, IndexSettings, ModelFingerprint
from concordance.settings import Settings

MAX_CHUNKS = 20_000
WINDOW_TOKENS = 256

_WORDS = """
the of index graph vector chunk store reader writer batch commit query token layer model search page table value 
field node edge name label score merge delete update insert lock lease epoch switch version build stage plan shard
"""


def index_settings(
    *, chunk_min_tokens: int = 120, chunk_max_tokens: int = 200, header_max_tokens: int = 48, window_tokens: int = 256
) -> IndexSettings:
    model = ModelFingerprint("m", "1", "0" * 64, 384, window_tokens, "fp32", "hash")
    return IndexSettings(
        chunk_min_tokens=chunk_min_tokens,
        chunk_max_tokens=chunk_max_tokens,
        header_max_tokens=header_max_tokens,
        chunker_revision=1,
        parser_revision=1,
        entities_revision=1,
        bm25_k1=1.2,
        bm25_b=0.75,
        bm25_average_tokens=45,
        gazetteer_digest="",
        model=model,
    )


@cache
def tokenizer() -> Tokenizer:
    return load_tokenizer(model_folder(Settings()))


@cache
def chunker(**limits: int) -> Chunker:
    return Chunker(index_settings(**limits), tokenizer())


def cut(markdown: str, *, title: str | None = None, max_chunks: int = MAX_CHUNKS) -> list[Chunk]:
    return chunker().chunks(markdown, title=title, max_chunks=max_chunks)


def bodies(chunks: list[Chunk]) -> list[str]:
    return [chunk.text.partition("\n\n")[2] for chunk in chunks]


def sentence(rng: Random) -> str:
    vocabulary = _WORDS.split()
    words = [rng.choice(vocabulary) for _ in range(rng.randint(5, 25))]
    return " ".join(words).capitalize() + rng.choice(".!?")


def paragraphs(rng: Random, *, count: int) -> list[list[str]]:
    return [[sentence(rng) for _ in range(rng.randint(1, 6))] for _ in range(count)]


def markdown_of(written: list[list[str]]) -> str:
    return "\n\n".join(" ".join(paragraph) for paragraph in written)
