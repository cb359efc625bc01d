"""The fingerprint of a document: the digest of everything that determines what is written for it."""

from __future__ import annotations

from collections.abc import Sequence

from concordance import ids
from concordance.model import IndexSettings, RawDocument
from concordance.pipeline.metadata import with_clean_names


def fingerprint(raw: RawDocument, *, access: Sequence[str], index_settings: IndexSettings) -> str:
    """What the document is in its source, under the version's parser, chunker, entity and model settings."""
    return fingerprint_under(source_digest(raw, access=access), index_settings)


def fingerprint_under(digest: str, index_settings: IndexSettings) -> str:
    """The fingerprint of a document with this `source_digest` in an index version with these settings."""
    return ids.digest([digest, index_settings.digest])


def source_digest(raw: RawDocument, *, access: Sequence[str]) -> str:
    """What the document is in its source: bytes, metadata that is indexed, access labels.

    The uri is left out on purpose: it decides the document's id, not its content. Who compares has the metadata as the
    source states it, who loads has it cleaned: both are the same document.
    """
    raw = with_clean_names(raw)
    return ids.digest(
        [
            ids.bytes_digest(raw.content),
            raw.media_type,
            raw.title,
            sorted([e.role, e.entity.type, e.entity.name] for e in raw.entities),
            sorted([r.kind, r.subject.type, r.subject.name, r.object.type, r.object.name] for r in raw.relations),
            sorted([link.kind, link.target_uri] for link in raw.links),
            sorted(access),
        ]
    )
