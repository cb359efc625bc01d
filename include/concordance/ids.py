"""Identity: how every document, chunk, entity, node and batch is named.

All ids are computed from what they identify, so that two attempts at the same work name the same rows. Fields are
joined as a JSON array, which no field value can imitate (a separator inside a value cannot shift a boundary). Names
from outside are brought to Unicode NFC first; their case is kept. Changing anything here renames every stored row.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1d3a52-7c0e-5b7e-9a51-0c9d5f4b2e10")
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

# Characters that are invisible or steer the writing direction: two spellings that differ only in them look the same.
# Control characters that are spaces stay: names are single-spaced.
_INVISIBLE = dict.fromkeys(
    (
        *(code for code in (*range(0x20), *range(0x7F, 0xA0)) if not chr(code).isspace()),
        *(0x00AD, 0x034F, 0x061C, 0x180E, 0xFEFF),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
    )
)

# Cyrillic and Greek letters, case-folded, that look like a Latin one. A word that mixes them with Latin letters is read
# as Latin; a word all in its own script is left alone.
_LOOKALIKES = str.maketrans("авеікмнорстухѕјһԁԛԝӏѵαεικορτχ", "abeikmhopctyxsjhdqwlvaeikoptx")
_LOOKALIKE = re.compile(f"[{''.join(map(chr, _LOOKALIKES))}]")
_LATIN_LETTER = re.compile("[a-z]")
_WORD = re.compile(r"\w+")


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN, UTF-8 characters as they are."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def bytes_digest(content: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of the exact string that is embedded, its context header included."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_digest(text: object, claimed: object) -> str:
    """The digest of a text that a store gave, or, when what stands beside it as its digest is another, a digest that
    no text has: one of the two was altered."""
    computed = text_digest(text) if isinstance(text, str) else ""
    return computed if claimed == computed else f"{computed} {claimed}"[:160]


def document_digest(*, tenant: str, source: str, uri: str, title: str | None, access: Sequence[str]) -> bytes:
    """What every row of a document repeats, in 8 bytes. The ledger computes the same in SQL (`ledger/reading.py`)."""
    words = (tenant, source, uri, "0" if title is None else f"1{title}", "\x1f".join(access))
    return hashlib.sha256("\x1f".join(words).encode()).digest()[:8]


def view_digest(*, tenant: str, heading_path: Sequence[str], live: bool) -> bytes:
    """What a chunk's node and its point both hold beside text and place, in 8 bytes."""
    return hashlib.sha256("\x1f".join((tenant, str(live), *heading_path)).encode()).digest()[:8]


def read_view_digest(tenant: object, heading_path: object, live: object) -> bytes:
    """The view digest of what a store gave: whatever cannot be a row of ours equals none."""
    headings = list(map(str, heading_path)) if isinstance(heading_path, list) else ["?", str(heading_path)]
    return view_digest(tenant=str(tenant), heading_path=headings, live=live is True)


def vectors_digest(dense: bytes, indices: Sequence[int], values: bytes) -> str:
    """Digest of a point's vectors: dense and sparse weights as little-endian float32, term ids as they are."""
    terms = ",".join(map(str, indices)).encode()
    return hashlib.sha256(b"%d,%d;" % (len(dense), len(terms)) + dense + terms + values).hexdigest()[:32]


def document_id(*, tenant: str, source: str, uri: str) -> UUID:
    """A document is named by its tenant, its source and its uri inside the source."""
    return _uuid(_nfc(tenant), _nfc(source), _nfc(uri))


def chunk_id(*, index_version: int, document_id: UUID, generation: int, ordinal: int) -> UUID:
    """The id of a chunk's node and of its point; unique over all index versions and generations."""
    return _uuid(index_version, str(document_id), generation, ordinal)


def plan_id(*, source: str, number: int) -> UUID:
    """Plans of a source are numbered by the ledger."""
    return _uuid("plan", _nfc(source), number)


def batch_id(*, plan_id: UUID, shard: int, ordinal: int) -> UUID:
    """The batch `ordinal` of a plan's shard; every attempt of the task names the same batch."""
    return _uuid("batch", str(plan_id), shard, ordinal)


def entity_key(*, tenant: str, type: str, name: str) -> str:
    """Two spellings of one name (case, width, invisible characters, spaces) give one key."""
    return digest([_nfc(tenant), type, normalise_name(name)])


def node_key(index_version: int, identity: str | UUID) -> str:
    """The short key that carries a graph node's uniqueness constraint: 32 hexadecimal digits for any name."""
    # The canonical JSON of [index_version, identity], without an encoder for each of a batch's thousands of keys.
    named = f"[{index_version},{encode_basestring(str(identity))}]"
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def normalise_name(name: str) -> str:
    """Compatibility-composed, case-folded, look-alike letters as Latin, no invisible characters, single-spaced."""
    if name.isascii() and name.isprintable():
        return " ".join(name.lower().split())
    folded = unicodedata.normalize("NFKC", name.translate(_INVISIBLE)).casefold()
    composed = " ".join(unicodedata.normalize("NFKC", folded).split())
    return _WORD.sub(_as_latin, composed) if _LOOKALIKE.search(composed) else composed


def _as_latin(word: re.Match[str]) -> str:
    return word[0].translate(_LOOKALIKES) if _LATIN_LETTER.search(word[0]) else word[0]


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _uuid(*fields: str | int) -> UUID:
    return uuid5(NAMESPACE, canonical_json(list(fields)))
